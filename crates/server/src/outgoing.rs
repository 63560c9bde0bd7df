//! Calls to other services.

use std::sync::Arc;
use std::time::Duration;

use ureq::tls::{Certificate, RootCerts, TlsConfig};
use url::{Host, Url};

/// The authorities that this system trusts.
pub fn system_roots() -> RootCerts {
    let found = rustls_native_certs::load_native_certs().certs;
    let certificates = found.iter().map(|it| Certificate::from_der(it).to_owned());
    RootCerts::new_with_certs(&certificates.collect::<Vec<_>>())
}

/// Whether nobody on the way reads what is sent there: over TLS, or within this machine.
pub fn is_protected(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || url.scheme() == "http" && loopback
}

/// A client that leads nowhere else than where it is told to, and gives each call so long. Any
/// answer is an answer: its status is for the caller to read.
pub fn client(roots: RootCerts, patience: Duration) -> ureq::Agent {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider)
        .root_certs(roots);
    let config = ureq::Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        .max_redirects(0)
        .user_agent(concat!("suture/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(patience));
    config.build().into()
}
