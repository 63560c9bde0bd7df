//! Signing of modules.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA512};
use der::Decode;
use thiserror::Error;
use x509_cert::Certificate;

use super::{SignatureError, SigningKey, join, pkcs7, split};

/// Why a module could not be signed.
#[derive(Debug, Error)]
pub enum SignError {
    #[error("the module has a signature already: split it off first")]
    AlreadySigned,
    #[error("the module ends like a signed one, but its signature is damaged")]
    Damaged(#[from] SignatureError),
    #[error("cannot read the certificate or write the signature: {0}")]
    Der(der::Error),
    #[error("the certificate is for another key than the one that signs")]
    WrongCertificate,
    #[error("the RSA operation failed")]
    Rsa,
}

/// Signs a module with RSA and SHA-512.
///
/// The result is byte for byte what the kernel's `scripts/sign-file sha512 KEY CERTIFICATE MODULE`
/// writes. `certificate` is DER.
pub fn sign(content: &[u8], key: &SigningKey, certificate: &[u8]) -> Result<Vec<u8>, SignError> {
    if split(content)?.1.is_some() {
        return Err(SignError::AlreadySigned);
    }
    let certificate = Certificate::from_der(certificate).map_err(SignError::Der)?;
    let certified = &certificate
        .tbs_certificate
        .subject_public_key_info
        .subject_public_key;
    if certified.as_bytes() != Some(key.0.public_key().as_ref()) {
        return Err(SignError::WrongCertificate);
    }
    let mut signature = vec![0; key.0.public_modulus_len()];
    key.0
        .sign(
            &RSA_PKCS1_SHA512,
            &SystemRandom::new(),
            content,
            &mut signature,
        )
        .map_err(|_| SignError::Rsa)?;
    let message = pkcs7::encode(&certificate, signature).map_err(SignError::Der)?;
    Ok(join(content, &message))
}
