//! Who looks at a page: the cookie, and what keeps other sites from acting in its name.

use aws_lc_rs::{constant_time, digest};
use axum::extract::FromRequestParts;
use axum::http::header::{COOKIE, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri};
use jiff::SignedDuration;
use suture_store::{AccountId, OperatorName, SessionSecret, Visitor};

use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;

/// Seconds after which a session ends: 12 hours, a long day's work.
pub const SESSION_SECS: i64 = 12 * 3600;

/// Seconds after which who signed in has to do so again before what outlasts the session: a
/// browser that was left open, or a cookie that was stolen, must not become a way in for ever.
pub const FRESH_SECS: i64 = 15 * 60;

/// Somebody who signed in.
pub struct Session {
    pub visitor: Visitor,
    pub secret: SessionSecret,
}

impl Session {
    pub fn operator(&self) -> Option<&OperatorName> {
        match &self.visitor {
            Visitor::Operator(name) => Some(name),
            Visitor::Owner(_) | Visitor::TokenHolder(_) => None,
        }
    }

    /// The account whose machines the visitor may see.
    pub fn account(&self) -> Option<AccountId> {
        match &self.visitor {
            Visitor::Owner(account) | Visitor::TokenHolder(account) => Some(*account),
            Visitor::Operator(_) => None,
        }
    }

    /// Whether it was begun within [`FRESH_SECS`]: all sessions are equally long, so it would hold
    /// for as much less than a whole session from now on.
    pub async fn is_fresh(&self, app: &AppState) -> ApiResult<bool> {
        let left = SignedDuration::from_secs(SESSION_SECS - FRESH_SECS);
        let holds = app.store.session(&self.secret, app.clock.now() + left);
        Ok(holds.await?.is_some())
    }

    /// The account that the visitor may change.
    pub fn owner(&self) -> Option<AccountId> {
        match &self.visitor {
            Visitor::Owner(account) => Some(*account),
            Visitor::TokenHolder(_) | Visitor::Operator(_) => None,
        }
    }
}

/// The session that a request's cookie names, if one does and it holds.
pub struct MaybeSession(pub Option<Session>);

impl FromRequestParts<AppState> for MaybeSession {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> ApiResult<Self> {
        let name = app.web.cookies.at(&parts.headers).session();
        let sent = cookie(&parts.headers, name).and_then(|text| text.parse().ok());
        let Some(secret) = sent else {
            return Ok(Self(None));
        };
        let visitor = app.store.session(&secret, app.clock.now()).await?;
        Ok(Self(visitor.map(|visitor| Session { visitor, secret })))
    }
}

/// When cookies may travel over plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CookiePolicy {
    /// False only for a listener on loopback without TLS, and there only if no proxy says that
    /// its client came over TLS.
    pub always_secure: bool,
}

/// How the cookies of one request are named and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cookies {
    secure: bool,
}

impl CookiePolicy {
    pub fn at(self, headers: &HeaderMap) -> Cookies {
        let forwarded = headers.get("x-forwarded-proto");
        let over_tls = forwarded.is_some_and(|scheme| scheme == "https");
        Cookies {
            secure: self.always_secure || over_tls,
        }
    }
}

impl Cookies {
    /// A browser takes the prefix `__Host-` only for this very host and over TLS, so no other
    /// host can plant the cookie (source: RFC 6265bis, 4.1.3.2).
    pub fn session(self) -> &'static str {
        if self.secure {
            "__Host-suture-session"
        } else {
            "suture-session"
        }
    }

    /// Joins the form for signing in with the browser that was given it.
    pub fn form(self) -> &'static str {
        if self.secure {
            "__Host-suture-form"
        } else {
            "suture-form"
        }
    }

    /// Joins what comes back from a provider of identities with the browser that went there.
    pub fn ceremony(self) -> &'static str {
        if self.secure {
            "__Host-suture-ceremony"
        } else {
            "suture-ceremony"
        }
    }

    /// As [`Self::set`], for a cookie that must come along when another site leads here.
    pub fn set_for_return(self, name: &str, value: &str, max_age_secs: i64) -> String {
        let strict = self.set(name, value, max_age_secs);
        strict.replace("SameSite=Strict", "SameSite=Lax")
    }

    /// The header's value that sets a cookie; 0 seconds remove it.
    pub fn set(self, name: &str, value: &str, max_age_secs: i64) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={max_age_secs}{secure}")
    }
}

