//! What a failed call says of the network, and what to do about it. Pure.

use std::error::Error;
use std::io;

use rustls::CertificateError;

/// Why a call brought no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetworkTrouble {
    /// The certificate leads to an authority that this machine doesn't know.
    ForeignAuthority,
    /// The certificate is somebody else's.
    OtherName,
    /// The certificate's time is over or has not begun, by this machine's clock.
    Clock,
    /// No address is known for the name.
    NoAddress,
    /// Nothing, or not enough, came in time.
    TooSlow,
    /// The other side ended the connection.
    CutOff,
    /// The way led to plain http.
    LedAway,
    /// A web page stands in the place of the answer.
    WebPage,
    Other,
}

impl NetworkTrouble {
    pub fn of(error: &ureq::Error) -> Self {
        match error {
            ureq::Error::HostNotFound => Self::NoAddress,
            ureq::Error::Timeout(ureq::Timeout::Resolve) => Self::NoAddress,
            ureq::Error::Timeout(_) => Self::TooSlow,
            ureq::Error::RequireHttpsOnly(_) => Self::LedAway,
            ureq::Error::Rustls(error) => Self::of_tls(error),
            ureq::Error::Io(error) => Self::of_io(error),
            _ => Self::Other,
        }
    }

    fn of_io(error: &io::Error) -> Self {
        let inner = error.get_ref();
        match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(error) => Self::of_tls(error),
            // The standard library has no kind of its own for it.
            None if error.to_string().starts_with("failed to lookup address") => Self::NoAddress,
            None => match error.kind() {
                io::ErrorKind::TimedOut => Self::TooSlow,
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Self::CutOff,
                _ => Self::Other,
            },
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use CertificateError as E;
        match error {
            rustls::Error::InvalidCertificate(error) => match error {
                E::Expired
                | E::ExpiredContext { .. }
                | E::NotValidYet
                | E::NotValidYetContext { .. } => Self::Clock,
                E::NotValidForName | E::NotValidForNameContext { .. } => Self::OtherName,
                _ => Self::ForeignAuthority,
            },
            _ => Self::Other,
        }
    }

    /// Of a chain of errors that a call lies at the end of.
    pub fn in_chain(error: &(dyn Error + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref() {
                return Some(Self::of(error));
            }
            if error.is::<WebPage>() {
                return Some(Self::WebPage);
            }
            next = error.source();
        }
        None
    }

    pub fn hint(self) -> &'static str {
        match self {
            Self::ForeignAuthority => {
                "if the service, or a proxy that looks into TLS, has a certificate authority of its \
                 own, name it: `livepatch config ca-certs=/path/to/ca.pem`"
            }
            Self::OtherName => {
                "somebody else answers in the service's place: a network that wants a login first, \
                 or an address in `remote-server` that the certificate does not name"
            }
            Self::Clock => {
                "check this machine's clock (`timedatectl`); if it is right, the service must renew \
                 its certificate"
            }
            Self::NoAddress => {
                "check the names in `livepatch config remote-server` and of the proxy, if there is \
                 one, and this machine's name servers in /etc/resolv.conf"
            }
            Self::TooSlow => {
                "check the network and the proxy settings; it is tried again by itself"
            }
            Self::CutOff => {
                "the connection was cut: check the network and the proxy; it is tried again by \
                 itself"
            }
            Self::LedAway => {
                "the way leads to plain http, as in networks that want a login first; nothing was \
                 sent there"
            }
            Self::WebPage => {
                "a proxy's message, or a network that wants a login first: open a page in a \
                 browser there, or check `livepatch config https-proxy`"
            }
            Self::Other => {
                "check the network, `livepatch config remote-server` and the proxy settings"
            }
        }
    }
}

/// An answer that is none.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("something on the way answered with a web page")]
pub struct WebPage;

/// Whether a body is a web page, as proxies and networks that want a login send in the place of
/// any answer. Neither JSON nor a module begins with `<`.
pub fn is_web_page(content_type: Option<&str>, body: &[u8]) -> bool {
    let html = |it: &str| {
        let kind = it.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
    };
    content_type.is_some_and(html) || body.trim_ascii_start().starts_with(b"<")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_page_is_known_by_its_type_or_its_first_character() {
        assert!(is_web_page(Some("text/html; charset=utf-8"), b"Log in"));
        assert!(is_web_page(None, b"\r\n <!doctype html>"));
        assert!(!is_web_page(Some("application/json"), b"{}"));
        assert!(!is_web_page(Some("application/octet-stream"), b"\x7fELF"));
    }
}
