//! The owner's account: tokens, sessions, and its end.

use askama::Template;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use serde::Deserialize;
use suture_protocol::MachineId;
use suture_store::{Account, Actor, IssuedToken, Plan, StoreError, Token, TokenId, TokenLabel};

use super::sign_in::signed_out;
use super::ways_in::{WaysIn, password};
use crate::html::{Nav, PageResult, private};
use crate::own_form::{OwnForm, OwnersForm};
use crate::picture::number;
use crate::problem::ApiError;
use crate::session::{MaybeSession, Session};
use crate::state::AppState;

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
    /// What the plan without a limit costs; none: it can't be bought here.
    price: Option<String>,
    /// Whether e-mails leave this service.
    mails: bool,
    forms: FormTokens,
    ways: WaysIn,
    now: Timestamp,
}

/// Hidden fields of the page's forms.
struct FormTokens {
    make: String,
    revoke: String,
    letters: String,
    end_sessions: String,
}

#[derive(Template)]
#[template(path = "delete_account.html")]
struct DeletePage {
    nav: Nav,
    email: String,
    machines: usize,
    /// Else its owner confirms by writing the address.
    has_password: bool,
    token: String,
    refusal: Option<&'static str>,
}

#[derive(Deserialize)]
pub struct MakeForm {
    #[serde(default)]
    label: String,
}

impl OwnForm for MakeForm {
    const ACTION: &'static str = "/account/tokens";
}

#[derive(Deserialize)]
pub struct RevokeForm {
    id: String,
}

impl OwnForm for RevokeForm {
    const ACTION: &'static str = "/account/tokens/revoke";
}

#[derive(Deserialize)]
pub struct LettersForm {
    /// `yes` if the box is ticked.
    #[serde(default)]
    wanted: String,
}

impl OwnForm for LettersForm {
    const ACTION: &'static str = "/account/letters";
}

#[derive(Deserialize)]
pub struct EndSessionsForm {}

impl OwnForm for EndSessionsForm {
    const ACTION: &'static str = "/account/sign-out-everywhere";
}

#[derive(Deserialize)]
pub struct DeleteForm {
    #[serde(default)]
    password: String,
    /// The account's address, where it has no password.
    #[serde(default)]
    email: String,
    /// `yes` if the box is ticked.
    #[serde(default)]
    confirmed: String,
}

impl OwnForm for DeleteForm {
    const ACTION: &'static str = "/account/delete";
}

#[derive(Deserialize)]
pub struct ReleaseForm {
    machine: MachineId,
}

impl OwnForm for ReleaseForm {
    const ACTION: &'static str = "/machines/release";
    const PAGE: &'static str = "/machines";
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
    sent: OwnersForm<MakeForm>,
) -> PageResult<Response> {
    let OwnersForm {
        session,
        account,
        form,
    } = sent;
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
    OwnersForm { account, form, .. }: OwnersForm<RevokeForm>,
) -> PageResult<Response> {
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

/// Changes whether the owner gets e-mails about machines.
#[utoipa::path(
    post,
    path = "/account/letters",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "done, or sign in first"),
        (status = FORBIDDEN, description = "not the owner, or a form from elsewhere",
            content_type = "text/html"),
    ),
)]
pub async fn letters(
    State(app): State<AppState>,
    OwnersForm { account, form, .. }: OwnersForm<LettersForm>,
) -> PageResult<Response> {
    let (wanted, by) = (form.wanted == "yes", Actor::Owner(account));
    let now = app.clock.now();
    app.store.set_letters(account, wanted, &by, now).await?;
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
    headers: HeaderMap,
    OwnersForm { account, .. }: OwnersForm<EndSessionsForm>,
) -> PageResult<Response> {
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
    headers: HeaderMap,
    sent: OwnersForm<DeleteForm>,
) -> PageResult<Response> {
    let OwnersForm {
        session,
        account,
        form,
    } = sent;
    let refuse = |refusal| delete_page(&app, &session, StatusCode::FORBIDDEN, Some(refusal));
    if form.confirmed != "yes" {
        return refuse("Tick the box to confirm.").await;
    }
    let (now, wrong) = (app.clock.now(), &app.web.wrong_passwords);
    wrong.may_try(account, now).map_err(ApiError::from)?;
    let email = app.store.account(account).await?.email;
    match password(&app, &email).await? {
        Some(hash) if !app.web.passwords.is(&form.password, Some(&hash)).await? => {
            wrong.count(account, now);
            return refuse("This is not the account's password.").await;
        }
        None if form.email.trim() != email.as_str() => {
            return refuse("This is not the account's e-mail address.").await;
        }
        Some(_) | None => {}
    }
    if let Some(billing) = &app.billing {
        // First: nobody pays for an account that is gone.
        billing.cancel(app.store.as_ref(), account).await?;
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
    OwnersForm { account, form, .. }: OwnersForm<ReleaseForm>,
) -> PageResult<Response> {
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

pub async fn page(
    app: &AppState,
    session: &Session,
    status: StatusCode,
    issued: Option<IssuedToken>,
    refusal: Option<String>,
) -> PageResult<Response> {
    let id = session.owner().ok_or(ApiError::NotTheOwner)?;
    let mut tokens = app.store.tokens(id).await?;
    tokens.retain(|token| token.revoked.is_none());
    let page = AccountPage {
        nav: Nav::new(Some(session)),
        account: app.store.account(id).await?,
        tokens,
        issued,
        refusal,
        price: app.price(),
        mails: app.web.post.is_some(),
        forms: FormTokens {
            make: MakeForm::token(session),
            revoke: RevokeForm::token(session),
            letters: LettersForm::token(session),
            end_sessions: EndSessionsForm::token(session),
        },
        ways: WaysIn::of(app, session, id).await?,
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
    let email = app.store.account(id).await?.email;
    let page = DeletePage {
        nav: Nav::new(Some(session)),
        has_password: password(app, &email).await?.is_some(),
        email: email.to_string(),
        machines: app.store.machines(id).await?.len(),
        token: DeleteForm::token(session),
        refusal,
    };
    Ok(private(status, &page)?)
}