/// The value of a cookie that was sent.
pub fn cookie<'headers>(headers: &'headers HeaderMap, name: &str) -> Option<&'headers str> {
    let lines = headers.get_all(COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(known, value)| (known == name).then_some(value))
}

/// What a form carries to show that it was made for this browser and this address: nobody who
/// can't read the cookie can make it, and it says nothing about the cookie.
pub fn form_token(cookie: &str, action: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in ["suture form v1", action, cookie] {
        context.update(part.as_bytes());
        context.update(b"\0");
    }
    hex::encode(context.finish())
}

/// Refuses a form without the token that belongs to it.
pub fn check_form_token(cookie: &str, action: &str, sent: &str) -> ApiResult<()> {
    let expected = form_token(cookie, action);
    constant_time::verify_slices_are_equal(expected.as_bytes(), sent.as_bytes())
        .map_err(|_| ApiError::ForeignForm)
}

/// A request that one of this service's own pages made, as far as the browser tells.
pub struct SameSite;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl FromRequestParts<AppState> for SameSite {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _app: &AppState) -> ApiResult<Self> {
        if is_same_site(&parts.headers, &parts.uri) {
            Ok(Self)
        } else {
            Err(ApiError::ForeignForm)
        }
    }
}

/// Browsers say it by `sec-fetch-site`, and where they don't (plain HTTP, old ones), by `origin`.
/// What says neither is no browser of today, and is refused.
fn is_same_site(headers: &HeaderMap, uri: &Uri) -> bool {
    if let Some(site) = headers.get(SEC_FETCH_SITE) {
        return site == "same-origin";
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // With HTTP/2 the host is part of the address.
    let host = uri.authority().map(|authority| authority.as_str());
    let host = host.or_else(|| text(HOST));
    let origin = text(ORIGIN).and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((_, origin)), Some(host)) => origin.eq_ignore_ascii_case(host),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn only_our_own_pages_post() {
        let path = Uri::from_static("/sign-in");
        let own = |pairs: &[_]| is_same_site(&headers(pairs), &path);
        assert!(own(&[("sec-fetch-site", "same-origin")]));
        assert!(!own(&[("sec-fetch-site", "same-site")]));
        assert!(!own(&[("sec-fetch-site", "cross-site")]));
        let host = ("host", "patches.example.org");
        assert!(own(&[host, ("origin", "https://patches.example.org")]));
        assert!(!own(&[host, ("origin", "https://example.org")]));
        assert!(!own(&[host, ("origin", "null")]));
        assert!(!own(&[host]));
        let whole = Uri::from_static("https://patches.example.org/sign-in");
        let origin = headers(&[("origin", "https://patches.example.org")]);
        assert!(is_same_site(&origin, &whole));
    }

    #[test]
    fn a_form_is_for_one_browser_and_one_address() {
        let token = form_token("secret", "/sign-out");
        assert!(check_form_token("secret", "/sign-out", &token).is_ok());
        assert!(check_form_token("other", "/sign-out", &token).is_err());
        assert!(check_form_token("secret", "/sign-in", &token).is_err());
        assert!(check_form_token("secret", "/sign-out", "").is_err());
    }

    #[test]
    fn cookies_are_secure_unless_the_listener_is_plain_on_loopback() {
        let plain = CookiePolicy {
            always_secure: false,
        };
        let nothing = HeaderMap::new();
        assert_eq!(
            plain.at(&nothing).set_for_return("a", "b", 60),
            "a=b; Path=/; HttpOnly; SameSite=Lax; Max-Age=60"
        );
        assert_eq!(
            plain.at(&nothing).set("a", "b", 60),
            "a=b; Path=/; HttpOnly; SameSite=Strict; Max-Age=60"
        );
        let proxied = plain.at(&headers(&[("x-forwarded-proto", "https")]));
        assert!(proxied.set("a", "b", 60).ends_with("; Secure"));
        assert!(proxied.session().starts_with("__Host-"));
        let sent = headers(&[("cookie", "other=1; suture-session=value")]);
        assert_eq!(cookie(&sent, "suture-session"), Some("value"));
        assert_eq!(cookie(&sent, "session"), None);
    }
}
