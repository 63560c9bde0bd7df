//! The TLS side of the listener.

use std::path::Path;
use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::ServerError;

/// Reads a certificate chain and its key; TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1.
pub async fn config(cert: &Path, key: &Path) -> Result<RustlsConfig, ServerError> {
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
    Ok(RustlsConfig::from_config(Arc::new(config)))
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
