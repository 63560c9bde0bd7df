//! Choosing a new password by a link in an e-mail.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::SignedDuration;
use serde::Deserialize;
use suture_store::{EmailAddress, LinkSecret};
use tracing::info;

use super::register::{LinkQuery, SentPage, count_mail, post, secret};
use super::sign_in::{begin_for, signed_in};
use crate::client_address::ClientAddress;
use crate::form::{self, OpenForm};
use crate::html::{Nav, PageResult, private};
use crate::password::fault;
use crate::post::{Letter, link};
use crate::problem::{ApiError, ApiResult};
use crate::session::SameSite;
use crate::state::AppState;

const RESET: &str = "/password";
const CHOOSE: &str = "/password/new";

/// How long a link lets choose a password.
const LINK_TIME: SignedDuration = SignedDuration::from_hours(1);

#[derive(Template)]
#[template(path = "reset.html")]
struct ResetPage {
    nav: Nav,
    token: String,
    refusal: Option<String>,
}

#[derive(Template)]
#[template(path = "new_password.html")]
struct NewPasswordPage {
    nav: Nav,
    token: String,
    link: String,
    email: EmailAddress,
    refusal: Option<&'static str>,
}

#[derive(Deserialize)]
pub struct ResetForm {
    token: String,
    email: String,
}

#[derive(Deserialize)]
pub struct NewPasswordForm {
    token: String,
    link: String,
    password: String,
}

/// The form that asks for a link.
#[utoipa::path(
    get,
    path = "/password",
    tag = "pages",
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = FORBIDDEN, description = "no e-mails leave here", content_type = "text/html"),
    ),
)]
pub async fn form(State(app): State<AppState>, headers: HeaderMap) -> PageResult<Response> {
    post(&app)?;
    page(&app, &headers, None)
}

/// Sends a link, if there is such an account. The answer does not tell.
#[utoipa::path(
    post,
    path = "/password",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = OK, description = "look into your mailbox", content_type = "text/html"),
        (status = FORBIDDEN, description = "a form from elsewhere", content_type = "text/html"),
        (status = UNPROCESSABLE_ENTITY, description = "no address", content_type = "text/html"),
        (status = TOO_MANY_REQUESTS, description = "too many from this address",
            content_type = "text/html"),
    ),
)]
pub async fn ask(
    State(app): State<AppState>,
    Ok(address): Result<ClientAddress, std::convert::Infallible>,
    same_site: ApiResult<SameSite>,
    headers: HeaderMap,
    Form(form): Form<ResetForm>,
) -> PageResult<Response> {
    let SameSite = same_site?;
    let post = post(&app)?;
    form::check(&app, &headers, RESET, &form.token)?;
    let email: EmailAddress = match form.email.trim().parse() {
        Ok(email) => email,
        Err(error) => return page(&app, &headers, Some(format!("{error}."))),
    };
    count_mail(&app, address)?;
    let now = app.clock.now();
    if let Some(secret) = app.store.begin_reset(&email, now + LINK_TIME, now).await? {
        let link = link(&app.public_url, CHOOSE, &secret);
        post.send(&email, &Letter::Reset { link: &link });
    }
    let sent = SentPage {
        nav: Nav::new(None),
        email,
        what: "a link to choose a new password, if there is an account for it. It holds for an hour",
    };
    Ok(private(StatusCode::OK, &sent)?)
}

/// The page that a link in an e-mail leads to. It changes nothing: mail scanners open links.
#[utoipa::path(
    get,
    path = "/password/new",
    tag = "pages",
    params(("link" = String, Query, description = "the link's secret")),
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = NOT_FOUND, description = "the link holds no more", content_type = "text/html"),
    ),
)]
pub async fn choose_form(
    State(app): State<AppState>,
    Query(query): Query<LinkQuery>,
    headers: HeaderMap,
) -> PageResult<Response> {
    choose_page(&app, &headers, &secret(&query.link)?, None).await
}

/// Sets the password, ends every session of the account, and begins a new one.
#[utoipa::path(
    post,
    path = "/password/new",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "the password is set; signed in"),
        (status = FORBIDDEN, description = "a form from elsewhere", content_type = "text/html"),
        (status = NOT_FOUND, description = "the link holds no more", content_type = "text/html"),
        (status = UNPROCESSABLE_ENTITY, description = "a weak password",
            content_type = "text/html"),
    ),
)]
pub async fn choose(
    State(app): State<AppState>,
    same_site: ApiResult<SameSite>,
    headers: HeaderMap,
    Form(form): Form<NewPasswordForm>,
) -> PageResult<Response> {
    let SameSite = same_site?;
    form::check(&app, &headers, CHOOSE, &form.token)?;
    let (link, now) = (secret(&form.link)?, app.clock.now());
    let account = app.store.reset(&link, now).await?;
    let account = account.ok_or(ApiError::NoSuchLink)?;
    if let Some(fault) = fault(&form.password, account.email.as_str()) {
        return choose_page(&app, &headers, &link, Some(fault)).await;
    }
    let password = app.web.passwords.hash(&form.password).await?;
    app.store.finish_reset(&link, &password, now).await?;
    info!(account.id = %account.id, "account {} has a new password", account.id);
    let session = begin_for(&app, account.id).await?;
    Ok(signed_in(&app, &headers, &session, "/account"))
}

fn page(app: &AppState, headers: &HeaderMap, refusal: Option<String>) -> PageResult<Response> {
    let form = OpenForm::new(app, headers, RESET)?;
    let status = match refusal {
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None => StatusCode::OK,
    };
    let page = ResetPage {
        nav: Nav::new(None),
        token: form.token.clone(),
        refusal,
    };
    Ok(form.on(private(status, &page)?))
}

async fn choose_page(
    app: &AppState,
    headers: &HeaderMap,
    link: &LinkSecret,
    refusal: Option<&'static str>,
) -> PageResult<Response> {
    let account = app.store.reset(link, app.clock.now()).await?;
    let account = account.ok_or(ApiError::NoSuchLink)?;
    let form = OpenForm::new(app, headers, CHOOSE)?;
    let page = NewPasswordPage {
        nav: Nav::new(None),
        token: form.token.clone(),
        link: link.expose().to_owned(),
        email: account.email,
        refusal,
    };
    let status = match refusal {
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None => StatusCode::OK,
    };
    Ok(form.on(private(status, &page)?))
}
