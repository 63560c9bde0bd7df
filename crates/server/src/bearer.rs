//! The `Authorization` header (source: RFC 6750, 2.1).

use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use suture_store::{AccountToken, InvalidSecret, MachineSecret};

use crate::problem::ApiError;

/// A secret that came as bearer. It has the right form; whether it holds, the store knows.
pub struct Bearer<T>(pub T);

/// A kind of secret that can come as bearer.
pub trait BearerKind: FromStr + Send {
    /// What is said if it is missing or is none.
    const REFUSAL: fn() -> ApiError;
}

impl BearerKind for AccountToken {
    const REFUSAL: fn() -> ApiError = || ApiError::UnknownToken;
}

impl BearerKind for MachineSecret {
    const REFUSAL: fn() -> ApiError = || ApiError::UnknownMachine;
}

/// Who asks for a module: a machine, or by an account's token another service that mirrors this
/// one.
pub enum ModuleReader {
    Machine(MachineSecret),
    Mirror(AccountToken),
}

impl FromStr for ModuleReader {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let machine = text.parse().map(Self::Machine);
        machine.or_else(|_| text.parse().map(Self::Mirror))
    }
}

impl BearerKind for ModuleReader {
    const REFUSAL: fn() -> ApiError = || ApiError::UnknownMachine;
}

impl<T: BearerKind, S: Sync> FromRequestParts<S> for Bearer<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        bearer(&parts.headers).map(Self).ok_or_else(T::REFUSAL)
    }
}

fn bearer<T: FromStr>(headers: &HeaderMap) -> Option<T> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, secret) = text.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| secret.trim().parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_read_whatever_the_case_of_its_scheme() {
        let secret = MachineSecret::generate().unwrap();
        let read = |value: String| {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]);
            bearer::<MachineSecret>(&headers)
        };
        assert_eq!(
            read(format!("Bearer {}", secret.expose())),
            Some(secret.clone())
        );
        assert_eq!(
            read(format!("bearer {}", secret.expose())),
            Some(secret.clone())
        );
        assert_eq!(read(format!("Basic {}", secret.expose())), None);
        assert_eq!(read(secret.expose().to_owned()), None);
        assert_eq!(bearer::<MachineSecret>(&HeaderMap::new()), None);
    }
}
