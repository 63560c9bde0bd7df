//! An operator's key as bearer.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Redirect, Response};
use suture_protocol::Problem;
use suture_store::{Actor, OperatorKey, OperatorKeyEntry, StoreError};
use utoipa::IntoResponses;

use crate::bearer::{Bearer, BearerKind};
use crate::client_address::ClientAddress;
use crate::html::PageError;
use crate::problem::{ApiError, ApiResult};
use crate::session::{MaybeSession, Session};
use crate::state::AppState;
use crate::view::Audience;

impl BearerKind for OperatorKey {
    const REFUSAL: fn() -> ApiError = || ApiError::UnknownOperator;
}

/// An operator, by a key that holds.
pub struct Operator(pub OperatorKeyEntry);

impl Operator {
    pub fn actor(&self) -> Actor {
        Actor::Operator(self.0.name.clone())
    }
}

/// How every call that needs an operator may be refused, for the API's description.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "it describes answers and is none")]
pub enum OperatorRefusals {
    /// unknown-operator
    #[response(status = UNAUTHORIZED, content_type = "application/problem+json")]
    UnknownOperator(Problem),
    /// too-many
    #[response(status = TOO_MANY_REQUESTS, content_type = "application/problem+json")]
    TooMany(Problem),
}

/// An operator, or nobody who says to be one; a key that does not hold is refused.
pub struct MaybeOperator(pub Option<Operator>);

impl MaybeOperator {
    pub fn audience(&self) -> Audience {
        match self.0 {
            Some(_) => Audience::Operator,
            None => Audience::Public,
        }
    }
}

impl FromRequestParts<AppState> for Operator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> ApiResult<Self> {
        let Ok(address) = ClientAddress::from_request_parts(parts, app).await;
        let key = Bearer::<OperatorKey>::from_request_parts(parts, app).await;
        authenticate(app, address, key.ok().map(|Bearer(key)| key))
            .await
            .map(Self)
    }
}

impl FromRequestParts<AppState> for MaybeOperator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> ApiResult<Self> {
        if !parts.headers.contains_key(AUTHORIZATION) {
            return Ok(Self(None));
        }
        let operator = Operator::from_request_parts(parts, app).await?;
        Ok(Self(Some(operator)))
    }
}

/// An operator in a browser. Whoever has not signed in is sent to do so and comes back; who is
/// somebody else is refused.
pub struct OperatorSession(pub Session);

impl FromRequestParts<AppState> for OperatorSession {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Response> {
        let refused = |error: ApiError| PageError::from(error).into_response();
        let found = MaybeSession::from_request_parts(parts, app).await;
        match found.map_err(refused)?.0 {
            Some(session) if session.operator().is_some() => Ok(Self(session)),
            Some(_) => Err(refused(ApiError::NotAnOperator)),
            None => {
                let to = format!("/sign-in?next={}", parts.uri.path());
                Err(Redirect::to(&to).into_response())
            }
        }
    }
}

/// Looks a key up, unless too many wrong ones came from the address. None is a wrong one.
async fn authenticate(
    app: &AppState,
    address: ClientAddress,
    key: Option<OperatorKey>,
) -> ApiResult<OperatorKeyEntry> {
    let now = app.clock.now();
    let guesses = &app.web.guesses;
    guesses.may_try(address, now)?;
    let known = match &key {
        Some(key) => app.store.authenticate_operator(key).await,
        None => Err(StoreError::UnknownOperator),
    };
    if let Err(StoreError::UnknownOperator) = known {
        guesses.count(address, now);
    }
    Ok(known?)
}
