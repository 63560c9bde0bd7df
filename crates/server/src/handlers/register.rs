//! Registering: an application, and the link in an e-mail that confirms it.

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::SignedDuration;
use serde::Deserialize;
use suture_store::{Application, EmailAddress, LinkSecret};
use tracing::info;

use super::sign_in::{begin_for, signed_in};
use crate::client_address::ClientAddress;
use crate::form::{self, OpenForm};
use crate::html::{Nav, PageResult, private};
use crate::password::fault;
use crate::post::{Letter, Post, link};
use crate::problem::{ApiError, ApiResult};
use crate::session::SameSite;
use crate::state::AppState;

const REGISTER: &str = "/register";
const CONFIRM: &str = "/register/confirm";

/// How long a link confirms an application.
const LINK_TIME: SignedDuration = SignedDuration::from_hours(24);

#[derive(Template)]
#[template(path = "register.html")]
struct RegisterPage {
    nav: Nav,
    token: String,
    email: String,
    refusal: Option<String>,
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    nav: Nav,
    token: String,
    link: String,
    email: EmailAddress,
    refusal: Option<&'static str>,
}

/// What a page says after an e-mail was sent, or was not: the same.
#[derive(Template)]
#[template(path = "sent.html")]
pub struct SentPage {
    pub nav: Nav,
    pub email: EmailAddress,
    /// What comes, e.g. `a link to confirm it`.
    pub what: &'static str,
}

#[derive(Deserialize)]
pub struct RegisterForm {
    token: String,
    email: String,
    password: String,
}

#[derive(Deserialize)]
pub struct LinkQuery {
    #[serde(default)]
    pub link: String,
}

#[derive(Deserialize)]
pub struct ConfirmForm {
    token: String,
    link: String,
    password: String,
}

/// The post office of a service where people can register.
pub fn post(app: &AppState) -> ApiResult<&Post> {
    app.web.post.as_ref().ok_or(ApiError::NoRegistration)
}

/// A link's secret; what is none was never sent.
pub fn secret(text: &str) -> ApiResult<LinkSecret> {
    text.parse().map_err(|_| ApiError::NoSuchLink)
}

/// Counts an e-mail that an address causes, and refuses too many.
pub fn count_mail(app: &AppState, address: ClientAddress) -> ApiResult<()> {
    Ok(app.web.mails.take(address, app.clock.now())?)
}

/// The form for a new account.
#[utoipa::path(
    get,
    path = "/register",
    tag = "pages",
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = FORBIDDEN, description = "nobody can register here", content_type = "text/html"),
    ),
)]
pub async fn form(State(app): State<AppState>, headers: HeaderMap) -> PageResult<Response> {
    post(&app)?;
    page(&app, &headers, String::new(), None)
}

/// Takes an application and sends a link to its address. The answer is the same whether or not
/// there is an account for the address; its owner learns it by e-mail.
#[utoipa::path(
    post,
    path = "/register",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = OK, description = "look into your mailbox", content_type = "text/html"),
        (status = FORBIDDEN, description = "a form from elsewhere", content_type = "text/html"),
        (status = UNPROCESSABLE_ENTITY, description = "no address, or a weak password",
            content_type = "text/html"),
        (status = TOO_MANY_REQUESTS, description = "too many from this address",
            content_type = "text/html"),
    ),
)]
pub async fn register(
    State(app): State<AppState>,
    Ok(address): Result<ClientAddress, std::convert::Infallible>,
    same_site: ApiResult<SameSite>,
    headers: HeaderMap,
    Form(form): Form<RegisterForm>,
) -> PageResult<Response> {
    let SameSite = same_site?;
    let post = post(&app)?;
    form::check(&app, &headers, REGISTER, &form.token)?;
    let email: EmailAddress = match form.email.trim().parse() {
        Ok(email) => email,
        Err(error) => return page(&app, &headers, form.email, Some(format!("{error}."))),
    };
    if let Some(fault) = fault(&form.password, email.as_str()) {
        return page(&app, &headers, form.email, Some(fault.to_owned()));
    }
    count_mail(&app, address)?;
    let password = app.web.passwords.hash(&form.password).await?;
    let now = app.clock.now();
    let known = app.store.credentials(&email).await?.is_some();
    if known {
        let sign_in = format!("{}/sign-in", app.public_url);
        post.send(&email, &Letter::Known { sign_in: &sign_in });
    } else {
        let application = Application {
            email: email.clone(),
            password,
        };
        let made = app
            .store
            .apply_for_account(&application, now + LINK_TIME, now);
        if let Some(secret) = made.await? {
            let link = link(&app.public_url, CONFIRM, &secret);
            post.send(&email, &Letter::Confirm { link: &link });
        }
    }
    let sent = SentPage {
        nav: Nav::new(None),
        email,
        what: "a link to confirm that the address is yours. It holds for a day",
    };
    Ok(private(StatusCode::OK, &sent)?)
}

