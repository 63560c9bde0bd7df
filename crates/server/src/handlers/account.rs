//! The owner's account: tokens, sessions, and its end.

use askama::Template;
use axum::Form;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use serde::Deserialize;
use suture_protocol::MachineId;
use suture_store::{
    Account, AccountId, Actor, IssuedToken, SUBSCRIPTION_DOLLARS_A_MONTH, StoreError, Token,
    TokenId, TokenLabel,
};

use super::sign_in::signed_out;
use crate::html::{Nav, PageResult, private};
use crate::picture::number;
use crate::problem::{ApiError, ApiResult};
use crate::session::{MaybeSession, SameSite, Session, check_form_token, form_token};
use crate::state::AppState;

const TOKENS: &str = "/account/tokens";
const REVOKE: &str = "/account/tokens/revoke";
const END_SESSIONS: &str = "/account/sign-out-everywhere";
const DELETE: &str = "/account/delete";
/// Where the form that releases a machine goes.
pub const RELEASE: &str = "/machines/release";

const TO_SIGN_IN: &str = "/sign-in?next=/account";

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    nav: Nav,
    account: Account,
    /// Without those that were revoked.
    tokens: Vec<Token>,
    /// Just made, and shown this once.
    issued: Option<IssuedToken>,
    refusal: Option<String>,
    price: u32,
    forms: FormTokens,
    now: Timestamp,
}

/// Hidden fields of the page's forms.
struct FormTokens {
    make: String,
    revoke: String,
    end_sessions: String,
}

#[derive(Template)]
#[template(path = "delete_account.html")]
struct DeletePage {
    nav: Nav,
    email: String,
    machines: usize,
    token: String,
    refusal: Option<&'static str>,
}

#[derive(Deserialize)]
pub struct MakeForm {
    token: String,
    #[serde(default)]
    label: String,
}

#[derive(Deserialize)]
pub struct RevokeForm {
    token: String,
    id: String,
}

#[derive(Deserialize)]
pub struct PlainForm {
    token: String,
}

#[derive(Deserialize)]
pub struct DeleteForm {
    token: String,
    password: String,
    /// `yes` if the box is ticked.
    #[serde(default)]
    confirmed: String,
}

#[derive(Deserialize)]
pub struct ReleaseForm {
    token: String,
    machine: MachineId,
}

/// The account's page.
#[utoipa::path(
    get,
    path = "/account",
    tag = "pages",
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not the owner", content_type = "text/html"),
    ),
)]
pub async fn show(
    State(app): State<AppState>,
    MaybeSession(session): MaybeSession,
) -> PageResult<Response> {
    let Some(session) = session else {
        return Ok(Redirect::to(TO_SIGN_IN).into_response());
    };
    page(&app, &session, StatusCode::OK, None, None).await
}

/// Makes a token and shows it, this once.
#[utoipa::path(
    post,
    path = "/account/tokens",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = OK, description = "the page with the new token", content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not the owner, or a form from elsewhere",
            content_type = "text/html"),
        (status = UNPROCESSABLE_ENTITY, description = "a label that can't be taken",
            content_type = "text/html"),
    ),
)]
pub async fn make_token(
    State(app): State<AppState>,
    same_site: ApiResult<SameSite>,
    session: ApiResult<MaybeSession>,
    Form(form): Form<MakeForm>,
) -> PageResult<Response> {
    let Some((session, account)) = owner(same_site, session, TOKENS, &form.token)? else {
        return Ok(Redirect::to(TO_SIGN_IN).into_response());
    };
    let now = app.clock.now();
    let label = match form.label.trim() {
        "" => format!("made {}", now.strftime("%Y-%m-%d")),
        label => label.to_owned(),
    };
    let label: TokenLabel = match label.parse() {
        Ok(label) => label,
        Err(error) => {
            let (status, refusal) = (StatusCode::UNPROCESSABLE_ENTITY, format!("{error}."));
            return page(&app, &session, status, None, Some(refusal)).await;
        }
    };
    let by = Actor::Owner(account);
    let issued = app.store.create_token(account, &label, &by, now).await?;
    page(&app, &session, StatusCode::OK, Some(issued), None).await
}

/// Revokes a token. Machines that enrolled with it stay enrolled.
#[utoipa::path(
    post,
    path = "/account/tokens/revoke",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "done, or sign in first"),
        (status = FORBIDDEN, description = "not the owner, or a form from elsewhere",
            content_type = "text/html"),
    ),
)]
pub async fn revoke_token(
    State(app): State<AppState>,
    same_site: ApiResult<SameSite>,
    session: ApiResult<MaybeSession>,
    Form(form): Form<RevokeForm>,
) -> PageResult<Response> {
    let Some((_, account)) = owner(same_site, session, REVOKE, &form.token)? else {
        return Ok(Redirect::to(TO_SIGN_IN).into_response());
    };
    let tokens = app.store.tokens(account).await?;
    let id: Option<TokenId> = form.id.parse().ok();
    // Another account's token is no token here.
    if let Some(token) = tokens.iter().find(|token| Some(token.id) == id) {
        let by = Actor::Owner(account);
        app.store
            .revoke_token(token.id, &by, app.clock.now())
            .await?;
    }
    Ok(Redirect::to("/account").into_response())
}

