//! Signing in at a provider of identities: OpenID Connect, by the authorization code flow (source:
//! OpenID Connect Core 1.0, 3.1) with PKCE (source: RFC 7636).
//!
//! All that joins the answer with the browser that asked is made of one secret, which that
//! browser keeps in a cookie and the database as a hash: the state, the nonce and the verifier.

mod id_token;
mod provider;

use aws_lc_rs::{constant_time, digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use suture_store::{
    CeremonySecret, EmailAddress, IdentityName, IdentitySubject, Issuer, NewIdentity,
    ProviderIdentity,
};
use thiserror::Error;
use url::Url;

use crate::{OpenIdConfig, ServerError, outgoing};

pub use id_token::InvalidIdToken;
pub use provider::words;

use id_token::{Claims, Expected};
use provider::{Known, Provider};

/// Where the provider sends people back to.
pub const BACK: &str = "/sign-in/openid/back";

/// A key that is not known is looked for again after so long.
const KEYS_AGAIN: SignedDuration = SignedDuration::from_mins(1);

#[derive(Debug, Error)]
pub enum OpenIdError {
    #[error("the provider of identities cannot be reached")]
    Unreachable(#[source] Box<ureq::Error>),
    #[error("the provider of identities answers with status {status}")]
    Answered { status: u16 },
    #[error("the provider of identities refuses: {words}")]
    Refused { words: String },
    #[error("the answer of the provider of identities cannot be read")]
    Unreadable(#[from] serde_json::Error),
    #[error("the answer of the provider of identities has an unusable {what}")]
    Unusable { what: &'static str },
    #[error("the answer of the provider of identities is not taken")]
    IdToken(#[from] InvalidIdToken),
    #[error("the call was broken off")]
    BrokenOff,
}

/// Who a provider says somebody is.
pub struct Person {
    pub identity: NewIdentity,
    /// Their address; none: the provider does not say that it verified one.
    pub email: Option<EmailAddress>,
}

/// The provider, and what this service is to it.
pub struct OpenId {
    config: OpenIdConfig,
    issuer: Issuer,
    /// [`BACK`], as a whole address.
    back: String,
    provider: Provider,
}

impl OpenId {
    /// Reads the settings; the provider is asked later, so that the service starts without it.
    pub fn open(config: &OpenIdConfig, public_url: Option<&str>) -> Result<Self, ServerError> {
        let unusable = |why: String| ServerError::OpenId { why };
        let issuer: Issuer = config
            .issuer
            .parse()
            .map_err(|error| unusable(format!("{error}")))?;
        let is_address = config.issuer.parse().is_ok_and(|url: Url| {
            outgoing::is_protected(&url) && url.query().is_none() && url.fragment().is_none()
        });
        if !is_address {
            let expected = "an address like `https://id.example.org`, without a query";
            return Err(unusable(format!(
                "`{issuer}` is no issuer: expected {expected}"
            )));
        }
        let Some(public) = public_url else {
            let why = "the provider must know where to send people back to; say it by --public-url";
            return Err(unusable(why.to_owned()));
        };
        if !public
            .parse()
            .is_ok_and(|url: Url| outgoing::is_protected(&url))
        {
            let why = format!(
                "`{public}` would carry what signs people in unprotected: expected https in \
                 --public-url"
            );
            return Err(unusable(why));
        }
        for (what, text) in [
            ("client's id", config.client_id.as_str()),
            ("client's secret", config.client_secret.expose()),
            ("provider's name", &config.name),
        ] {
            if text.is_empty() || text.chars().any(char::is_control) {
                return Err(unusable(format!("the {what} is empty or not printable")));
            }
        }
        if let Some(domain) = config.domains.iter().find(|domain| !is_domain(domain)) {
            let why = format!("`{domain}` is no domain of e-mail addresses, like `example.org`");
            return Err(unusable(why));
        }
        Ok(Self {
            issuer,
            back: format!("{}{BACK}", public.trim_end_matches('/')),
            provider: Provider::new(config),
            config: config.clone(),
        })
    }

    /// What the provider calls itself.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// What people call the provider.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Whether an address may have a new account.
    pub fn admits(&self, email: &EmailAddress) -> bool {
        let domain = email.as_str().rsplit('@').next().unwrap_or_default();
        let domains = &self.config.domains;
        domains.is_empty() || domains.iter().any(|it| it.eq_ignore_ascii_case(domain))
    }

    /// The page of the provider where somebody says who they are.
    pub async fn page(&self, secret: &CeremonySecret, now: Timestamp) -> Result<Url, OpenIdError> {
        let known = self.provider.known(now).await?;
        let mut page = known.authorization_endpoint().clone();
        page.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", &self.back)
            .append_pair("scope", "openid email profile")
            .append_pair("state", &made_of(secret, "state"))
            .append_pair("nonce", &made_of(secret, "nonce"))
            .append_pair("code_challenge", &challenge(&made_of(secret, "verifier")))
            .append_pair("code_challenge_method", "S256");
        Ok(page)
    }

    /// Whether an answer is to what was begun with this secret.
    pub fn is_answer_to(&self, secret: &CeremonySecret, state: &str) -> bool {
        let expected = made_of(secret, "state");
        constant_time::verify_slices_are_equal(expected.as_bytes(), state.as_bytes()).is_ok()
    }

    /// Whether an answer that names its issuer is this provider's (source: RFC 9207, 2.4).
    pub fn is_from(&self, issuer: Option<&str>) -> bool {
        issuer.is_none_or(|issuer| issuer == self.config.issuer)
    }

    /// Asks the provider who came back with a code.
    pub async fn person(
        &self,
        secret: &CeremonySecret,
        code: String,
        now: Timestamp,
    ) -> Result<Person, OpenIdError> {
        let known = self.provider.known(now).await?;
        let form = vec![
            ("grant_type", "authorization_code".to_owned()),
            ("code", code),
            ("redirect_uri", self.back.clone()),
            ("code_verifier", made_of(secret, "verifier")),
        ];
        let tokens = self.provider.exchange(&known, form).await?;
        let nonce = made_of(secret, "nonce");
        let mut said = match self.check(&tokens.id_token, &nonce, &known, now) {
            Err(InvalidIdToken::UnknownKey) => {
                // The provider may have a new key.
                let known = self.provider.known_since(KEYS_AGAIN, now).await?;
                self.check(&tokens.id_token, &nonce, &known, now)?
            }
            checked => checked?,
        };
        if said.email.is_none() {
            let more = self.provider.user_info(&known, tokens.access_token).await?;
            // Source: OpenID Connect Core 1.0, 5.3.2.
            said = more.filter(|more| more.sub == said.sub).unwrap_or(said);
        }
        self.read(said)
    }

    fn check(
        &self,
        token: &str,
        nonce: &str,
        known: &Known,
        now: Timestamp,
    ) -> Result<Claims, InvalidIdToken> {
        let expected = Expected {
            issuer: &self.config.issuer,
            client_id: &self.config.client_id,
            nonce,
        };
        id_token::check(token, &known.keys, &expected, now)
    }

    fn read(&self, said: Claims) -> Result<Person, OpenIdError> {
        let unusable = |what| OpenIdError::Unusable { what };
        let subject: IdentitySubject = said.sub.parse().map_err(|_| unusable("subject"))?;
        let names = [&said.email, &said.preferred_username, &said.name];
        let mut names = names.into_iter().flatten().map(String::as_str);
        let name = names.find_map(|name| name.parse::<IdentityName>().ok());
        let name = name.or_else(|| subject.as_str().parse().ok());
        let email = said.email.as_ref().filter(|_| said.email_verified);
        Ok(Person {
            identity: NewIdentity {
                provider: ProviderIdentity {
                    issuer: self.issuer.clone(),
                    subject,
                },
                name: name.ok_or_else(|| unusable("name"))?,
            },
            email: email.and_then(|email| email.parse().ok()),
        })
    }
}

fn is_domain(text: &str) -> bool {
    let fits = |char: char| char.is_alphanumeric() || matches!(char, '-' | '.');
    !text.is_empty() && text.chars().all(fits)
}

/// A value that only who has the secret can make, and that does not tell it.
fn made_of(secret: &CeremonySecret, what: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let what = format!("suture openid {what} v1");
    hex::encode(hmac::sign(&key, what.as_bytes()))
}

fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, verifier.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> OpenIdConfig {
        OpenIdConfig {
            issuer: "https://id.example.org".to_owned(),
            client_id: "suture".to_owned(),
            client_secret: "hunter2".to_owned().into(),
            name: "Example".to_owned(),
            domains: vec!["example.org".to_owned()],
        }
    }

    const PUBLIC: Option<&str> = Some("https://patches.example.org");

    #[test]
    fn the_challenge_is_that_of_the_standard() {
        // Source: RFC 7636, appendix B.
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn settings_that_cannot_work_are_refused_at_the_start() {
        let refused = |config: &OpenIdConfig, public: Option<&str>| {
            let error = OpenId::open(config, public).err().unwrap().to_string();
            assert!(!error.contains("hunter2"), "{error}");
            error
        };
        assert!(OpenId::open(&config(), PUBLIC).is_ok());
        assert!(refused(&config(), None).contains("--public-url"));
        let plain = Some("http://patches.example.org");
        assert!(refused(&config(), plain).contains("expected https"));
        for issuer in ["id.example.org", "http://id.example.org", "https://a/?b"] {
            let config = OpenIdConfig {
                issuer: issuer.to_owned(),
                ..config()
            };
            assert!(refused(&config, PUBLIC).contains("no issuer"), "{issuer}");
        }
        let nameless = OpenIdConfig {
            name: String::new(),
            ..config()
        };
        assert!(refused(&nameless, PUBLIC).contains("provider's name"));
        let domains = vec!["@example.org".to_owned()];
        let config = OpenIdConfig {
            domains,
            ..config()
        };
        assert!(refused(&config, PUBLIC).contains("no domain"));
    }

    #[test]
    fn only_addresses_of_the_domains_get_accounts() {
        let openid = OpenId::open(&config(), PUBLIC).unwrap();
        let admits = |email: &str| openid.admits(&email.parse().unwrap());
        assert!(admits("ada@example.org") && admits("ada@Example.ORG"));
        assert!(!admits("ada@sub.example.org") && !admits("ada@notexample.org"));
        let domains = Vec::new();
        let open = OpenId::open(
            &OpenIdConfig {
                domains,
                ..config()
            },
            PUBLIC,
        );
        assert!(open.unwrap().admits(&"ada@example.net".parse().unwrap()));
    }

    #[test]
    fn what_is_made_of_a_secret_does_not_tell_it() {
        let (one, other) = (
            CeremonySecret::generate().unwrap(),
            CeremonySecret::generate().unwrap(),
        );
        let openid = OpenId::open(&config(), PUBLIC).unwrap();
        assert!(openid.is_answer_to(&one, &made_of(&one, "state")));
        assert!(!openid.is_answer_to(&other, &made_of(&one, "state")));
        assert!(!openid.is_answer_to(&one, &made_of(&one, "nonce")));
    }
}
