//! Key files: ed25519, PKCS#8 in PEM form, readable by their owner only.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::Ed25519KeyPair;
use tough::async_trait;
use tough::key_source::KeySource;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::Key;
use tough::sign::Sign;

use crate::durable;
use crate::error::RepositoryError;
use crate::role::Role;

/// An ed25519 key in PEM form takes about 120 bytes.
const MAX_KEY_FILE_BYTES: u64 = 4096;

/// The error type that `tough` wants of a key source.
type SourceError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A private key with the file that holds it.
#[derive(Clone)]
pub(crate) struct SigningKey {
    path: PathBuf,
    pkcs8: Vec<u8>,
    public: Key,
    id: Decoded<Hex>,
}

impl SigningKey {
    /// Makes a key and keeps it as `<role>-<start of its key id>.pem`, mode 0600.
    pub(crate) fn generate(dir: &Path, role: Role) -> Result<Self, RepositoryError> {
        make_private_dir(dir)?;
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
            .map_err(|_| RepositoryError::MakeKey)?;
        let mut key = Self::from_pkcs8(dir, document.as_ref().to_vec())?;
        key.path = dir.join(format!("{role}-{}.pem", &hex::encode(&key.id)[..16]));
        write_private(&key.path, &to_pem(&key.pkcs8))?;
        durable::sync_dir(dir).map_err(RepositoryError::io("flush", dir))?;
        Ok(key)
    }

    fn read(path: &Path) -> Result<Self, RepositoryError> {
        let mut text = String::new();
        fs::File::open(path)
            .and_then(|file| file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text))
            .map_err(RepositoryError::io("read the key", path))?;
        let not_a_key = || RepositoryError::KeyFile {
            path: path.to_owned(),
        };
        let pem = pem::parse(&text).map_err(|_| not_a_key())?;
        if pem.tag() != "PRIVATE KEY" {
            return Err(not_a_key());
        }
        Self::from_pkcs8(path, pem.into_contents())
    }

    fn from_pkcs8(path: &Path, pkcs8: Vec<u8>) -> Result<Self, RepositoryError> {
        let not_a_key = || RepositoryError::KeyFile {
            path: path.to_owned(),
        };
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| not_a_key())?;
        let public = pair.tuf_key();
        let id = public.key_id().map_err(|_| not_a_key())?;
        Ok(Self {
            path: path.to_owned(),
            pkcs8,
            public,
            id,
        })
    }

    pub(crate) fn public(&self) -> &Key {
        &self.public
    }

    pub(crate) fn id(&self) -> &Decoded<Hex> {
        &self.id
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("SigningKey")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl KeySource for SigningKey {
    async fn as_sign(&self) -> Result<Box<dyn Sign>, SourceError> {
        Ok(Box::new(Ed25519KeyPair::from_pkcs8(&self.pkcs8)?))
    }

    async fn write(&self, _value: &str, _key_id_hex: &str) -> Result<(), SourceError> {
        Err("key files are written once, when they are made".into())
    }
}

/// All `*.pem` files of a folder, by name.
pub(crate) fn read_dir(dir: &Path) -> Result<Vec<SigningKey>, RepositoryError> {
    let entries = fs::read_dir(dir).map_err(RepositoryError::io("list the keys in", dir))?;
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry
            .map_err(RepositoryError::io("list the keys in", dir))?
            .path();
        if path.extension().is_some_and(|extension| extension == "pem") {
            paths.push(path);
        }
    }
    paths.sort();
    paths.iter().map(|path| SigningKey::read(path)).collect()
}

/// As `tough` takes them.
pub(crate) fn sources(keys: &[SigningKey]) -> Vec<Box<dyn KeySource>> {
    keys.iter()
        .map(|key| Box::new(key.clone()) as Box<dyn KeySource>)
        .collect()
}

fn make_private_dir(dir: &Path) -> Result<(), RepositoryError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(RepositoryError::io("make the folder", dir))
}

fn write_private(path: &Path, text: &str) -> Result<(), RepositoryError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .map_err(RepositoryError::io("write the key", path))
}

fn to_pem(pkcs8: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("PRIVATE KEY", pkcs8), config)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_private_and_reads_back_as_the_same_key() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("keys");
        let made = SigningKey::generate(&dir, Role::Timestamp).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&made.path)), (0o700, 0o600));
        let read = read_dir(&dir).unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!(read[0].id(), made.id());
        assert!(!format!("{made:?}").contains("pkcs8"));
    }

    #[test]
    fn a_file_that_is_no_key_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for text in [
            "",
            "no key",
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        ] {
            fs::write(dir.path().join("a.pem"), text).unwrap();
            let error = read_dir(dir.path()).unwrap_err();
            assert!(error.to_string().contains("a.pem"), "{error}");
        }
    }
}
