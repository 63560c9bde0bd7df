//! What a provider says of a person, and whether it said so.

use jiff::Timestamp;
use jsonwebtoken::jwk::{Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::{Deserialize, Deserializer};
use thiserror::Error;

/// Seconds by which clocks may differ.
const LEEWAY_SECS: i64 = 60;

/// Signatures that only the provider can make: none by a secret that is ours as well.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

#[derive(Debug, Error)]
pub enum InvalidIdToken {
    #[error("its identity token is signed by `{algorithm:?}`, which is not taken")]
    Algorithm { algorithm: Algorithm },
    #[error("its identity token is signed by a key that it does not publish")]
    UnknownKey,
    #[error("its identity token does not hold")]
    Invalid(#[from] jsonwebtoken::errors::Error),
    #[error("its identity token is over, or the clocks differ")]
    Over,
    #[error("its identity token was made for another sign-in")]
    Nonce,
    #[error("its identity token was made for another service")]
    Party,
}

/// What must be in it.
pub struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
}

/// Claims about a person (source: OpenID Connect Core 1.0, 5.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Claims {
    pub sub: String,
    #[serde(default)]
    pub email: Option<String>,
    #[serde(default, deserialize_with = "is_true")]
    pub email_verified: bool,
    #[serde(default)]
    pub preferred_username: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
}

#[derive(Deserialize)]
struct Token {
    exp: i64,
    #[serde(default)]
    nonce: Option<String>,
    #[serde(default)]
    azp: Option<String>,
    #[serde(flatten)]
    claims: Claims,
}

/// Some providers write it as a text. Whatever else it is, it is not true.
fn is_true<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(value == true || value == "true")
}

/// Checks an identity token (source: OpenID Connect Core 1.0, 3.1.3.7) and reads what it says.
pub fn check(
    token: &str,
    keys: &[Jwk],
    expected: &Expected<'_>,
    now: Timestamp,
) -> Result<Claims, InvalidIdToken> {
    let header = decode_header(token)?;
    if !ALGORITHMS.contains(&header.alg) {
        let algorithm = header.alg;
        return Err(InvalidIdToken::Algorithm { algorithm });
    }
    let key = find(keys, header.kid.as_deref()).ok_or(InvalidIdToken::UnknownKey)?;
    let mut validation = Validation::new(header.alg);
    validation.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
    validation.set_issuer(&[expected.issuer]);
    validation.set_audience(&[expected.client_id]);
    // It would ask the computer's clock.
    validation.validate_exp = false;
    let token: Token = decode(token, &DecodingKey::from_jwk(key)?, &validation)?.claims;
    if token.exp.saturating_add(LEEWAY_SECS) <= now.as_second() {
        return Err(InvalidIdToken::Over);
    }
    if token.azp.is_some_and(|party| party != expected.client_id) {
        return Err(InvalidIdToken::Party);
    }
    if token.nonce.as_deref() != Some(expected.nonce) {
        return Err(InvalidIdToken::Nonce);
    }
    Ok(token.claims)
}

