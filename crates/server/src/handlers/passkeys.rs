//! Signing in by a passkey, and adding and removing passkeys.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Form, Json};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use suture_protocol::Problem;
use suture_store::{
    Ceremony, CeremonyKind, CeremonySecret, NewCeremony, PasskeyAlgorithm, PasskeyId, PasskeyLabel,
    SessionSecret,
};
use tracing::{info, warn};

use super::openid::count_ceremony;
use super::sign_in::{destination, signed_in, until};
use super::ways_in::after;
use crate::client_address::ClientAddress;
use crate::form;
use crate::html::PageResult;
use crate::own_form::{OwnForm, OwnersForm};
use crate::problem::{ApiError, ApiResult};
use crate::session::SameSite;
use crate::state::AppState;
use crate::webauthn::{Assertion, InvalidPasskey, Registration, RelyingParty, text, user_handle};

pub const SIGN_IN: &str = "/sign-in/passkey";
pub const BEGIN_SIGN_IN: &str = "/sign-in/passkey/begin";

/// How long somebody may take to be recognised.
const CEREMONY_TIME: SignedDuration = SignedDuration::from_mins(5);

/// What scripts get is for one use.
const PRIVATE: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "private, no-store")];

#[derive(Deserialize)]
pub struct BeginForm {
    token: String,
}

#[derive(Deserialize)]
pub struct SignInForm {
    token: String,
    #[serde(default)]
    next: String,
    #[serde(flatten)]
    assertion: Assertion,
}

#[derive(Deserialize)]
pub struct BeginAddingForm {}

impl OwnForm for BeginAddingForm {
    const ACTION: &'static str = "/account/passkeys/begin";
    const FRESH: bool = true;
}

#[derive(Deserialize)]
pub struct AddForm {
    label: String,
    client_data: String,
    authenticator_data: String,
    credential: String,
    algorithm: String,
    public_key: String,
}

impl OwnForm for AddForm {
    const ACTION: &'static str = "/account/passkeys";
    const FRESH: bool = true;
}

#[derive(Deserialize)]
pub struct RemoveForm {
    id: String,
}

impl OwnForm for RemoveForm {
    const ACTION: &'static str = "/account/passkeys/remove";
}

/// What a browser asks authenticators for. Bytes are base64url.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PasskeyRequest {
    challenge: String,
    /// The name that passkeys are made for.
    rp_id: String,
    /// Milliseconds until it is over.
    timeout_ms: i64,
}

/// What a browser asks an authenticator to make. Bytes are base64url.
#[derive(Serialize, utoipa::ToSchema)]
pub struct PasskeyWish {
    #[serde(flatten)]
    request: PasskeyRequest,
    user_id: String,
    user_name: String,
    /// How it may sign, as COSE numbers it, the preferred one first.
    algorithms: Vec<i32>,
    /// Those that the account has: an authenticator that holds one makes no other.
    exclude: Vec<String>,
}

/// The script that makes passkeys and signs in by them.
#[utoipa::path(
    get,
    path = "/passkey.js",
    tag = "pages",
    responses((status = OK, description = "the script", content_type = "text/javascript")),
)]
pub async fn script() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, include_str!("../../templates/passkey.js"))
}

/// Begins signing in by a passkey.
#[utoipa::path(
    post,
    path = "/sign-in/passkey/begin",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = OK, description = "what to ask authenticators for", body = PasskeyRequest),
        (status = FORBIDDEN, description = "a form from elsewhere", body = Problem,
            content_type = "application/problem+json"),
        (status = NOT_FOUND, description = "browsers offer no passkeys here", body = Problem,
            content_type = "application/problem+json"),
        (status = TOO_MANY_REQUESTS, description = "too many from this address", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn begin_sign_in(
    State(app): State<AppState>,
    Ok(address): Result<ClientAddress, std::convert::Infallible>,
    same_site: ApiResult<SameSite>,
    headers: HeaderMap,
    Form(form): Form<BeginForm>,
) -> ApiResult<impl IntoResponse> {
    let SameSite = same_site?;
    form::check(&app, &headers, BEGIN_SIGN_IN, &form.token)?;
    count_ceremony(&app, address)?;
    Ok((PRIVATE, Json(begin(&app, None).await?)))
}

/// Signs in by a passkey.
#[utoipa::path(
    post,
    path = "/sign-in/passkey",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "signed in"),
        (status = FORBIDDEN, description = "not a passkey of an account, or a form from \
            elsewhere", content_type = "text/html"),
        (status = NOT_FOUND, description = "browsers offer no passkeys here",
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
    let (now, guesses) = (app.clock.now(), &app.web.guesses);
    guesses.may_try(address, now)?;
    let session = session_of(&app, form.assertion).await;
    if matches!(&session, Err(ApiError::NotSignedIn { .. })) {
        guesses.count(address, now);
    }
    let session = session?;
    info!("signed in by a passkey");
    let to = destination(&form.next).unwrap_or_else(|| "/account".to_owned());
    Ok(signed_in(&app, &headers, &session, &to))
}

