//! Signing in and out.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse as _, Redirect, Response};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use suture_rollout::RolloutId;
use suture_store::{AccountId, AccountToken, EmailAddress, OperatorKey, SessionSecret, StoreError};
use tracing::info;

use crate::client_address::ClientAddress;
use crate::form::{self, OpenForm};
use crate::html::{Nav, PageResult, SIGN_OUT, private};
use crate::problem::ApiResult;
use crate::session::{MaybeSession, SESSION_SECS, SameSite, check_form_token};
use crate::state::AppState;

const SIGN_IN: &str = "/sign-in";

const WRONG_KEY: &str = "This key was never issued, or was revoked.";
const WRONG_PASSWORD: &str = "There is no account with this e-mail address and password.";
const GUARDED: &str = "Too many wrong passwords were tried for this account. Have a link sent to \
    your e-mail address; it signs you in.";

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignInPage {
    nav: Nav,
    token: String,
    next: String,
    email: String,
    refusal: Option<&'static str>,
    /// The refused one was a key.
    with_key: bool,
    /// Whether people can register and choose passwords here.
    registers: bool,
    openid: Option<OpenIdForm>,
    passkey: Option<PasskeyForm>,
}

/// Leads to a provider of identities.
struct OpenIdForm {
    name: String,
    token: String,
}

/// Signs in by a passkey: the tokens of the two requests that it takes.
struct PasskeyForm {
    begin: String,
    token: String,
}

#[derive(Deserialize)]
pub struct SignInQuery {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub struct SignInForm {
    token: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    email: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub struct SignOutForm {
    token: String,
}

/// A session that was begun, and the page for such a visitor.
struct Begun {
    secret: SessionSecret,
    home: &'static str,
}

/// The forms that take a password or a key.
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
    page(&app, &headers, nav, &SignInForm::to(query.next), None)
}

/// Begins a session with an account's password or token, or an operator's key.
#[utoipa::path(
    post,
    path = "/sign-in",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "signed in"),
        (status = FORBIDDEN, description = "a wrong password or key, or a form from elsewhere",
            content_type = "text/html"),
        (status = TOO_MANY_REQUESTS, description = "too many wrong ones from this address",
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
    form::check(&app, &headers, SIGN_IN, &form.token)?;
    let now = app.clock.now();
    let guesses = &app.web.guesses;
    guesses.may_try(address, now)?;
    let begun = if form.is_by_key() {
        by_key(&app, form.key.trim(), now).await?
    } else {
        by_password(&app, &form.email, &form.password, now).await?
    };
    match begun {
        Ok(Begun { secret, home }) => {
            info!("signed in for {home}");
            let to = destination(&form.next).unwrap_or_else(|| home.to_owned());
            Ok(signed_in(&app, &headers, &secret, &to))
        }
        Err(refusal) => {
            guesses.count(address, now);
            page(&app, &headers, Nav::new(None), &form, Some(refusal))
        }
    }
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
    if let Some(session) = session?.0 {
        check_form_token(session.secret.expose(), SIGN_OUT, &form.token)?;
        app.store.end_session(&session.secret).await?;
    }
    Ok(signed_out(&app, &headers))
}

impl SignInForm {
    fn to(next: String) -> Self {
        Self {
            token: String::new(),
            key: String::new(),
            email: String::new(),
            password: String::new(),
            next,
        }
    }

    fn is_by_key(&self) -> bool {
        !self.key.is_empty()
    }
}

/// The answer that starts a session in the browser.
pub fn signed_in(
    app: &AppState,
    headers: &HeaderMap,
    secret: &SessionSecret,
    to: &str,
) -> Response {
    let set = session_cookies(app, headers, secret).map(|cookie| (SET_COOKIE, cookie));
    (AppendHeaders(set), Redirect::to(to)).into_response()
}

/// What a browser is to keep of a session that begins, and to forget for it.
pub fn session_cookies(app: &AppState, headers: &HeaderMap, secret: &SessionSecret) -> [String; 2] {
    let cookies = app.web.cookies.at(headers);
    let session = cookies.set(cookies.session(), secret.expose(), SESSION_SECS);
    [session, cookies.set(cookies.form(), "", 0)]
}

/// The answer that makes the browser forget its session.
pub fn signed_out(app: &AppState, headers: &HeaderMap) -> Response {
    let cookies = app.web.cookies.at(headers);
    let gone = cookies.set(cookies.session(), "", 0);
    ([(SET_COOKIE, gone)], Redirect::to("/")).into_response()
}

/// Begins a session of an account's owner.
pub async fn begin_for(app: &AppState, account: AccountId) -> ApiResult<SessionSecret> {
    let now = app.clock.now();
    let begun = app.store.begin_account_session(account, until(now), now);
    Ok(begun.await?)
}

/// When a session that begins now ends.
pub fn until(now: Timestamp) -> Timestamp {
    now + SignedDuration::from_secs(SESSION_SECS)
}

