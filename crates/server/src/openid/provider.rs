//! Calls to a provider of identities.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::OpenIdError;
use super::id_token::Claims;
use crate::{OpenIdConfig, outgoing};

/// For one call. A sign-in makes four at most, within the time of one of our own answers.
const PATIENCE: Duration = Duration::from_secs(4);

/// Bytes of an answer.
const MAX_ANSWER: u64 = 256 * 1024;

/// Characters of the provider's own words that are kept.
const MAX_WORDS: usize = 200;

/// How long what a provider says of itself is taken for true.
const FRESH: SignedDuration = SignedDuration::from_hours(1);

/// What a provider says of itself (source: OpenID Connect Discovery 1.0, 3).
#[derive(Debug, Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: Url,
    token_endpoint: Url,
    jwks_uri: Url,
    #[serde(default)]
    userinfo_endpoint: Option<Url>,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<serde_json::Value>,
}

/// What is known of the provider.
pub struct Known {
    metadata: Metadata,
    pub keys: Vec<Jwk>,
    at: Timestamp,
}

impl Known {
    /// Where people say who they are.
    pub fn authorization_endpoint(&self) -> &Url {
        &self.metadata.authorization_endpoint
    }

    /// Whether it was read so long before.
    pub fn is_older(&self, age: SignedDuration, now: Timestamp) -> bool {
        // A clock that was put back must not keep it for long.
        now.duration_since(self.at).abs() >= age
    }
}

/// What a code is exchanged for.
#[derive(Deserialize)]
pub struct Tokens {
    pub id_token: String,
    pub access_token: String,
}

/// Why not (source: RFC 6749, 5.2).
#[derive(Deserialize)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

#[derive(Clone)]
pub struct Provider {
    inner: Arc<Inner>,
}

struct Inner {
    config: OpenIdConfig,
    agent: ureq::Agent,
    known: RwLock<Option<Arc<Known>>>,
}