/// Begins adding a passkey.
#[utoipa::path(
    post,
    path = "/account/passkeys/begin",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = OK, description = "what to ask an authenticator to make", body = PasskeyWish),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not the owner, or a form from elsewhere",
            content_type = "text/html"),
        (status = NOT_FOUND, description = "browsers offer no passkeys here", body = Problem,
            content_type = "application/problem+json"),
        (status = TOO_MANY_REQUESTS, description = "too many from this address", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn begin_adding(
    State(app): State<AppState>,
    Ok(address): Result<ClientAddress, std::convert::Infallible>,
    sent: OwnersForm<BeginAddingForm>,
) -> ApiResult<impl IntoResponse> {
    count_ceremony(&app, address)?;
    let account = app.store.account(sent.account).await?;
    let known = app.store.passkeys(account.id).await?;
    let wish = PasskeyWish {
        request: begin(&app, Some(&sent.session.secret)).await?,
        user_id: text(&user_handle(account.id)),
        user_name: account.email.to_string(),
        algorithms: PasskeyAlgorithm::ALL.map(PasskeyAlgorithm::number).to_vec(),
        exclude: known
            .iter()
            .map(|passkey| text(passkey.key.credential.as_bytes()))
            .collect(),
    };
    Ok((PRIVATE, Json(wish)))
}

/// Adds a passkey.
#[utoipa::path(
    post,
    path = "/account/passkeys",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "done, or sign in first"),
        (status = FORBIDDEN, description = "not the owner, a form from elsewhere, or nothing that \
            was begun on the page", content_type = "text/html"),
        (status = CONFLICT, description = "known already, or one too many",
            content_type = "text/html"),
        (status = UNPROCESSABLE_ENTITY, description = "a name that can't be taken",
            content_type = "text/html"),
    ),
)]
pub async fn add(State(app): State<AppState>, sent: OwnersForm<AddForm>) -> PageResult<Response> {
    let (party, now) = (party(&app)?, app.clock.now());
    let (label, made) = sent.form.read()?;
    let secret = party.made(&made)?;
    if finish(&app, &secret).await?.owner != Some(sent.account) {
        return Err(ApiError::NotBegunHere.into());
    }
    let key = party.passkey(made, label)?;
    let added = app.store.add_passkey(sent.account, &key, now).await;
    let what = format!(
        "The passkey `{}` signs in to your account from now on",
        key.label
    );
    after(&app, &sent.session, sent.account, added.map(drop), &what).await
}

/// Removes a passkey, unless it is the last way in.
#[utoipa::path(
    post,
    path = "/account/passkeys/remove",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "done, or sign in first"),
        (status = FORBIDDEN, description = "not the owner, or a form from elsewhere",
            content_type = "text/html"),
        (status = CONFLICT, description = "it is the last way to sign in",
            content_type = "text/html"),
    ),
)]
pub async fn remove(
    State(app): State<AppState>,
    sent: OwnersForm<RemoveForm>,
) -> PageResult<Response> {
    let Ok(id) = sent.form.id.parse::<PasskeyId>() else {
        return Ok(Redirect::to("/account").into_response());
    };
    let now = app.clock.now();
    let removed = app.store.remove_passkey(sent.account, id, now).await;
    let what = "A passkey of your account was removed";
    after(&app, &sent.session, sent.account, removed, what).await
}

impl AddForm {
    fn read(self) -> ApiResult<(PasskeyLabel, Registration)> {
        let label = self.label.trim().parse::<PasskeyLabel>()?;
        let algorithm = self
            .algorithm
            .parse()
            .map_err(|_| InvalidPasskey::UNREADABLE)?;
        let made = Registration {
            client_data: self.client_data.try_into()?,
            authenticator_data: self.authenticator_data.try_into()?,
            credential: self.credential.try_into()?,
            algorithm,
            public_key: self.public_key.try_into()?,
        };
        Ok((label, made))
    }
}

fn party(app: &AppState) -> ApiResult<&RelyingParty> {
    app.passkeys.as_deref().ok_or(ApiError::NoPasskeys)
}

async fn begin(app: &AppState, session: Option<&SessionSecret>) -> ApiResult<PasskeyRequest> {
    let (party, now) = (party(app)?, app.clock.now());
    let new = NewCeremony {
        kind: CeremonyKind::Passkey,
        session,
        destination: "",
    };
    let begun = app.store.begin_ceremony(new, now + CEREMONY_TIME, now);
    Ok(PasskeyRequest {
        challenge: text(begun.await?.expose().as_bytes()),
        rp_id: party.id().to_owned(),
        timeout_ms: CEREMONY_TIME.as_secs() * 1000,
    })
}

async fn finish(app: &AppState, secret: &CeremonySecret) -> ApiResult<Ceremony> {
    let (kind, now) = (CeremonyKind::Passkey, app.clock.now());
    let ceremony = app.store.finish_ceremony(secret, kind, now).await?;
    ceremony.ok_or(ApiError::NotBegunHere)
}

/// A session of the account whose passkey signed.
async fn session_of(app: &AppState, sent: Assertion) -> ApiResult<SessionSecret> {
    let (party, now) = (party(app)?, app.clock.now());
    let refused = |reason: &str| ApiError::NotSignedIn {
        reason: reason.to_owned(),
    };
    let secret = party.signed(&sent)?;
    if finish(app, &secret).await?.owner.is_some() {
        return Err(ApiError::NotBegunHere);
    }
    let known = match sent.credential() {
        Some(credential) => app.store.passkey(&credential).await?,
        None => None,
    };
    let Some(known) = known.filter(|known| sent.is_for(known.account)) else {
        return Err(refused(
            "this service does not know the passkey; its owner may have removed it. Sign in \
             another way, and remove it from your device",
        ));
    };
    let counter = party.verify(&known.key, &sent)?;
    let begun = app
        .store
        .begin_passkey_session(known.id, counter, until(now), now);
    begun.await?.ok_or_else(|| {
        let id = known.id;
        warn!(passkey.id = %id, "passkey {id} counts backwards: somebody may have a copy");
        refused(
            "this passkey was used more often than it counts, so somebody may have a copy of it. \
             Sign in another way and remove it",
        )
    })
}