/// Or why not, in words for the page.
async fn by_key(
    app: &AppState,
    key: &str,
    now: Timestamp,
) -> ApiResult<Result<Begun, &'static str>> {
    let begun = if let Ok(key) = key.parse::<OperatorKey>() {
        let begun = app.store.begin_operator_session(&key, until(now), now);
        begun.await.map(|secret| Begun {
            secret,
            home: "/rollouts",
        })
    } else if let Ok(token) = key.parse::<AccountToken>() {
        let begun = app.store.begin_token_session(&token, until(now), now);
        begun.await.map(|secret| Begun {
            secret,
            home: "/machines",
        })
    } else {
        return Ok(Err(WRONG_KEY));
    };
    match begun {
        Ok(begun) => Ok(Ok(begun)),
        Err(StoreError::UnknownOperator | StoreError::UnknownToken) => Ok(Err(WRONG_KEY)),
        Err(error) => Err(error.into()),
    }
}

/// Or why not, in words for the page. They are the same for an unknown address, an account
/// without a password and a wrong password, and so is the time.
async fn by_password(
    app: &AppState,
    email: &str,
    password: &str,
    now: Timestamp,
) -> ApiResult<Result<Begun, &'static str>> {
    let known = match email.trim().parse::<EmailAddress>() {
        Ok(email) => app.store.credentials(&email).await?,
        Err(_) => None,
    };
    let wrong = &app.web.wrong_passwords;
    if let Some(known) = &known
        && wrong.may_try(known.account, now).is_err()
    {
        return Ok(Err(GUARDED));
    }
    let hash = known.as_ref().and_then(|known| known.password.as_ref());
    let is_right = app.web.passwords.is(password, hash).await?;
    match known {
        Some(known) if is_right => Ok(Ok(Begun {
            secret: begin_for(app, known.account).await?,
            home: "/account",
        })),
        Some(known) => {
            wrong.count(known.account, now);
            Ok(Err(WRONG_PASSWORD))
        }
        None => Ok(Err(WRONG_PASSWORD)),
    }
}

/// Where to go after signing in: one of our own pages and nowhere else.
pub fn destination(next: &str) -> Option<String> {
    match next {
        "/rollouts"
        | "/machines"
        | "/account"
        | "/account/subscription"
        | "/fleet"
        | "/fleet/machines"
        | "/fleet/accounts"
        | "/fleet/groups"
        | "/fleet/audit" => Some(next.to_owned()),
        _ => {
            let named = |folder: &str| next.strip_prefix(folder);
            if let Some(id) = named("/fleet/accounts/") {
                let id: AccountId = id.parse().ok()?;
                return Some(format!("/fleet/accounts/{id}"));
            }
            let id: RolloutId = named("/rollouts/")?.parse().ok()?;
            Some(format!("/rollouts/{id}"))
        }
    }
}

fn page(
    app: &AppState,
    headers: &HeaderMap,
    nav: Nav,
    sent: &SignInForm,
    refusal: Option<&'static str>,
) -> PageResult<Response> {
    let form = OpenForm::new(app, headers, SIGN_IN)?;
    let page = SignInPage {
        nav,
        token: form.token.clone(),
        next: destination(&sent.next).unwrap_or_default(),
        email: sent.email.chars().take(254).collect(),
        refusal,
        with_key: sent.is_by_key(),
        registers: app.web.post.is_some(),
        openid: app.openid.as_ref().map(|openid| OpenIdForm {
            name: openid.name().to_owned(),
            token: form.token_for(super::openid::SIGN_IN),
        }),
        passkey: app.passkeys.as_ref().map(|_| PasskeyForm {
            begin: form.token_for(super::passkeys::BEGIN_SIGN_IN),
            token: form.token_for(super::passkeys::SIGN_IN),
        }),
    };
    let status = match refusal {
        Some(_) => StatusCode::FORBIDDEN,
        None => StatusCode::OK,
    };
    Ok(form.on(private(status, &page)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signing_in_leads_to_our_own_pages_alone() {
        let id = "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1";
        let rollout = format!("/rollouts/{id}");
        let account = format!("/fleet/accounts/{id}");
        for own in [
            "/rollouts",
            "/machines",
            "/account",
            "/account/subscription",
            "/fleet",
            "/fleet/groups",
            "/fleet/machines",
            "/fleet/accounts",
            "/fleet/audit",
            &account,
            &rollout,
        ] {
            assert_eq!(destination(own).as_deref(), Some(own));
        }
        for other in [
            "",
            "/",
            "//example.org",
            "https://example.org/rollouts",
            "/rollouts/../x",
            &format!("/rollouts/{id}/halt"),
            &format!("/fleet/accounts/{id}/plan"),
            "/fleet/../x",
        ] {
            assert_eq!(destination(other), None, "{other}");
        }
    }
}
