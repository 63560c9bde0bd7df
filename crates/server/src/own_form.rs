//! Forms of people who signed in, on pages that only they see.

use axum::Form;
use axum::extract::{FromRequest, FromRequestParts as _, Request};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use suture_store::{AccountId, Actor};

use crate::html::PageError;
use crate::problem::ApiError;
use crate::session::{MaybeSession, SameSite, Session, check_form_token, form_token};
use crate::state::AppState;

/// What a form of an owner's page carries beside its token.
pub trait OwnForm: DeserializeOwned + Send {
    /// Where it goes.
    const ACTION: &'static str;
    /// The page that it is on: whoever is not signed in any more comes back there.
    const PAGE: &'static str = "/account";
    /// Whether it takes who signed in a moment ago.
    const FRESH: bool = false;

    /// For the form's hidden field `token`.
    fn token(session: &Session) -> String {
        form_token(session.secret.expose(), Self::ACTION)
    }
}

/// A form that the account's owner sent from our own page.
pub struct OwnersForm<F> {
    pub session: Session,
    pub account: AccountId,
    pub form: F,
}

#[derive(Deserialize)]
struct Sent<F> {
    token: String,
    #[serde(flatten)]
    form: F,
}

/// A form that an operator sent from our own page.
pub struct OperatorsForm<F> {
    pub session: Session,
    pub by: Actor,
    pub form: F,
}

impl<F: OwnForm> FromRequest<AppState> for OwnersForm<F> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, Response> {
        let Some((session, form)) = sent(request, app).await? else {
            let to = format!("/sign-in?next={}", F::PAGE);
            return Err(Redirect::to(&to).into_response());
        };
        let account = session
            .owner()
            .ok_or_else(|| refused(ApiError::NotTheOwner))?;
        if F::FRESH && !session.is_fresh(app).await.map_err(refused)? {
            return Err(refused(ApiError::SignInAgain));
        }
        Ok(Self {
            session,
            account,
            form,
        })
    }
}

impl<F: DeserializeOwned> FromRequest<AppState> for OperatorsForm<F> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, Response> {
        let not_an_operator = || refused(ApiError::NotAnOperator);
        let (session, form) = sent(request, app).await?.ok_or_else(not_an_operator)?;
        let name = session.operator().ok_or_else(not_an_operator)?;
        Ok(Self {
            by: Actor::Operator(name.clone()),
            session,
            form,
        })
    }
}

/// Who sent a form, and the form; none if nobody is signed in. It must have been made for this
/// browser and this very address.
async fn sent<F: DeserializeOwned>(
    request: Request,
    app: &AppState,
) -> Result<Option<(Session, F)>, Response> {
    let (mut parts, body) = request.into_parts();
    let own = SameSite::from_request_parts(&mut parts, app).await;
    let SameSite = own.map_err(refused)?;
    let found = MaybeSession::from_request_parts(&mut parts, app).await;
    let Some(session) = found.map_err(refused)?.0 else {
        return Ok(None);
    };
    let action = parts.uri.path().to_owned();
    let request = Request::from_parts(parts, body);
    let Form(Sent { token, form }) = Form::<Sent<F>>::from_request(request, app)
        .await
        .map_err(|refusal| refusal.into_response())?;
    check_form_token(session.secret.expose(), &action, &token).map_err(refused)?;
    Ok(Some((session, form)))
}

fn refused(error: ApiError) -> Response {
    PageError::from(error).into_response()
}
