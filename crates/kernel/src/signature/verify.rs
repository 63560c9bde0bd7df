//! Verification of module signatures, by the rules of the kernel.

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RsaParameters, UnparsedPublicKey,
};
use cms::signed_data::{SignerIdentifier, SignerInfo};
use der::Decode;
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectKeyIdentifier;

use super::pkcs7::{self, Malformed, SHA256, SHA384, SHA512};
use super::{SignatureError, split};

/// Why a module's signature was not accepted.
#[derive(Debug, Error)]
pub enum VerifyError {
    #[error("the module is not signed")]
    NotSigned,
    #[error("the module's signature is damaged")]
    Damaged(#[from] SignatureError),
    #[error("the module's signature is not readable: {0}")]
    Der(der::Error),
    #[error("the module's signature has {0}, which the kernel doesn't accept")]
    Unexpected(&'static str),
    #[error("trusted certificate number {index} is not readable: {error}")]
    Certificate { index: usize, error: der::Error },
    #[error("none of the trusted certificates is the signer's")]
    UnknownSigner,
    #[error("the module's signature uses digest {0}, expected SHA-256, SHA-384 or SHA-512")]
    Digest(String),
    #[error("the module is not what was signed, or another key signed it")]
    Mismatch,
}

impl From<Malformed> for VerifyError {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Der(error) => Self::Der(error),
            Malformed::Unexpected(what) => Self::Unexpected(what),
        }
    }
}

/// Checks a signed module against trusted certificates (DER) and returns what was signed.
///
/// As in the kernel, the signer's certificate must be one of them: there are no chains, and the
/// validity of the certificate doesn't matter.
pub fn verify<'module, C: AsRef<[u8]>>(
    module: &'module [u8],
    trusted: &[C],
) -> Result<&'module [u8], VerifyError> {
    let (content, signature) = split(module)?;
    let signer = pkcs7::signer(signature.ok_or(VerifyError::NotSigned)?.pkcs7)?;
    let algorithm = algorithm(&signer)?;
    let certificate = certificate_of(&signer, trusted)?;
    let key = certificate
        .tbs_certificate
        .subject_public_key_info
        .subject_public_key;
    UnparsedPublicKey::new(algorithm, key.raw_bytes())
        .verify(content, signer.signature.as_bytes())
        .map_err(|_| VerifyError::Mismatch)?;
    Ok(content)
}

fn algorithm(signer: &SignerInfo) -> Result<&'static RsaParameters, VerifyError> {
    match signer.digest_alg.oid {
        SHA256 => Ok(&RSA_PKCS1_2048_8192_SHA256),
        SHA384 => Ok(&RSA_PKCS1_2048_8192_SHA384),
        SHA512 => Ok(&RSA_PKCS1_2048_8192_SHA512),
        other => Err(VerifyError::Digest(other.to_string())),
    }
}

fn certificate_of<C: AsRef<[u8]>>(
    signer: &SignerInfo,
    trusted: &[C],
) -> Result<Certificate, VerifyError> {
    for (index, certificate) in trusted.iter().enumerate() {
        let certificate = Certificate::from_der(certificate.as_ref())
            .map_err(|error| VerifyError::Certificate { index, error })?;
        if identifies(&signer.sid, &certificate) {
            return Ok(certificate);
        }
    }
    Err(VerifyError::UnknownSigner)
}

fn identifies(sid: &SignerIdentifier, certificate: &Certificate) -> bool {
    let certificate = &certificate.tbs_certificate;
    match sid {
        SignerIdentifier::IssuerAndSerialNumber(sid) => {
            sid.issuer == certificate.issuer && sid.serial_number == certificate.serial_number
        }
        SignerIdentifier::SubjectKeyIdentifier(sid) => {
            let extension = certificate.get::<SubjectKeyIdentifier>();
            matches!(extension, Ok(Some((_, identifier))) if identifier == *sid)
        }
    }
}
