//! The owner's ways to sign in, on the account's page.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use serde::Deserialize;
use suture_store::{
    AccountId, EmailAddress, Identity, IdentityId, Issuer, Passkey, PasswordHash, StoreError,
};

use super::openid::AddIdentityForm;
use super::{account, passkeys};
use crate::html::PageResult;
use crate::own_form::{OwnForm, OwnersForm};
use crate::picture::number;
use crate::post::Letter;
use crate::problem::{ApiError, ApiResult};
use crate::session::Session;
use crate::state::AppState;

/// What the page shows of them.
pub struct WaysIn {
    /// Whether there is one.
    pub password: bool,
    pub identities: Vec<Identity>,
    pub passkeys: Vec<Passkey>,
    /// Whether browsers offer passkeys here.
    pub offers_passkeys: bool,
    /// The provider whose identities can be added.
    pub provider: Option<NamedProvider>,
    /// Whether the owner signed in a moment ago, as they must have to add one.
    pub fresh: bool,
    pub forms: FormTokens,
}

/// A provider of identities by both its names.
pub struct NamedProvider {
    issuer: Issuer,
    /// What people call it.
    pub name: String,
}

/// Hidden fields of the forms.
pub struct FormTokens {
    pub add_identity: String,
    pub remove_identity: String,
    pub begin_passkey: String,
    pub add_passkey: String,
    pub remove_passkey: String,
}

#[derive(Deserialize)]
pub struct RemoveIdentityForm {
    id: String,
}

impl OwnForm for RemoveIdentityForm {
    const ACTION: &'static str = "/account/identities/remove";
}

impl WaysIn {
    pub async fn of(app: &AppState, session: &Session, account: AccountId) -> ApiResult<Self> {
        let email = app.store.account(account).await?.email;
        Ok(Self {
            password: password(app, &email).await?.is_some(),
            identities: app.store.identities(account).await?,
            passkeys: app.store.passkeys(account).await?,
            offers_passkeys: app.passkeys.is_some(),
            provider: app.openid.as_ref().map(|openid| NamedProvider {
                issuer: openid.issuer().clone(),
                name: openid.name().to_owned(),
            }),
            fresh: session.is_fresh(app).await?,
            forms: FormTokens {
                add_identity: AddIdentityForm::token(session),
                remove_identity: RemoveIdentityForm::token(session),
                begin_passkey: passkeys::BeginAddingForm::token(session),
                add_passkey: passkeys::AddForm::token(session),
                remove_passkey: passkeys::RemoveForm::token(session),
            },
        })
    }

    pub fn last_used(&self, used: &Option<Timestamp>, now: &Timestamp) -> String {
        used.map_or("never used".to_owned(), |used| {
            format!("used {}", number::ago(used, now))
        })
    }

    /// What people call the identity's provider, or its address if it is another one than that
    /// of this service.
    pub fn provider_of<'a>(&'a self, identity: &'a Identity) -> &'a str {
        let issuer = &identity.provider.issuer;
        match &self.provider {
            Some(provider) if provider.issuer == *issuer => &provider.name,
            Some(_) | None => issuer.as_str(),
        }
    }
}

/// Each kind of them in a few words, for operators: what is called how is the owner's business.
pub async fn kinds(app: &AppState, account: AccountId) -> ApiResult<Vec<String>> {
    let email = app.store.account(account).await?.email;
    let password = password(app, &email)
        .await?
        .map(|_| "a password".to_owned());
    let passkeys = match app.store.passkeys(account).await?.len() {
        0 => None,
        1 => Some("a passkey".to_owned()),
        several => Some(format!("{several} passkeys")),
    };
    let identities = app.store.identities(account).await?;
    let identity = |identity: Identity| format!("an identity of {}", identity.provider.issuer);
    let kinds = password.into_iter().chain(passkeys);
    Ok(kinds.chain(identities.into_iter().map(identity)).collect())
}

/// The password of the account with this address; none: its owner signs in in other ways.
pub async fn password(app: &AppState, email: &EmailAddress) -> ApiResult<Option<PasswordHash>> {
    let known = app.store.credentials(email).await?;
    Ok(known.and_then(|known| known.password))
}

/// Unbinds an identity, unless it is the last way in.
#[utoipa::path(
    post,
    path = "/account/identities/remove",
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
pub async fn remove_identity(
    State(app): State<AppState>,
    sent: OwnersForm<RemoveIdentityForm>,
) -> PageResult<Response> {
    let Ok(id) = sent.form.id.parse::<IdentityId>() else {
        return Ok(Redirect::to("/account").into_response());
    };
    let now = app.clock.now();
    let removed = app.store.remove_identity(sent.account, id, now).await;
    let what = "An identity at another place, by which you signed in, was removed";
    after(&app, &sent.session, sent.account, removed, what).await
}

/// The account's page, with what stood against the change; its owner learns of the change by
/// e-mail, in case that they did not make it.
pub async fn after(
    app: &AppState,
    session: &Session,
    account: AccountId,
    changed: Result<(), StoreError>,
    what: &str,
) -> PageResult<Response> {
    match changed {
        Ok(()) => {
            tell(app, account, what).await?;
            Ok(Redirect::to("/account").into_response())
        }
        Err(
            error @ (StoreError::LastWay
            | StoreError::TooManyWays { .. }
            | StoreError::PasskeyTaken),
        ) => {
            let refusal = ApiError::from(error).detail();
            account::page(app, session, StatusCode::CONFLICT, None, Some(refusal)).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Tells the owner by e-mail that a way to sign in came or went.
pub async fn tell(app: &AppState, account: AccountId, what: &str) -> ApiResult<()> {
    if let Some(post) = &app.web.post {
        let email = app.store.account(account).await?.email;
        let page = format!("{}/account", app.public_url);
        post.send(&email, &Letter::Way { what, page: &page });
    }
    Ok(())
}