/// The key that a token names; one that names none is signed by the only one that there is.
fn find<'keys>(keys: &'keys [Jwk], name: Option<&str>) -> Option<&'keys Jwk> {
    let signs = |key: &&Jwk| {
        let purpose = key.common.public_key_use.as_ref();
        purpose.is_none_or(|purpose| *purpose == PublicKeyUse::Signature)
    };
    let mut signing = keys.iter().filter(signs);
    match name {
        Some(name) => signing.find(|key| key.common.key_id.as_deref() == Some(name)),
        None => signing.next().filter(|_| signing.next().is_none()),
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
    use serde_json::{Value, json};

    use super::*;

    const EXPECTED: Expected<'_> = Expected {
        issuer: "https://id.example.org",
        client_id: "suture",
        nonce: "once",
    };

    /// A provider's key.
    struct Key {
        pair: EcdsaKeyPair,
        published: Jwk,
    }

    impl Key {
        fn new(name: &str) -> Self {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let point = pair.public_key().as_ref();
            let published = json!({ "kty": "EC", "crv": "P-256", "kid": name, "use": "sig",
                "x": BASE64.encode(&point[1..33]), "y": BASE64.encode(&point[33..]) });
            let published = serde_json::from_value(published).unwrap();
            Self { pair, published }
        }

        fn sign(&self, header: &Value, claims: &Value) -> String {
            let part = |value: &Value| BASE64.encode(value.to_string());
            let message = format!("{}.{}", part(header), part(claims));
            let signed = self.pair.sign(&SystemRandom::new(), message.as_bytes());
            format!("{message}.{}", BASE64.encode(signed.unwrap()))
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    fn claims() -> Value {
        json!({ "iss": "https://id.example.org", "aud": "suture", "sub": "248289761001",
            "exp": 1_800_000_600, "iat": 1_800_000_000, "nonce": "once",
            "email": "ada@example.org", "email_verified": true })
    }

    /// With one claim changed, or without it.
    fn changed(name: &str, value: Value) -> Value {
        let mut changed = claims();
        changed[name] = value;
        let object = changed.as_object_mut().unwrap();
        object.retain(|_, value| !value.is_null());
        changed
    }

    #[test]
    fn a_token_of_the_provider_is_read() {
        let key = Key::new("one");
        let other = Key::new("two");
        let keys = [other.published.clone(), key.published.clone()];
        let token = key.sign(&json!({ "alg": "ES256", "kid": "one" }), &claims());
        let said = check(&token, &keys, &EXPECTED, now()).unwrap();
        assert_eq!(said.sub, "248289761001");
        assert!(said.email_verified);
        let several = changed("aud", json!(["other", "suture"]));
        let unnamed = key.sign(&json!({ "alg": "ES256" }), &several);
        assert!(check(&unnamed, &keys[1..], &EXPECTED, now()).is_ok());
        let which = check(&unnamed, &keys, &EXPECTED, now());
        assert!(
            matches!(which, Err(InvalidIdToken::UnknownKey)),
            "{which:?}"
        );
    }

    #[test]
    fn what_was_said_by_or_for_others_is_refused() {
        let key = Key::new("one");
        let keys = [key.published.clone()];
        let header = json!({ "alg": "ES256", "kid": "one" });
        let check = |token: &str| check(token, &keys, &EXPECTED, now());
        for (name, value) in [
            ("iss", json!("https://id.example.net")),
            ("iss", Value::Null),
            ("aud", json!("other")),
            ("aud", Value::Null),
            ("azp", json!("other")),
            ("exp", json!(1_799_999_940)),
            ("exp", Value::Null),
            ("nonce", json!("twice")),
            ("nonce", Value::Null),
            ("sub", Value::Null),
        ] {
            let token = key.sign(&header, &changed(name, value));
            assert!(check(&token).is_err(), "{name}");
        }
        let forged = Key::new("one").sign(&header, &claims());
        assert!(check(&forged).is_err());
        for algorithm in ["none", "HS256", "RS256", "ES384"] {
            let token = key.sign(&json!({ "alg": algorithm, "kid": "one" }), &claims());
            assert!(check(&token).is_err(), "{algorithm}");
        }
        let unsigned = key.sign(&header, &claims());
        let (message, _) = unsigned.rsplit_once('.').unwrap();
        assert!(check(&format!("{message}.")).is_err());
    }

    #[test]
    fn an_address_is_verified_only_where_the_provider_says_so() {
        for (value, expected) in [
            (json!(true), true),
            (json!("true"), true),
            (json!(false), false),
            (json!("false"), false),
            (json!(1), false),
            (Value::Null, false),
        ] {
            let read: Claims =
                serde_json::from_value(json!({ "sub": "a", "email_verified": value })).unwrap();
            assert_eq!(read.email_verified, expected);
        }
        let silent: Claims = serde_json::from_value(json!({ "sub": "a" })).unwrap();
        assert!(!silent.email_verified);
    }
}