/// The page that a link in an e-mail leads to. It changes nothing: mail scanners open links.
#[utoipa::path(
    get,
    path = "/register/confirm",
    tag = "pages",
    params(("link" = String, Query, description = "the link's secret")),
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = NOT_FOUND, description = "the link holds no more", content_type = "text/html"),
    ),
)]
pub async fn confirm_form(
    State(app): State<AppState>,
    Query(query): Query<LinkQuery>,
    headers: HeaderMap,
) -> PageResult<Response> {
    confirm_page(&app, &headers, &secret(&query.link)?, None).await
}

/// Makes the account, if the password is that of the application: the link alone shows who reads
/// the mail and not who registered.
#[utoipa::path(
    post,
    path = "/register/confirm",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "the account is there; signed in"),
        (status = FORBIDDEN, description = "another password, or a form from elsewhere",
            content_type = "text/html"),
        (status = NOT_FOUND, description = "the link holds no more", content_type = "text/html"),
        (status = TOO_MANY_REQUESTS, description = "too many wrong ones from this address",
            content_type = "text/html"),
    ),
)]
pub async fn confirm(
    State(app): State<AppState>,
    Ok(address): Result<ClientAddress, std::convert::Infallible>,
    same_site: ApiResult<SameSite>,
    headers: HeaderMap,
    Form(form): Form<ConfirmForm>,
) -> PageResult<Response> {
    let SameSite = same_site?;
    form::check(&app, &headers, CONFIRM, &form.token)?;
    let (link, now, guesses) = (secret(&form.link)?, app.clock.now(), &app.web.guesses);
    guesses.may_try(address, now)?;
    let application = app.store.application(&link, now).await?;
    let application = application.ok_or(ApiError::NoSuchLink)?;
    let hash = Some(&application.password);
    if !app.web.passwords.is(&form.password, hash).await? {
        guesses.count(address, now);
        let refusal = "This is not the password that was chosen with this link.";
        return confirm_page(&app, &headers, &link, Some(refusal)).await;
    }
    let account = app.store.confirm_application(&link, now).await?;
    info!(account.id = %account.id, "account {} registered", account.id);
    let session = begin_for(&app, account.id).await?;
    Ok(signed_in(&app, &headers, &session, "/account"))
}

fn page(
    app: &AppState,
    headers: &HeaderMap,
    email: String,
    refusal: Option<String>,
) -> PageResult<Response> {
    let form = OpenForm::new(app, headers, REGISTER)?;
    let status = match refusal {
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None => StatusCode::OK,
    };
    let page = RegisterPage {
        nav: Nav::new(None),
        token: form.token.clone(),
        email: email.chars().take(254).collect(),
        refusal,
    };
    Ok(form.on(private(status, &page)?))
}

async fn confirm_page(
    app: &AppState,
    headers: &HeaderMap,
    link: &LinkSecret,
    refusal: Option<&'static str>,
) -> PageResult<Response> {
    let application = app.store.application(link, app.clock.now()).await?;
    let application = application.ok_or(ApiError::NoSuchLink)?;
    let form = OpenForm::new(app, headers, CONFIRM)?;
    let page = ConfirmPage {
        nav: Nav::new(None),
        token: form.token.clone(),
        link: link.expose().to_owned(),
        email: application.email,
        refusal,
    };
    let status = match refusal {
        Some(_) => StatusCode::FORBIDDEN,
        None => StatusCode::OK,
    };
    Ok(form.on(private(status, &page)?))
}
