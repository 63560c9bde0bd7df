//! Checked settings: what the rest of the program sees of the configuration.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;
use url::{Host, Url};

use super::{Fragment, Key, Span};
use crate::failure::Failure;
use crate::paths::Paths;

/// Minutes between two check-ins, where the configuration names none.
const DEFAULT_CHECK_INTERVAL: u64 = 60;
/// Where the configuration names none; see [`Times`].
pub(super) const DEFAULT_SETTLE_TIME: Span = Span::from_secs(300);
pub(super) const DEFAULT_TRANSITION_TIMEOUT: Span = Span::from_secs(300);
pub(super) const DEFAULT_REVERSE_AFTER: Span = Span::from_secs(3600);
/// A week: a longer interval is more likely an error than a wish.
const LONGEST_CHECK_INTERVAL: u64 = 7 * 24 * 60;

/// The checked configuration of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Base address of the service, ending in `/`. No default: an operator names it.
    pub remote_server: Option<Url>,
    /// Certificates that are trusted besides those of the system.
    pub ca_certs: Option<CaCerts>,
    /// Time between two check-ins (default: 60 minutes); none: only `livepatch refresh` checks.
    pub check_interval: Option<Duration>,
    pub proxy: ProxySettings,
    pub log_level: LogLevel,
    /// The trusted TUF root (default: `/etc/livepatch/root.json`).
    pub root: PathBuf,
    pub times: Times,
    /// How long a patch is left to others after it was made (default: none).
    pub patch_delay: Option<Duration>,
    /// Patches that were made later stay out (default: none does).
    pub cutoff_date: Option<Timestamp>,
}

/// How long the agent watches, waits and bears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How long a patch is watched after it came into force (default: 5 minutes). A machine that
    /// goes down in this time without a regular stop is taken to have been brought down by it.
    pub settle: Duration,
    /// How long a transition is waited for before it is reported as stalled (default: 5 minutes).
    pub transition_timeout: Duration,
    /// How long a transition may stay open before it is reversed (default: an hour); none: it is
    /// never reversed.
    pub reverse_after: Option<Duration>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            settle: DEFAULT_SETTLE_TIME.duration(),
            transition_timeout: DEFAULT_TRANSITION_TIMEOUT.duration(),
            reverse_after: DEFAULT_REVERSE_AFTER.nonzero(),
        }
    }
}

/// Where certificates come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CaCerts {
    Path(PathBuf),
    Pem(String),
}

/// Proxies; where none is named, `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` of the daemon's
/// environment count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    pub http: Option<Url>,
    pub https: Option<Url>,
    /// Hosts that are reached directly, separated by commas.
    pub no_proxy: Option<String>,
}

/// How much the daemon logs (default: `info`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// A value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SettingsError {
    #[error("`{value}` is not a value of `{key}`: expected {expected}")]
    Value {
        key: Key,
        value: String,
        expected: &'static str,
    },
    #[error(
        "`remote-server` is `{0}`, where tokens would travel unprotected: expected an https \
         address (`allow-plain-http = true` permits it, for a test network)"
    )]
    PlainHttp(Url),
}

impl Settings {
    /// Where the service is; an error for whoever cannot do without.
    pub fn server(&self) -> Result<Url, Failure> {
        self.remote_server.clone().ok_or_else(|| {
            Failure::new("no server is configured").hint(
                "name it first: `livepatch config remote-server=https://livepatch.example.com`",
            )
        })
    }

    /// Checks a merged configuration.
    pub fn check(merged: &Fragment, paths: &Paths) -> Result<Self, SettingsError> {
        let allow_plain_http = merged.allow_plain_http.unwrap_or(false);
        Ok(Self {
            remote_server: remote_server(merged.remote_server.as_deref(), allow_plain_http)?,
            ca_certs: ca_certs(merged.ca_certs.as_deref())?,
            check_interval: check_interval(merged.check_interval)?,
            proxy: ProxySettings {
                http: proxy(Key::HttpProxy, merged.http_proxy.as_deref())?,
                https: proxy(Key::HttpsProxy, merged.https_proxy.as_deref())?,
                no_proxy: merged.no_proxy.clone(),
            },
            log_level: merged.log_level.as_deref().unwrap_or("info").parse()?,
            root: merged.root.clone().unwrap_or_else(|| paths.default_root()),
            times: times(merged)?,
            patch_delay: span(Key::PatchDelay, merged.patch_delay.as_deref())?
                .and_then(Span::nonzero),
            cutoff_date: cutoff_date(merged.cutoff_date.as_deref())?,
        })
    }
}

