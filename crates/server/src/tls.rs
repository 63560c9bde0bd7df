//! The TLS side of the listener.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tracing::{info, warn};

use crate::ServerError;
use crate::error::chain;

/// How often the files are looked at: certificates live for weeks, and their renewal should need
/// nobody to think of this service.
const WATCH_INTERVAL: Duration = Duration::from_secs(60);

/// A certificate chain with its key, from files that are replaced when it is renewed.
pub struct CertificateFiles {
    cert: PathBuf,
    key: PathBuf,
    stamps: [Stamp; 2],
    config: RustlsConfig,
}

/// Tells one file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl CertificateFiles {
    /// Reads the files.
    pub async fn load(cert: &Path, key: &Path) -> Result<Self, ServerError> {
        // The stamps come first: a change in between is seen at the next look.
        let stamps = [stamp(cert).await?, stamp(key).await?];
        let config = RustlsConfig::from_config(read_config(cert, key).await?);
        Ok(Self {
            cert: cert.into(),
            key: key.into(),
            stamps,
            config,
        })
    }

    /// What the listener uses; it takes part in every renewal.
    pub fn config(&self) -> RustlsConfig {
        self.config.clone()
    }

    /// Reads the files again when they change, for ever. Files that can't be used (one of the
    /// two was not replaced yet, say) leave the last good pair in force.
    pub async fn watch(mut self) {
        loop {
            tokio::time::sleep(WATCH_INTERVAL).await;
            match self.renew().await {
                Ok(true) => info!("took the renewed certificate `{}`", self.cert.display()),
                Ok(false) => {}
                Err(error) => {
                    let cause = chain(&error);
                    warn!(error = cause, "kept the last certificate: {cause}");
                }
            }
        }
    }

    /// Whether the files had changed and are in force now.
    async fn renew(&mut self) -> Result<bool, ServerError> {
        let stamps = [stamp(&self.cert).await?, stamp(&self.key).await?];
        if stamps == self.stamps {
            return Ok(false);
        }
        self.config
            .reload_from_config(read_config(&self.cert, &self.key).await?);
        self.stamps = stamps;
        Ok(true)
    }
}

impl From<Metadata> for Stamp {
    fn from(file: Metadata) -> Self {
        let modified = (file.mtime(), file.mtime_nsec());
        Self {
            inode: file.ino(),
            length: file.len(),
            modified,
        }
    }
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
async fn read_config(cert: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, ServerError> {
    let chain = CertificateDer::pem_slice_iter(&read(cert).await?)
        .collect::<Result<Vec<_>, _>>()
        .and_then(|chain| {
            if chain.is_empty() {
                Err(pem::Error::NoItemsFound)
            } else {
                Ok(chain)
            }
        })
        .map_err(not_pem(cert, "certificate"))?;
    let private =
        PrivateKeyDer::from_pem_slice(&read(key).await?).map_err(not_pem(key, "private key"))?;
    let unusable = |source| ServerError::Certificate {
        cert: cert.into(),
        key: key.into(),
        source,
    };
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

async fn stamp(path: &Path) -> Result<Stamp, ServerError> {
    let failed = |source| ServerError::ReadPem {
        path: path.into(),
        source,
    };
    tokio::fs::metadata(path)
        .await
        .map(Stamp::from)
        .map_err(failed)
}

async fn read(path: &Path) -> Result<Vec<u8>, ServerError> {
    let failed = |source| ServerError::ReadPem {
        path: path.into(),
        source,
    };
    tokio::fs::read(path).await.map_err(failed)
}

fn not_pem(path: &Path, expected: &'static str) -> impl FnOnce(pem::Error) -> ServerError {
    move |source| ServerError::Pem {
        path: path.into(),
        expected,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(cert: &Path, key: &Path) {
        let pair = rcgen::generate_simple_self_signed(vec!["example.org".to_owned()]).unwrap();
        replace(cert, &pair.cert.pem());
        replace(key, &pair.signing_key.serialize_pem());
    }

    /// As renewal tools do: a new file takes the place of the old one.
    fn replace(path: &Path, text: &str) {
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    #[tokio::test]
    async fn a_renewed_certificate_is_taken_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        write_pair(&cert, &key);
        let mut files = CertificateFiles::load(&cert, &key).await.unwrap();
        let first = files.config().get_inner();
        assert!(!files.renew().await.unwrap(), "nothing changed");

        write_pair(&cert, &key);
        assert!(files.renew().await.unwrap());
        let second = files.config().get_inner();
        assert!(!Arc::ptr_eq(&first, &second));

        let old_key = std::fs::read_to_string(&key).unwrap();
        write_pair(&cert, &key);
        let new_key = std::fs::read_to_string(&key).unwrap();
        replace(&key, &old_key);
        let error = files.renew().await.unwrap_err();
        assert!(matches!(error, ServerError::Certificate { .. }), "{error}");
        assert!(
            Arc::ptr_eq(&second, &files.config().get_inner()),
            "the last good pair stays"
        );
        replace(&key, &new_key);
        assert!(files.renew().await.unwrap(), "it looks again");
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (
            folder.path().join("cert.pem"),
            folder.path().join("key.pem"),
        );
        let missing = CertificateFiles::load(&cert, &key).await.err().unwrap();
        assert!(matches!(missing, ServerError::ReadPem { .. }), "{missing}");
        write_pair(&cert, &key);
        replace(&cert, "no certificate");
        let empty = CertificateFiles::load(&cert, &key).await.err().unwrap();
        assert!(
            matches!(
                empty,
                ServerError::Pem {
                    expected: "certificate",
                    ..
                }
            ),
            "{empty}"
        );
    }
}
