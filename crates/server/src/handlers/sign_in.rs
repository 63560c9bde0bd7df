//! Signing in and out.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{AppendHeaders, IntoResponse as _, Redirect, Response};
use jiff::SignedDuration;
use serde::Deserialize;
use suture_rollout::RolloutId;
use suture_store::{AccountToken, OperatorKey, SessionSecret, StoreError};
use tracing::info;

use crate::client_address::ClientAddress;
use crate::html::{Nav, PageResult, SIGN_OUT, private};
use crate::problem::{ApiError, ApiResult};
use crate::session::{MaybeSession, SESSION_SECS, SameSite, check_form_token, cookie, form_token};
use crate::state::AppState;

const SIGN_IN: &str = "/sign-in";

/// Seconds in which the form has to be sent: an hour.
const FORM_SECS: i64 = 3600;

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    nav: Nav,
    token: String,
    next: String,
    refusal: Option<&'static str>,
}

#[derive(Deserialize)]
pub struct SignInQuery {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub struct SignInForm {
    token: String,
    key: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub struct SignOutForm {
    token: String,
}

/// The form that takes a key.
#[utoipa::path(
    get,
    path = "/sign-in",
    tag = "pages",
    params(("next" = Option<String>, Query, description = "page to go to afterwards")),
    responses((status = OK, description = "the page", content_type = "text/html")),
)]
pub async fn form(
    State(app): State<AppState>,
    MaybeSession(session): MaybeSession,
    Query(query): Query<SignInQuery>,
    headers: HeaderMap,
) -> PageResult<Response> {
    let nav = Nav::new(session.as_ref());
    page(&app, &headers, nav, query.next, StatusCode::OK, None)
}

/// Begins a session with an operator's key or an account's token.
#[utoipa::path(
    post,
    path = "/sign-in",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "signed in"),
        (status = FORBIDDEN, description = "a wrong key, or a form from elsewhere",
            content_type = "text/html"),
        (status = TOO_MANY_REQUESTS, description = "too many wrong keys from this address",
            content_type = "text/html"),
    ),
)]
pub async fn sign_in(
    State(app): State<AppState>,
    Ok(address): Result<ClientAddress, std::convert::Infallible>,
    same_site: ApiResult<SameSite>,
    headers: HeaderMap,
    Form(form): Form<SignInForm>,
) -> PageResult<Response> {
    let SameSite = same_site?;
    let cookies = app.web.cookies.at(&headers);
    let given = cookie(&headers, cookies.form()).ok_or(ApiError::ForeignForm)?;
    check_form_token(given, SIGN_IN, &form.token)?;
    let now = app.clock.now();
    let guesses = &app.web.guesses;
    guesses
        .may_try(address, now)
        .map_err(|retry_secs| ApiError::TooManyGuesses { retry_secs })?;
    let Some((secret, home)) = begin(&app, form.key.trim()).await? else {
        guesses.was_wrong(address, now);
        let status = StatusCode::FORBIDDEN;
        let refusal = Some("This key was never issued, or was revoked.");
        return page(&app, &headers, Nav::new(None), form.next, status, refusal);
    };
    info!("signed in for {home}");
    let session = cookies.set(cookies.session(), secret.expose(), SESSION_SECS);
    let form_gone = cookies.set(cookies.form(), "", 0);
    let to = Redirect::to(&destination(&form.next).unwrap_or_else(|| home.to_owned()));
    let set = AppendHeaders([(SET_COOKIE, session), (SET_COOKIE, form_gone)]);
    Ok((set, to).into_response())
}

/// Ends the session.
#[utoipa::path(
    post,
    path = "/sign-out",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "signed out"),
        (status = FORBIDDEN, description = "a form from elsewhere", content_type = "text/html"),
    ),
)]
pub async fn sign_out(
    State(app): State<AppState>,
    same_site: ApiResult<SameSite>,
    session: ApiResult<MaybeSession>,
    headers: HeaderMap,
    Form(form): Form<SignOutForm>,
) -> PageResult<Response> {
    let SameSite = same_site?;
    let cookies = app.web.cookies.at(&headers);
    if let Some(session) = session?.0 {
        check_form_token(session.secret.expose(), SIGN_OUT, &form.token)?;
        app.store.end_session(&session.secret).await?;
    }
    let gone = cookies.set(cookies.session(), "", 0);
    Ok(([(SET_COOKIE, gone)], Redirect::to("/")).into_response())
}

/// The session's secret and the page for such a visitor; none if the key does not hold.
async fn begin(app: &AppState, key: &str) -> ApiResult<Option<(SessionSecret, &'static str)>> {
    let now = app.clock.now();
    let until = now + SignedDuration::from_secs(SESSION_SECS);
    let begun = if let Ok(key) = key.parse::<OperatorKey>() {
        let session = app.store.begin_operator_session(&key, until, now).await;
        session.map(|secret| (secret, "/rollouts"))
    } else if let Ok(token) = key.parse::<AccountToken>() {
        let session = app.store.begin_owner_session(&token, until, now).await;
        session.map(|secret| (secret, "/machines"))
    } else {
        return Ok(None);
    };
    match begun {
        Ok(begun) => Ok(Some(begun)),
        Err(StoreError::UnknownOperator | StoreError::UnknownToken) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where to go after signing in: one of our own pages and nowhere else.
fn destination(next: &str) -> Option<String> {
    match next {
        "/rollouts" | "/machines" => Some(next.to_owned()),
        _ => {
            let id: RolloutId = next.strip_prefix("/rollouts/")?.parse().ok()?;
            Some(format!("/rollouts/{id}"))
        }
    }
}

fn page(
    app: &AppState,
    headers: &HeaderMap,
    nav: Nav,
    next: String,
    status: StatusCode,
    refusal: Option<&'static str>,
) -> PageResult<Response> {
    let cookies = app.web.cookies.at(headers);
    // A second tab's form must not spoil the first one's.
    let known = cookie(headers, cookies.form()).filter(|value| value.len() == 64);
    let value = match known {
        Some(value) => value.to_owned(),
        None => random_value()?,
    };
    let page = SignInPage {
        nav,
        token: form_token(&value, SIGN_IN),
        next: destination(&next).unwrap_or_default(),
        refusal,
    };
    let mut response = private(status, &page)?;
    let set = cookies.set(cookies.form(), &value, FORM_SECS);
    if let Ok(set) = HeaderValue::try_from(set) {
        response.headers_mut().insert(SET_COOKIE, set);
    }
    Ok(response)
}

fn random_value() -> ApiResult<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|source| ApiError::Internal {
        doing: "make a form",
        source: source.into(),
    })?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_our_own_pages_alone() {
        let id = "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1";
        let rollout = format!("/rollouts/{id}");
        for own in ["/rollouts", "/machines", &rollout] {
            assert_eq!(destination(own).as_deref(), Some(own));
        }
        for other in [
            "",
            "/",
            "//example.org",
            "https://example.org/rollouts",
            "/rollouts/../x",
            &format!("/rollouts/{id}/halt"),
        ] {
            assert_eq!(destination(other), None, "{other}");
        }
    }
}