fn invalid(key: Key, value: &str, expected: &'static str) -> SettingsError {
    let value = without_password(value).chars().take(200).collect();
    SettingsError::Value {
        key,
        value,
        expected,
    }
}

/// The error gets into the log, and into the status that everyone may ask for.
fn without_password(address: &str) -> String {
    let Some(at) = address.rfind('@') else {
        return address.to_owned();
    };
    let scheme = address.find("://").map(|colon| colon + "://".len());
    let start = scheme.filter(|start| *start <= at).unwrap_or(0);
    format!("{}…{}", &address[..start], &address[at..])
}

fn remote_server(text: Option<&str>, allow_plain_http: bool) -> Result<Option<Url>, SettingsError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let expected = "an address like `https://livepatch.example.com`";
    let mut url = Url::parse(text).map_err(|_| invalid(Key::RemoteServer, text, expected))?;
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    let bare = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if !web || !bare || url.password().is_some() {
        return Err(invalid(Key::RemoteServer, text, expected));
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    if url.scheme() == "http" && !allow_plain_http && !is_loopback(&url) {
        return Err(SettingsError::PlainHttp(url));
    }
    Ok(Some(url))
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

fn ca_certs(text: Option<&str>) -> Result<Option<CaCerts>, SettingsError> {
    match text.map(str::trim) {
        None | Some("") => Ok(None),
        Some(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => {
            Ok(Some(CaCerts::Pem(pem.to_owned())))
        }
        Some(path) if path.starts_with('/') && !path.contains('\n') => {
            Ok(Some(CaCerts::Path(path.into())))
        }
        Some(other) => Err(invalid(
            Key::CaCerts,
            other,
            "certificates as PEM text, or an absolute path",
        )),
    }
}

fn check_interval(minutes: Option<u64>) -> Result<Option<Duration>, SettingsError> {
    match minutes.unwrap_or(DEFAULT_CHECK_INTERVAL) {
        0 => Ok(None),
        minutes if minutes <= LONGEST_CHECK_INTERVAL => Ok(Some(Duration::from_secs(minutes * 60))),
        minutes => Err(invalid(
            Key::CheckInterval,
            &minutes.to_string(),
            "at most 10080 minutes (a week), 0 to switch off",
        )),
    }
}

fn times(merged: &Fragment) -> Result<Times, SettingsError> {
    let or = |key, text: &Option<String>, default: Span| -> Result<Span, SettingsError> {
        Ok(span(key, text.as_deref())?.unwrap_or(default))
    };
    let timeout = or(
        Key::TransitionTimeout,
        &merged.transition_timeout,
        DEFAULT_TRANSITION_TIMEOUT,
    )?;
    let reverse = or(
        Key::ReverseAfter,
        &merged.reverse_after,
        DEFAULT_REVERSE_AFTER,
    )?;
    Ok(Times {
        settle: or(Key::SettleTime, &merged.settle_time, DEFAULT_SETTLE_TIME)?.duration(),
        transition_timeout: timeout.duration(),
        reverse_after: reverse.nonzero(),
    })
}

fn span(key: Key, text: Option<&str>) -> Result<Option<Span>, SettingsError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let expected = "a number with a unit, like `90s`, `5m`, `12h`, `3d` or `2w`";
    let span = text.parse().map_err(|_| invalid(key, text, expected))?;
    Ok(Some(span))
}

fn cutoff_date(text: Option<&str>) -> Result<Option<Timestamp>, SettingsError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let expected = "a time like `2026-11-25T00:00:00Z`";
    let at = text
        .parse()
        .map_err(|_| invalid(Key::CutoffDate, text, expected))?;
    Ok(Some(at))
}

fn proxy(key: Key, text: Option<&str>) -> Result<Option<Url>, SettingsError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    url.map(Some)
        .ok_or_else(|| invalid(key, text, "an address like `http://proxy.example.com:3128`"))
}

