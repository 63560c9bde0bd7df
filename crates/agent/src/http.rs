//! The HTTP client: bounded, with time limits, TLS by rustls.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use thiserror::Error;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Proxy};
use url::Url;

use crate::config::{CaCerts, Settings};
use crate::files;

/// How long a call waits for the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the whole call, a module's download included, however it trickles.
    pub call: Duration,
    pub connect: Duration,
    /// For the first byte of the answer.
    pub response: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(300),
            connect: Duration::from_secs(12),
            response: Duration::from_secs(60),
        }
    }
}

/// Largest file of certificates.
const CA_CERTS_LIMIT: u64 = 4 << 20;

/// The client cannot be made from the settings.
#[derive(Debug, Error)]
pub enum HttpError {
    #[error("cannot read the certificates `{}`", path.display())]
    CaCerts { path: PathBuf, source: io::Error },
    #[error("`ca-certs` holds no certificate in PEM form")]
    NoCertificate,
    #[error("`ca-certs` holds a damaged certificate")]
    DamagedCertificate(#[source] rustls::pki_types::pem::Error),
    #[error("the proxy `{0}` cannot be used")]
    Proxy(String, #[source] ureq::Error),
}

/// Makes a client for `server`. Statuses are left to the caller, and a redirect never carries
/// the bearer on, nor leads from https to plain http.
pub fn client(settings: &Settings, server: &Url) -> Result<Agent, HttpError> {
    patient_client(settings, server, Patience::default())
}

/// As [`client`], with a patience of the caller's.
pub fn patient_client(
    settings: &Settings,
    server: &Url,
    patience: Patience,
) -> Result<Agent, HttpError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider);
    if server.scheme() == "https" {
        tls = tls.root_certs(root_certs(settings)?);
    }
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(3)
        .https_only(server.scheme() == "https")
        .user_agent(concat!("livepatch/", env!("CARGO_PKG_VERSION")))
        .timeout_global(Some(patience.call))
        .timeout_connect(Some(patience.connect))
        .timeout_recv_response(Some(patience.response))
        .proxy(proxy(settings, server)?)
        .tls_config(tls.build())
        .build();
    Ok(config.new_agent())
}

/// The system's certificates (those built in, where the system has none) and the configured ones.
fn root_certs(settings: &Settings) -> Result<RootCerts, HttpError> {
    let mut certificates = rustls_native_certs::load_native_certs().certs;
    if certificates.is_empty() {
        certificates.extend_from_slice(webpki_root_certs::TLS_SERVER_ROOT_CERTS);
    }
    if let Some(ca_certs) = &settings.ca_certs {
        certificates.extend(configured(ca_certs)?);
    }
    let owned = |der: &CertificateDer<'_>| Certificate::from_der(der.as_ref()).to_owned();
    Ok(RootCerts::new_with_certs(
        &certificates.iter().map(owned).collect::<Vec<_>>(),
    ))
}

fn configured(ca_certs: &CaCerts) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let pem = match ca_certs {
        CaCerts::Pem(text) => text.clone().into_bytes(),
        CaCerts::Path(path) => {
            files::read_bounded(path, CA_CERTS_LIMIT).map_err(|source| HttpError::CaCerts {
                path: path.clone(),
                source,
            })?
        }
    };
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(HttpError::DamagedCertificate)?;
    if certificates.is_empty() {
        Err(HttpError::NoCertificate)
    } else {
        Ok(certificates)
    }
}

/// The configured proxy for the server's scheme, or else the environment's.
fn proxy(settings: &Settings, server: &Url) -> Result<Option<Proxy>, HttpError> {
    let proxies = &settings.proxy;
    let url = if server.scheme() == "https" {
        &proxies.https
    } else {
        &proxies.http
    };
    let Some(url) = url else {
        return Ok(Proxy::try_from_env());
    };
    let invalid = |error| HttpError::Proxy(without_password(url), error);
    let whole = Proxy::new(url.as_str()).map_err(invalid)?;
    let Some(no_proxy) = &proxies.no_proxy else {
        return Ok(Some(whole));
    };
    let mut builder = Proxy::builder(whole.protocol())
        .host(whole.host())
        .port(whole.port());
    if let Some(name) = whole.username() {
        builder = builder.username(name);
    }
    if let Some(password) = whole.password() {
        builder = builder.password(password);
    }
    for host in no_proxy
        .split(',')
        .map(str::trim)
        .filter(|host| !host.is_empty())
    {
        builder = builder.no_proxy(host);
    }
    builder.build().map(Some).map_err(invalid)
}

fn without_password(url: &Url) -> String {
    let mut url = url.clone();
    // Neither can fail: an http address has a place for both.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Fragment;
    use crate::paths::Paths;

    fn settings(toml: &str) -> Settings {
        let fragment: Fragment = toml::from_str(toml).unwrap();
        Settings::check(&fragment, &Paths::new("/")).unwrap()
    }

    #[test]
    fn a_client_of_an_https_server_stays_with_https() {
        let client_of = |server: &str| client(&settings(""), &server.parse().unwrap()).unwrap();
        let protected = client_of("https://livepatch.example.com/");
        let answer = protected.get("http://127.0.0.1:1/").call();
        assert!(
            matches!(answer, Err(ureq::Error::RequireHttpsOnly(_))),
            "{answer:?}"
        );
        let plain = client_of("http://127.0.0.1:1/");
        assert!(!plain.config().https_only());
    }

    #[test]
    fn the_proxy_is_the_one_for_the_servers_scheme() {
        let settings = settings(
            "http-proxy = 'http://plain.example.com:3128'\n\
             https-proxy = 'http://name:word@tls.example.com:3129'\n\
             no-proxy = 'inside.example.com, 127.0.0.1'",
        );
        let server: Url = "https://livepatch.example.com/".parse().unwrap();
        let chosen = proxy(&settings, &server).unwrap().unwrap();
        assert_eq!((chosen.host(), chosen.port()), ("tls.example.com", 3129));
        assert_eq!(
            (chosen.username(), chosen.password()),
            (Some("name"), Some("word"))
        );
        assert!(chosen.is_no_proxy(&"https://inside.example.com/".parse().unwrap()));
        assert!(!chosen.is_no_proxy(&"https://livepatch.example.com/".parse().unwrap()));
        let here: Url = "http://127.0.0.1:8080/".parse().unwrap();
        assert_eq!(
            proxy(&settings, &here).unwrap().unwrap().host(),
            "plain.example.com"
        );
    }

    #[test]
    fn a_password_is_not_shown_with_a_proxy() {
        let url = "http://name:word@proxy.example.com:3128/".parse().unwrap();
        assert_eq!(without_password(&url), "http://proxy.example.com:3128/");
    }

    #[test]
    fn certificates_that_are_none_are_named() {
        let empty = CaCerts::Pem("no certificate".to_owned());
        assert!(matches!(configured(&empty), Err(HttpError::NoCertificate)));
        let missing = CaCerts::Path("/nonexistent/ca.pem".into());
        let error = configured(&missing).unwrap_err().to_string();
        assert_eq!(error, "cannot read the certificates `/nonexistent/ca.pem`");
        let damaged = "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n";
        let damaged = CaCerts::Pem(damaged.to_owned());
        assert!(matches!(
            configured(&damaged),
            Err(HttpError::DamagedCertificate(_))
        ));
    }
}
