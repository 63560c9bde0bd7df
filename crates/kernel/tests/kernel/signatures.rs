//! Module signatures, against the kernel's own tool and against openssl.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use suture_kernel::signature::{
    KeyError, ModuleKey, SignError, SignatureError, SigningKey, VerifyError, certificate_from_pem,
    sign, split, verify,
};

/// `signed` is what `scripts/sign-file sha512 key.pem certificate.pem content` of Linux 6.1 made.
const KEY: &str = include_str!("../data/sign-file/key.pem");
const CERTIFICATE: &str = include_str!("../data/sign-file/certificate.pem");
const CONTENT: &[u8] = include_bytes!("../data/sign-file/content");
pub const SIGNED: &[u8] = include_bytes!("../data/sign-file/signed");

pub fn certificate() -> Vec<u8> {
    certificate_from_pem(CERTIFICATE).unwrap()
}

fn key() -> SigningKey {
    SigningKey::from_pem(KEY).unwrap()
}

#[test]
fn our_signature_is_byte_for_byte_that_of_sign_file() {
    assert!(sign(CONTENT, &key(), &certificate()).unwrap() == SIGNED);
}

#[test]
fn a_signature_of_sign_file_verifies() {
    assert_eq!(verify(SIGNED, &[certificate()]).unwrap(), CONTENT);
}

#[test]
fn an_unsigned_module_splits_into_itself() {
    assert_eq!(split(CONTENT).unwrap(), (CONTENT, None));
    assert!(matches!(
        verify(CONTENT, &[certificate()]),
        Err(VerifyError::NotSigned)
    ));
}

#[test]
fn one_changed_bit_is_noticed() {
    let mut module = SIGNED.to_vec();
    module[3] ^= 1;
    assert!(matches!(
        verify(&module, &[certificate()]),
        Err(VerifyError::Mismatch)
    ));
}

#[test]
fn a_damaged_trailer_is_no_unsigned_module() {
    let id_type = SIGNED.len() - 28 - 10;
    let length = SIGNED.len() - 28 - 4;
    let with = |at: usize, byte: u8| {
        let mut module = SIGNED.to_vec();
        module[at] = byte;
        split(&module).unwrap_err()
    };
    assert_eq!(with(id_type, 1), SignatureError::NotPkcs7(1));
    assert_eq!(with(id_type - 1, 1), SignatureError::Malformed);
    assert_eq!(with(id_type + 3, 1), SignatureError::Malformed);
    assert!(matches!(with(length, 1), SignatureError::TooLarge(_)));
    assert_eq!(with(length + 2, 0xff), SignatureError::Truncated);
    assert_eq!(
        split(&SIGNED[SIGNED.len() - 30..]).unwrap_err(),
        SignatureError::Truncated
    );
}

#[test]
fn a_signed_module_is_not_signed_again() {
    let error = sign(SIGNED, &key(), &certificate()).unwrap_err();
    assert!(matches!(error, SignError::AlreadySigned), "{error}");
}

#[test]
fn a_new_key_signs_and_only_its_own_certificate_accepts() {
    let day = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 86_400);
    let new = ModuleKey::generate("Example live patches", day(20_000), day(30_000)).unwrap();
    let signer = new.signing_key().unwrap();
    let trusted = new.certificate_der().unwrap();

    let signed = sign(CONTENT, &signer, &trusted).unwrap();
    assert_eq!(
        verify(&signed, &[certificate(), trusted.clone()]).unwrap(),
        CONTENT
    );
    let error = verify(&signed, &[certificate()]).unwrap_err();
    assert!(matches!(error, VerifyError::UnknownSigner), "{error}");
    let error = sign(CONTENT, &signer, &certificate()).unwrap_err();
    assert!(matches!(error, SignError::WrongCertificate), "{error}");

    let (_, signature) = split(&signed).unwrap();
    assert_openssl_accepts(signature.unwrap().pkcs7, &new.certificate_pem);
}

fn assert_openssl_accepts(pkcs7: &[u8], certificate: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        fs::write(folder.path().join(name), content).unwrap();
    };
    file("signature", pkcs7);
    file("content", CONTENT);
    file("certificate.pem", certificate.as_bytes());
    let check = "cms -verify -binary -inform DER -in signature -content content \
                 -certfile certificate.pem -CAfile certificate.pem -purpose any \
                 -attime 2000000000 -out verified";
    let output = openssl(folder.path(), check);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(fs::read(folder.path().join("verified")).unwrap(), CONTENT);
    file("content", b"something else");
    assert!(!openssl(folder.path(), check).status.success());
}

fn openssl(folder: &Path, arguments: &str) -> Output {
    let mut command = Command::new("openssl");
    command
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .output()
        .unwrap()
}

#[test]
fn impossible_certificates_are_refused() {
    let (early, late) = (
        SystemTime::UNIX_EPOCH,
        SystemTime::UNIX_EPOCH + Duration::from_secs(9),
    );
    let refused = |subject: &str, from, to| ModuleKey::generate(subject, from, to).err().unwrap();
    assert!(matches!(refused("", early, late), KeyError::Subject(0)));
    assert!(matches!(
        refused(&"x".repeat(65), early, late),
        KeyError::Subject(65)
    ));
    assert!(matches!(refused("x", late, early), KeyError::Validity));
}

#[test]
fn pem_texts_without_the_right_block_are_refused() {
    let error = SigningKey::from_pem(CERTIFICATE).err().unwrap();
    assert_eq!(
        error.to_string(),
        "no `-----BEGIN PRIVATE KEY-----` block in the PEM text"
    );
    assert!(matches!(
        certificate_from_pem(KEY),
        Err(KeyError::NoBlock("CERTIFICATE"))
    ));
    let both = format!("{CERTIFICATE}{KEY}");
    assert!(SigningKey::from_pem(&both).is_ok());
    assert_eq!(certificate_from_pem(&both).unwrap(), certificate());
}