impl LogLevel {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for LogLevel {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        match text {
            "error" => Ok(Self::Error),
            "warn" | "warning" => Ok(Self::Warn),
            "info" | "notice" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            "trace" => Ok(Self::Trace),
            _ => Err(invalid(
                Key::LogLevel,
                text,
                "one of error, warn, info, debug, trace",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str) -> Result<Settings, String> {
        let fragment = toml::from_str(toml).unwrap();
        Settings::check(&fragment, &Paths::new("/")).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_configuration_has_defaults_and_no_server() {
        let settings = check("").unwrap();
        assert_eq!(settings.remote_server, None);
        assert_eq!(settings.check_interval, Some(Duration::from_secs(3600)));
        assert_eq!(settings.root, PathBuf::from("/etc/livepatch/root.json"));
        assert_eq!(settings.log_level, LogLevel::Info);
    }

    #[test]
    fn a_server_is_reached_by_https_unless_it_is_here() {
        let url = |text: &str| check(&format!("remote-server = '{text}'"));
        let server = url("https://live.example.com/suture")
            .unwrap()
            .remote_server
            .unwrap();
        assert_eq!(
            server.join("v1/machines").unwrap().path(),
            "/suture/v1/machines"
        );
        assert!(url("http://127.0.0.1:8080").is_ok());
        assert!(url("http://[::1]:8080").is_ok());
        let refused = url("http://live.example.com").unwrap_err();
        assert!(
            refused.contains("tokens would travel unprotected"),
            "{refused}"
        );
        assert!(check("remote-server = 'http://10.0.2.2:80'\nallow-plain-http = true").is_ok());
        for bad in [
            "live.example.com",
            "ftp://x",
            "https://u:p@x",
            "https://x/?q",
        ] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_wrong_address_is_told_without_its_password() {
        for wrong in [
            "ftp://name:word@proxy:1",
            "name:word@proxy:1",
            "ftp://name:wo@rd@proxy:1",
        ] {
            let error = check(&format!("https-proxy = '{wrong}'")).unwrap_err();
            assert!(
                error.contains("…@proxy:1` is not a value of `https-proxy`"),
                "{error}"
            );
            assert!(!error.contains("name") && !error.contains("wo"), "{error}");
        }
        let error = check("remote-server = 'https://name:word@example.com'").unwrap_err();
        assert!(
            error.starts_with("`https://…@example.com` is not"),
            "{error}"
        );
    }

    #[test]
    fn zero_minutes_switch_the_loop_off() {
        assert_eq!(check("check-interval = 0").unwrap().check_interval, None);
        assert!(check("check-interval = 10081").is_err());
    }

    #[test]
    fn times_have_units_and_zero_means_never() {
        let settings = check("").unwrap();
        assert_eq!(settings.times, Times::default());
        assert_eq!((settings.patch_delay, settings.cutoff_date), (None, None));
        let toml = "settle-time = '90s'\nreverse-after = '0'\npatch-delay = '2d'\n\
                    cutoff-date = '2026-11-01T00:00:00Z'";
        let settings = check(toml).unwrap();
        assert_eq!(settings.times.settle, Duration::from_secs(90));
        assert_eq!(settings.times.reverse_after, None);
        assert_eq!(settings.patch_delay, Some(Duration::from_secs(172_800)));
        assert_eq!(
            settings.cutoff_date.unwrap().to_string(),
            "2026-11-01T00:00:00Z"
        );
        let error = check("reverse-after = '5'").unwrap_err();
        assert!(
            error.starts_with("`5` is not a value of `reverse-after`"),
            "{error}"
        );
        assert!(check("cutoff-date = 'yesterday'").is_err());
    }

    #[test]
    fn certificates_are_text_or_an_absolute_path() {
        let path = check("ca-certs = '/etc/ssl/own.pem'").unwrap().ca_certs;
        assert_eq!(path, Some(CaCerts::Path("/etc/ssl/own.pem".into())));
        let text = check("ca-certs = '-----BEGIN CERTIFICATE-----'")
            .unwrap()
            .ca_certs;
        assert!(matches!(text, Some(CaCerts::Pem(_))));
        assert!(check("ca-certs = 'own.pem'").is_err());
    }
}
