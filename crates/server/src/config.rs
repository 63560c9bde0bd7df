//! What the service is told at its start.

use std::net::SocketAddr;
use std::path::PathBuf;

use suture_rollout::Plan;

/// Settings of the service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// Where to listen; port 0 takes a free one, which `serve` reports when it is ready.
    pub listen: SocketAddr,
    pub tls: Tls,
    /// The repository's folder, with `metadata` and `targets` in it. It is only read.
    pub repository: PathBuf,
    /// Seconds between two check-ins of a machine (default: 3,600).
    pub check_in_interval_secs: u64,
    /// The plan by which each published version goes out by itself (default: the standard plan).
    /// None: versions wait until a person makes their rollouts.
    pub default_plan: Option<Plan>,
    /// Seconds between two looks at a rollout, at least 5 (default: 60). Far below
    /// [`suture_store::Rollout::AWAY_SECS`], else the service takes itself for absent.
    pub look_interval_secs: u64,
}

impl ServerConfig {
    /// An hour: a High or Critical hole is to be closed within about that time.
    pub const DEFAULT_CHECK_IN_INTERVAL_SECS: u64 = 3600;

    /// A minute: a small part of the time in which a halt is to happen.
    pub const DEFAULT_LOOK_INTERVAL_SECS: u64 = 60;

    /// With the defaults.
    pub fn new(listen: SocketAddr, tls: Tls, repository: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            tls,
            repository: repository.into(),
            check_in_interval_secs: Self::DEFAULT_CHECK_IN_INTERVAL_SECS,
            default_plan: Some(Plan::standard()),
            look_interval_secs: Self::DEFAULT_LOOK_INTERVAL_SECS,
        }
    }
}

/// How connections are protected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// TLS 1.2 and 1.3, with a certificate chain and its private key in PEM files. Renewed files
    /// are taken within a minute, without a restart.
    Pem { cert: PathBuf, key: PathBuf },
    /// Plain HTTP, for a listener that only a TLS-terminating proxy reaches. Tokens and secrets
    /// travel readable.
    Plain,
}