impl Provider {
    pub fn new(config: &OpenIdConfig) -> Self {
        let agent = outgoing::client(outgoing::system_roots(), PATIENCE);
        let inner = Inner {
            config: config.clone(),
            agent,
            known: RwLock::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What the provider says of itself, asked at most once an hour.
    pub async fn known(&self, now: Timestamp) -> Result<Arc<Known>, OpenIdError> {
        self.known_since(FRESH, now).await
    }

    /// What the provider says of itself, asked again if that was so long ago.
    pub async fn known_since(
        &self,
        age: SignedDuration,
        now: Timestamp,
    ) -> Result<Arc<Known>, OpenIdError> {
        let known = self.inner.known.read();
        let known = known.unwrap_or_else(PoisonError::into_inner).clone();
        match known {
            Some(known) if !known.is_older(age, now) => Ok(known),
            _ => self.blocking(move |inner| inner.discover(now)).await,
        }
    }

    /// Exchanges a code.
    pub async fn exchange(
        &self,
        known: &Arc<Known>,
        form: Vec<(&'static str, String)>,
    ) -> Result<Tokens, OpenIdError> {
        let known = Arc::clone(known);
        self.blocking(move |inner| inner.exchange(&known.metadata, form))
            .await
    }

    /// What the provider says of whoever the token is for; none if it can't be asked.
    pub async fn user_info(
        &self,
        known: &Arc<Known>,
        access_token: String,
    ) -> Result<Option<Claims>, OpenIdError> {
        let Some(url) = known.metadata.userinfo_endpoint.clone() else {
            return Ok(None);
        };
        let ask = move |inner: &Inner| {
            let authorization = format!("Bearer {access_token}");
            let request = http::Request::get(url.as_str()).header("authorization", authorization);
            inner.read(request.body(String::new()))
        };
        self.blocking(ask).await.map(Some)
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, OpenIdError> + Send + 'static,
    ) -> Result<T, OpenIdError> {
        let inner = Arc::clone(&self.inner);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        done.map_err(|_| OpenIdError::BrokenOff)?
    }
}

impl Inner {
    fn discover(&self, now: Timestamp) -> Result<Arc<Known>, OpenIdError> {
        let issuer = &self.config.issuer;
        let address = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let get = |address: &str| http::Request::get(address).body(String::new());
        let metadata: Metadata = self.read(get(&address))?;
        // Source: OpenID Connect Discovery 1.0, 4.3.
        if metadata.issuer != *issuer {
            return Err(OpenIdError::Unusable { what: "issuer" });
        }
        let endpoints = [
            Some(&metadata.authorization_endpoint),
            Some(&metadata.token_endpoint),
            Some(&metadata.jwks_uri),
            metadata.userinfo_endpoint.as_ref(),
        ];
        if !endpoints.into_iter().flatten().all(outgoing::is_protected) {
            return Err(OpenIdError::Unusable { what: "address" });
        }
        let found: Keys = self.read(get(metadata.jwks_uri.as_str()))?;
        // A kind of key that is not known here is not the one that signs.
        let keys = found.keys.into_iter().map(serde_json::from_value);
        let known = Arc::new(Known {
            metadata,
            keys: keys.filter_map(Result::ok).collect(),
            at: now,
        });
        let kept = Some(Arc::clone(&known));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = kept;
        Ok(known)
    }

    fn exchange(
        &self,
        metadata: &Metadata,
        mut form: Vec<(&'static str, String)>,
    ) -> Result<Tokens, OpenIdError> {
        let mut request = http::Request::post(metadata.token_endpoint.as_str())
            .header("content-type", "application/x-www-form-urlencoded");
        let (id, secret) = (&self.config.client_id, self.config.client_secret.expose());
        if takes_basic(metadata) {
            request = request.header("authorization", basic(id, secret));
        } else {
            form.push(("client_id", id.clone()));
            form.push(("client_secret", secret.to_owned()));
        }
        let body = Serializer::new(String::new()).extend_pairs(form).finish();
        self.read(request.body(body))
    }

    fn read<T: DeserializeOwned>(
        &self,
        request: Result<http::Request<String>, http::Error>,
    ) -> Result<T, OpenIdError> {
        let unreachable = |error| OpenIdError::Unreachable(Box::new(error));
        let request = request.map_err(|error| unreachable(error.into()))?;
        let mut response = self.agent.run(request).map_err(unreachable)?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(MAX_ANSWER);
        let body = body.read_to_vec().map_err(unreachable)?;
        if status.is_success() {
            return Ok(serde_json::from_slice(&body)?);
        }
        Err(match serde_json::from_slice::<Refusal>(&body) {
            Ok(said) if status.is_client_error() => OpenIdError::Refused {
                words: words(&said.error, &said.error_description),
            },
            _ => OpenIdError::Answered {
                status: status.as_u16(),
            },
        })
    }
}

/// A provider that says nothing takes it (source: OpenID Connect Discovery 1.0, 3).
fn takes_basic(metadata: &Metadata) -> bool {
    let methods = metadata.token_endpoint_auth_methods_supported.as_ref();
    methods.is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"))
}

/// Source: RFC 6749, 2.3.1: both are encoded as in a form first.
fn basic(id: &str, secret: &str) -> String {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(id), encoded(secret));
    format!("Basic {}", STANDARD.encode(pair))
}

/// The provider's words about a refusal, for people.
pub fn words(error: &str, description: &str) -> String {
    let clean = |text: &str| -> String {
        let printable = text.chars().filter(|char| !char.is_control());
        printable.take(MAX_WORDS).collect()
    };
    match clean(description) {
        description if description.is_empty() => format!("`{}`", clean(error)),
        description => format!("`{}`: {description}", clean(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_with_odd_characters_is_written_as_the_standard_says() {
        // Source: RFC 6749, 2.3.1 and appendix B.
        assert_eq!(
            basic("a b", "c:d%"),
            format!("Basic {}", STANDARD.encode("a+b:c%3Ad%25"))
        );
    }

    #[test]
    fn a_provider_s_words_are_few_and_printable() {
        assert_eq!(words("access_denied", ""), "`access_denied`");
        let long = words("x\u{1b}[2J", &"y".repeat(1000));
        assert_eq!(long, format!("`x[2J`: {}", "y".repeat(200)));
    }
}