/// Ends every session of the account, this one included.
#[utoipa::path(
    post,
    path = "/account/sign-out-everywhere",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "signed out, or sign in first"),
        (status = FORBIDDEN, description = "not the owner, or a form from elsewhere",
            content_type = "text/html"),
    ),
)]
pub async fn sign_out_everywhere(
    State(app): State<AppState>,
    same_site: ApiResult<SameSite>,
    session: ApiResult<MaybeSession>,
    headers: HeaderMap,
    Form(form): Form<PlainForm>,
) -> PageResult<Response> {
    let Some((_, account)) = owner(same_site, session, END_SESSIONS, &form.token)? else {
        return Ok(Redirect::to(TO_SIGN_IN).into_response());
    };
    app.store.end_sessions(account, app.clock.now()).await?;
    Ok(signed_out(&app, &headers))
}

/// Asks before an account is deleted.
#[utoipa::path(
    get,
    path = "/account/delete",
    tag = "pages",
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not the owner", content_type = "text/html"),
    ),
)]
pub async fn ask_delete(
    State(app): State<AppState>,
    MaybeSession(session): MaybeSession,
) -> PageResult<Response> {
    let Some(session) = session else {
        return Ok(Redirect::to(TO_SIGN_IN).into_response());
    };
    delete_page(&app, &session, StatusCode::OK, None).await
}

/// Deletes the account with all that it has.
#[utoipa::path(
    post,
    path = "/account/delete",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "deleted, or sign in first"),
        (status = FORBIDDEN, description = "a wrong password, not the owner, or a form from \
            elsewhere", content_type = "text/html"),
    ),
)]
pub async fn delete(
    State(app): State<AppState>,
    same_site: ApiResult<SameSite>,
    session: ApiResult<MaybeSession>,
    headers: HeaderMap,
    Form(form): Form<DeleteForm>,
) -> PageResult<Response> {
    let Some((session, account)) = owner(same_site, session, DELETE, &form.token)? else {
        return Ok(Redirect::to(TO_SIGN_IN).into_response());
    };
    let refuse = |refusal| delete_page(&app, &session, StatusCode::FORBIDDEN, Some(refusal));
    if form.confirmed != "yes" {
        return refuse("Tick the box to confirm.").await;
    }
    let (now, wrong) = (app.clock.now(), &app.web.wrong_passwords);
    if let Err(retry_secs) = wrong.may_try(account, now) {
        return Err(ApiError::TooManyGuesses { retry_secs }.into());
    }
    let email = app.store.account(account).await?.email;
    let known = app.store.credentials(&email).await?;
    let hash = known.and_then(|known| known.password);
    if !app.web.passwords.is(&form.password, hash.as_ref()).await? {
        wrong.count(account, now);
        return refuse("This is not the account's password.").await;
    }
    app.store.delete_account(account, now).await?;
    Ok(signed_out(&app, &headers))
}

/// Releases a machine that can't do so itself any more.
#[utoipa::path(
    post,
    path = "/machines/release",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "released, or sign in first"),
        (status = FORBIDDEN, description = "not the owner, or a form from elsewhere",
            content_type = "text/html"),
    ),
)]
pub async fn release_machine(
    State(app): State<AppState>,
    same_site: ApiResult<SameSite>,
    session: ApiResult<MaybeSession>,
    Form(form): Form<ReleaseForm>,
) -> PageResult<Response> {
    let Some((_, account)) = owner(same_site, session, RELEASE, &form.token)? else {
        return Ok(Redirect::to("/sign-in?next=/machines").into_response());
    };
    let by = Actor::Owner(account);
    let released = app
        .store
        .release_machine(account, &form.machine, &by, app.clock.now())
        .await;
    match released {
        // Two tabs released it.
        Ok(_) | Err(StoreError::UnknownMachineId { .. }) => {
            Ok(Redirect::to("/machines").into_response())
        }
        Err(error) => Err(ApiError::from(error).into()),
    }
}

/// Who sent one of our own forms; none if nobody is signed in.
pub fn owner(
    same_site: ApiResult<SameSite>,
    session: ApiResult<MaybeSession>,
    action: &str,
    token: &str,
) -> ApiResult<Option<(Session, AccountId)>> {
    let SameSite = same_site?;
    let Some(session) = session?.0 else {
        return Ok(None);
    };
    check_form_token(session.secret.expose(), action, token)?;
    let account = session.owner().ok_or(ApiError::NotTheOwner)?;
    Ok(Some((session, account)))
}

async fn page(
    app: &AppState,
    session: &Session,
    status: StatusCode,
    issued: Option<IssuedToken>,
    refusal: Option<String>,
) -> PageResult<Response> {
    let id = session.owner().ok_or(ApiError::NotTheOwner)?;
    let mut tokens = app.store.tokens(id).await?;
    tokens.retain(|token| token.revoked.is_none());
    let token = |action| form_token(session.secret.expose(), action);
    let page = AccountPage {
        nav: Nav::new(Some(session)),
        account: app.store.account(id).await?,
        tokens,
        issued,
        refusal,
        price: SUBSCRIPTION_DOLLARS_A_MONTH,
        forms: FormTokens {
            make: token(TOKENS),
            revoke: token(REVOKE),
            end_sessions: token(END_SESSIONS),
        },
        now: app.clock.now(),
    };
    Ok(private(status, &page)?)
}

async fn delete_page(
    app: &AppState,
    session: &Session,
    status: StatusCode,
    refusal: Option<&'static str>,
) -> PageResult<Response> {
    let id = session.owner().ok_or(ApiError::NotTheOwner)?;
    let page = DeletePage {
        nav: Nav::new(Some(session)),
        email: app.store.account(id).await?.email.to_string(),
        machines: app.store.machines(id).await?.len(),
        token: form_token(session.secret.expose(), DELETE),
        refusal,
    };
    Ok(private(status, &page)?)
}
