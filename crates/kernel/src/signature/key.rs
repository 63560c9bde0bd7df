//! The key that signs modules and its certificate, which a machine's owner enrols.

use std::time::SystemTime;

use aws_lc_rs::rsa::KeyPair;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use thiserror::Error;

/// Longest common name in a certificate (RFC 5280, `ub-common-name`).
const SUBJECT_LIMIT: usize = 64;

/// Longest PEM text that is read, in bytes.
const PEM_LIMIT: usize = 1 << 20;

/// Why a key or a certificate could not be made or read.
#[derive(Debug, Error)]
pub enum KeyError {
    #[error("the subject has {0} characters, expected 1 to 64")]
    Subject(usize),
    #[error("the certificate's validity ends before it starts")]
    Validity,
    #[error("cannot make a signing key and its certificate")]
    Generate(#[source] rcgen::Error),
    #[error("no `-----BEGIN {0}-----` block in the PEM text")]
    NoBlock(&'static str),
    #[error("the PEM text is damaged: {0}")]
    Pem(der::pem::Error),
    #[error("the private key is not an RSA key that can sign: {0}")]
    Rejected(aws_lc_rs::error::KeyRejected),
}

/// A private key and its self-signed certificate, both as PEM text.
#[derive(Clone)]
pub struct ModuleKey {
    /// PKCS#8, not encrypted: keep it where only the signer can read it.
    pub private_key_pem: String,
    /// X.509; its DER form is what `mokutil --import` takes.
    pub certificate_pem: String,
}

impl ModuleKey {
    /// Makes an RSA-4096 key and a certificate for module signing, as the kernel's build does
    /// (Documentation/admin-guide/module-signing.rst), with the purpose code signing added.
    ///
    /// `subject` becomes the common name. The kernel doesn't look at the validity when it checks
    /// a module; firmware and shim may.
    pub fn generate(
        subject: &str,
        not_before: SystemTime,
        not_after: SystemTime,
    ) -> Result<Self, KeyError> {
        let length = subject.chars().count();
        if !(1..=SUBJECT_LIMIT).contains(&length) {
            return Err(KeyError::Subject(length));
        }
        if not_after <= not_before {
            return Err(KeyError::Validity);
        }
        let key =
            rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA512, rcgen::RsaKeySize::_4096)
                .map_err(KeyError::Generate)?;
        let certificate = parameters(subject, not_before, not_after)
            .self_signed(&key)
            .map_err(KeyError::Generate)?;
        Ok(Self {
            private_key_pem: key.serialize_pem(),
            certificate_pem: certificate.pem(),
        })
    }

    pub fn signing_key(&self) -> Result<SigningKey, KeyError> {
        SigningKey::from_pem(&self.private_key_pem)
    }

    pub fn certificate_der(&self) -> Result<Vec<u8>, KeyError> {
        certificate_from_pem(&self.certificate_pem)
    }
}

fn parameters(subject: &str, not_before: SystemTime, not_after: SystemTime) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.not_before = not_before.into();
    parameters.not_after = not_after.into();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
        .distinguished_name
        .push(DnType::CommonName, subject);
    parameters.is_ca = IsCa::ExplicitNoCa;
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    parameters.use_authority_key_identifier_extension = true;
    parameters
}

/// A private RSA key.
pub struct SigningKey(pub(super) KeyPair);

impl SigningKey {
    /// Reads a key that is not encrypted: PKCS#8 (`PRIVATE KEY`) or PKCS#1 (`RSA PRIVATE KEY`).
    /// Other blocks in the text, such as the certificate, are passed over.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        match block(pem, "PRIVATE KEY") {
            Ok(der) => Self::from_pkcs8(&der),
            Err(KeyError::NoBlock(_)) => {
                let der =
                    block(pem, "RSA PRIVATE KEY").map_err(|_| KeyError::NoBlock("PRIVATE KEY"))?;
                KeyPair::from_der(&der)
                    .map(Self)
                    .map_err(KeyError::Rejected)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the DER form of PKCS#8.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        KeyPair::from_pkcs8(der)
            .map(Self)
            .map_err(KeyError::Rejected)
    }
}

/// The DER form of the first certificate in a PEM text.
pub fn certificate_from_pem(pem: &str) -> Result<Vec<u8>, KeyError> {
    block(pem, "CERTIFICATE")
}

fn block(pem: &str, label: &'static str) -> Result<Vec<u8>, KeyError> {
    let missing = || KeyError::NoBlock(label);
    let pem = if pem.len() <= PEM_LIMIT { pem } else { "" };
    let (begin, end) = (
        format!("-----BEGIN {label}-----"),
        format!("-----END {label}-----"),
    );
    let start = pem.find(&begin).ok_or_else(missing)?;
    let length = pem[start..].find(&end).ok_or_else(missing)? + end.len();
    let text = &pem[start..start + length];
    der::pem::decode_vec(text.as_bytes())
        .map(|(_, der)| der)
        .map_err(KeyError::Pem)
}
