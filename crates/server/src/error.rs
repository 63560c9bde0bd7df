//! Why the service could not start or had to stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use suture_repository::RepositoryError;
use suture_store::StoreError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum ServerError {
    #[error("cannot listen on {listen}")]
    Listen {
        listen: SocketAddr,
        source: io::Error,
    },
    #[error("cannot read `{}`", path.display())]
    ReadPem { path: PathBuf, source: io::Error },
    #[error("`{}` holds no {expected} in PEM form", path.display())]
    Pem {
        path: PathBuf,
        expected: &'static str,
        source: rustls::pki_types::pem::Error,
    },
    #[error("the certificate `{}` and the key `{}` cannot be used together", cert.display(), key.display())]
    Certificate {
        cert: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
    #[error("cannot read the repository `{}`; `suture repository init` makes one", path.display())]
    Repository {
        path: PathBuf,
        source: RepositoryError,
    },
    #[error("the store does not answer")]
    Store { source: StoreError },
    #[error("the listener on {listen} failed")]
    Serve {
        listen: SocketAddr,
        source: io::Error,
    },
}
