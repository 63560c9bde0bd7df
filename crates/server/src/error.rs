//! Why the service could not start or had to stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use suture_repository::RepositoryError;
use suture_rollout::InvalidPlan;
use suture_store::StoreError;
use thiserror::Error;

use crate::settings_file::SettingsFileError;

#[derive(Debug, Error)]
pub enum ServerError {
    #[error("the service cannot start with these notices")]
    Notices { source: SettingsFileError },
    #[error("the service cannot start with these hooks")]
    Hooks { source: SettingsFileError },
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
    #[error("the default plan of rollouts does not fit this service")]
    Plan { source: InvalidPlan },
    #[error("e-mails cannot be sent as configured: {why}")]
    Mail { why: String },
    #[error("subscriptions cannot be sold as configured: {why}")]
    Billing { why: String },
    #[error("people cannot sign in by OpenID Connect as configured: {why}")]
    OpenId { why: String },
    #[error("the store does not answer")]
    Store { source: StoreError },
    #[error("the listener on {listen} failed")]
    Serve {
        listen: SocketAddr,
        source: io::Error,
    },
}

/// An error with its causes, for the log.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_tells_each_part_once() {
        let source = io::Error::other("address in use");
        let error = ServerError::Listen {
            listen: "127.0.0.1:443".parse().unwrap(),
            source,
        };
        assert_eq!(
            chain(&error),
            "cannot listen on 127.0.0.1:443: address in use"
        );
    }
}
