//! Signing in at a provider of identities, and binding an identity to an account.

use axum::Form;
use axum::extract::{Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use jiff::SignedDuration;
use serde::Deserialize;
use suture_store::{
    AccountId, CeremonyKind, CeremonySecret, NewCeremony, SessionSecret, StoreError,
};
use tracing::info;

use super::sign_in::{destination, session_cookies, until};
use super::ways_in::tell;
use crate::client_address::ClientAddress;
use crate::form;
use crate::html::PageResult;
use crate::onward::{onward, onward_here};
use crate::openid::{OpenId, Person, words};
use crate::own_form::{OwnForm, OwnersForm};
use crate::problem::{ApiError, ApiResult};
use crate::session::{SameSite, Session, cookie};
use crate::state::AppState;

pub const SIGN_IN: &str = "/sign-in/openid";

/// How long somebody may take to say who they are.
const CEREMONY_TIME: SignedDuration = SignedDuration::from_mins(10);

/// Longest code and state that are looked at, in bytes.
const MAX_PARAMETER: usize = 4096;

#[derive(Deserialize)]
pub struct SignInForm {
    token: String,
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
pub struct AddIdentityForm {}

impl OwnForm for AddIdentityForm {
    const ACTION: &'static str = "/account/identities";
    const FRESH: bool = true;
}

/// What a provider sends people back with (source: RFC 6749, 4.1.2, and RFC 9207).
#[derive(Deserialize)]
pub struct Answer {
    #[serde(default)]
    state: String,
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_description: String,
    #[serde(default)]
    iss: Option<String>,
}

/// Leads to the provider.
#[utoipa::path(
    post,
    path = "/sign-in/openid",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = OK, description = "a page that leads to the provider",
            content_type = "text/html"),
        (status = FORBIDDEN, description = "a form from elsewhere", content_type = "text/html"),
        (status = NOT_FOUND, description = "nobody signs in at another place",
            content_type = "text/html"),
        (status = TOO_MANY_REQUESTS, description = "too many from this address",
            content_type = "text/html"),
        (status = SERVICE_UNAVAILABLE, description = "the provider does not answer",
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
    count_ceremony(&app, address)?;
    let to = destination(&form.next).unwrap_or_default();
    Ok(leave(&app, &headers, None, &to).await?)
}

/// Leads to the provider, for the account's owner to bind an identity.
#[utoipa::path(
    post,
    path = "/account/identities",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = OK, description = "a page that leads to the provider",
            content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not the owner, or a form from elsewhere",
            content_type = "text/html"),
        (status = NOT_FOUND, description = "nobody signs in at another place",
            content_type = "text/html"),
        (status = TOO_MANY_REQUESTS, description = "too many from this address",
            content_type = "text/html"),
        (status = SERVICE_UNAVAILABLE, description = "the provider does not answer",
            content_type = "text/html"),
    ),
)]
pub async fn add(
    State(app): State<AppState>,
    Ok(address): Result<ClientAddress, std::convert::Infallible>,
    headers: HeaderMap,
    sent: OwnersForm<AddIdentityForm>,
) -> PageResult<Response> {
    count_ceremony(&app, address)?;
    Ok(leave(&app, &headers, Some(&sent.session), "").await?)
}

/// Where the provider sends people back to.
#[utoipa::path(
    get,
    path = "/sign-in/openid/back",
    tag = "pages",
    params(
        ("state" = Option<String>, Query, description = "what this service gave the provider"),
        ("code" = Option<String>, Query, description = "what the provider tells more for"),
        ("error" = Option<String>, Query, description = "why there is no code"),
    ),
    responses(
        (status = OK, description = "a page that leads on, signed in", content_type = "text/html"),
        (status = FORBIDDEN, description = "not begun in this browser, or nobody is signed in by \
            what the provider says", content_type = "text/html"),
        (status = NOT_FOUND, description = "nobody signs in at another place",
            content_type = "text/html"),
        (status = CONFLICT, description = "another account has this identity",
            content_type = "text/html"),
        (status = SERVICE_UNAVAILABLE, description = "the provider does not answer",
            content_type = "text/html"),
    ),
)]
pub async fn come_back(
    State(app): State<AppState>,
    headers: HeaderMap,
    Query(answer): Query<Answer>,
) -> PageResult<Response> {
    let (openid, now) = (provider(&app)?, app.clock.now());
    let secret = begun_here(&app, openid, &headers, &answer).ok_or(ApiError::NotBegunHere)?;
    let kind = CeremonyKind::OpenId;
    let ceremony = app.store.finish_ceremony(&secret, kind, now).await?;
    let ceremony = ceremony.ok_or(ApiError::NotBegunHere)?;
    let code = code(openid, answer)?;
    let person = openid.person(&secret, code, now).await?;
    let (to, mut cookies) = match ceremony.owner {
        Some(owner) => {
            bind(&app, owner, &person).await?;
            (None, Vec::new())
        }
        None => {
            let session = session_of(&app, openid, &person).await?;
            info!("signed in by OpenID Connect");
            let cookies = session_cookies(&app, &headers, &session);
            (destination(&ceremony.destination), cookies.to_vec())
        }
    };
    cookies.push(ceremony_gone(&app, &headers));
    let mut page = onward_here(&app, to.as_deref().unwrap_or("/account"))?;
    set(&mut page, cookies);
    Ok(page)
}

