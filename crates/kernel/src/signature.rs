//! Signatures of kernel modules: a detached PKCS#7 message behind the ELF file.
//!
//! ```text
//!  ELF file | PKCS#7 SignedData (DER) | struct module_signature, 12 bytes | "~Module signature appended~\n"
//!                                        +0 algo, hash: 0
//!                                        +2 id_type: 2 (PKEY_ID_PKCS7)
//!                                        +3 signer_len, key_id_len, 3 bytes padding: 0
//!                                        +8 sig_len, u32 big endian
//! ```
//!
//! (kernel: include/linux/module_signature.h, Documentation/admin-guide/module-signing.rst)

mod key;
mod pkcs7;
mod sign;
mod verify;

use thiserror::Error;

pub use key::{KeyError, ModuleKey, SigningKey, certificate_from_pem};
pub use sign::{SignError, sign};
pub use verify::{VerifyError, verify};

const MAGIC: &[u8] = b"~Module signature appended~\n";
const TRAILER_SIZE: usize = 12;
const PKEY_ID_PKCS7: u8 = 2;

/// Longest PKCS#7 message that is read, in bytes; with RSA-4096 it has about 700.
pub const SIGNATURE_LIMIT: usize = 64 << 10;

/// Why the signature behind a module is not one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SignatureError {
    #[error("the module ends inside its signature")]
    Truncated,
    #[error("the module's signature is of type {0}, expected 2 (PKCS#7)")]
    NotPkcs7(u8),
    #[error("the module's signature has fields set that must be 0")]
    Malformed,
    #[error("the module's signature has {0} bytes, at most 65536 are read")]
    TooLarge(u32),
}

/// What stands behind a signed module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureInfo<'data> {
    /// The PKCS#7 message, in DER.
    pub pkcs7: &'data [u8],
}

/// Parts a module file into what was signed and the signature, if it has one.
pub fn split(module: &[u8]) -> Result<(&[u8], Option<SignatureInfo<'_>>), SignatureError> {
    let Some(rest) = module.strip_suffix(MAGIC) else {
        return Ok((module, None));
    };
    let (rest, trailer) = rest
        .split_last_chunk::<TRAILER_SIZE>()
        .ok_or(SignatureError::Truncated)?;
    let length = signature_length(trailer)?;
    let start = rest
        .len()
        .checked_sub(length)
        .ok_or(SignatureError::Truncated)?;
    let (content, pkcs7) = rest.split_at(start);
    Ok((content, Some(SignatureInfo { pkcs7 })))
}

/// The same checks as the kernel's `mod_check_sig()`.
fn signature_length(trailer: &[u8; TRAILER_SIZE]) -> Result<usize, SignatureError> {
    let [
        algo,
        hash,
        id_type,
        signer_len,
        key_id_len,
        pad @ ..,
        a,
        b,
        c,
        d,
    ] = *trailer;
    if id_type != PKEY_ID_PKCS7 {
        return Err(SignatureError::NotPkcs7(id_type));
    }
    if [algo, hash, signer_len, key_id_len] != [0; 4] || pad != [0; 3] {
        return Err(SignatureError::Malformed);
    }
    let length = u32::from_be_bytes([a, b, c, d]);
    match usize::try_from(length) {
        Ok(length) if length <= SIGNATURE_LIMIT => Ok(length),
        _ => Err(SignatureError::TooLarge(length)),
    }
}

/// A module file of its content and a PKCS#7 message.
fn join(content: &[u8], pkcs7: &[u8]) -> Vec<u8> {
    let mut trailer = [0; TRAILER_SIZE];
    trailer[2] = PKEY_ID_PKCS7;
    trailer[8..].copy_from_slice(&(pkcs7.len() as u32).to_be_bytes());
    [content, pkcs7, &trailer, MAGIC].concat()
}