/// Counts what an address begins, and refuses too many.
pub fn count_ceremony(app: &AppState, address: ClientAddress) -> ApiResult<()> {
    Ok(app.web.ceremonies.take(address, app.clock.now())?)
}

fn provider(app: &AppState) -> ApiResult<&OpenId> {
    app.openid.as_deref().ok_or(ApiError::NoProvider)
}

/// Begins a ceremony and leads to the provider.
async fn leave(
    app: &AppState,
    headers: &HeaderMap,
    session: Option<&Session>,
    destination: &str,
) -> ApiResult<Response> {
    let (openid, now) = (provider(app)?, app.clock.now());
    let new = NewCeremony {
        kind: CeremonyKind::OpenId,
        session: session.map(|session| &session.secret),
        destination,
    };
    let begun = app.store.begin_ceremony(new, now + CEREMONY_TIME, now);
    let secret = begun.await?;
    let to = openid.page(&secret, now).await?;
    let mut page = onward(session, to)?;
    let cookies = app.web.cookies.at(headers);
    let seconds = CEREMONY_TIME.as_secs();
    let cookie = cookies.set_for_return(cookies.ceremony(), secret.expose(), seconds);
    set(&mut page, [cookie]);
    Ok(page)
}

/// The secret of what this browser began, if the answer is to that.
fn begun_here(
    app: &AppState,
    openid: &OpenId,
    headers: &HeaderMap,
    answer: &Answer,
) -> Option<CeremonySecret> {
    let name = app.web.cookies.at(headers).ceremony();
    let secret = cookie(headers, name)?.parse().ok()?;
    openid
        .is_answer_to(&secret, &answer.state)
        .then_some(secret)
}

/// The code in an answer, or why there is none.
fn code(openid: &OpenId, answer: Answer) -> ApiResult<String> {
    let refused = |reason: String| ApiError::NotSignedIn { reason };
    let name = openid.name();
    if !openid.is_from(answer.iss.as_deref()) {
        return Err(refused(format!("this answer is not {name}'s; begin again")));
    }
    if let Some(error) = answer.error {
        let words = words(&error, &answer.error_description);
        return Err(refused(format!(
            "{name} did not sign you in and says {words}"
        )));
    }
    let code = answer.code.filter(|code| code.len() <= MAX_PARAMETER);
    code.ok_or_else(|| refused(format!("{name} sent no code; begin again")))
}

/// Binds the identity to the account of who went to the provider.
async fn bind(app: &AppState, owner: AccountId, person: &Person) -> ApiResult<()> {
    let now = app.clock.now();
    let bound = app.store.add_identity(owner, &person.identity, now).await?;
    let what = format!("{} can sign in to your account from now on", bound.name);
    tell(app, owner, &what).await
}

/// A session of the account that the identity is bound to, or of a new one.
///
/// An address binds nothing: an account that has it may be another person's, who is to say so by
/// signing in.
async fn session_of(app: &AppState, openid: &OpenId, person: &Person) -> ApiResult<SessionSecret> {
    let (now, provider) = (app.clock.now(), &person.identity.provider);
    let begin = || app.store.begin_identity_session(provider, until(now), now);
    if let Some(session) = begin().await? {
        return Ok(session);
    }
    let name = openid.name();
    let refused = |reason: String| ApiError::NotSignedIn { reason };
    let Some(email) = &person.email else {
        return Err(refused(format!(
            "{name} does not say that it verified your e-mail address, so it can't make an \
             account here. If you have one, sign in to it and add {name} on its page"
        )));
    };
    if !openid.admits(email) {
        return Err(refused(format!(
            "{name} signed you in as {email}, and new accounts are for other addresses here. Ask \
             this service's operator"
        )));
    }
    let made = app.store.register_identity(email, &person.identity, now);
    match made.await {
        Ok(account) => {
            info!(account.id = %account.id, "account {} registered", account.id);
            begin().await?.ok_or(ApiError::NotBegunHere)
        }
        // The same person may have come twice at the same moment.
        Err(StoreError::EmailTaken { .. }) => begin().await?.ok_or_else(|| {
            refused(format!(
                "there is an account for {email} already. Sign in to it, and add {name} on its \
                 page; if it has no password yet, have a link sent to choose one"
            ))
        }),
        Err(error) => Err(error.into()),
    }
}

fn ceremony_gone(app: &AppState, headers: &HeaderMap) -> String {
    let cookies = app.web.cookies.at(headers);
    cookies.set_for_return(cookies.ceremony(), "", 0)
}

fn set(page: &mut Response, cookies: impl IntoIterator<Item = String>) {
    let values = cookies.into_iter().map(HeaderValue::try_from);
    for value in values.flatten() {
        page.headers_mut().append(SET_COOKIE, value);
    }
}
