//! Changing a rollout by hand in a browser: a page that asks why, and the deed.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use suture_rollout::RolloutId;
use suture_store::OperatorName;

use super::rollouts::{ChangeKind, MAX_REASON_CHARS, apply, rollout_id};
use crate::html::{Nav, PageResult, private};
use crate::own_form::OperatorsForm;
use crate::problem::{ApiError, ApiResult};
use crate::session::{MaybeSession, Session, form_token};
use crate::state::AppState;
use crate::view::RolloutSummary;

#[derive(Template)]
#[template(path = "change.html")]
struct ChangePage {
    nav: Nav,
    kind: ChangeKind,
    summary: RolloutSummary,
    token: String,
    /// What was typed before, if that was refused.
    reason: String,
    /// What was wrong with it.
    refusal: Option<String>,
}

impl ChangeKind {
    fn question(self) -> &'static str {
        match self {
            Self::Halt => "Halt this rollout?",
            Self::Resume => "Resume this rollout?",
            Self::Withdraw => "Withdraw this version?",
        }
    }

    fn effect(self) -> &'static str {
        match self {
            Self::Halt => {
                "From this moment nobody is offered the version any more. Machines that have it \
                 keep it. It can be resumed."
            }
            Self::Resume => {
                "It goes on with the step at which it was halted, and that step's time begins \
                 anew. The evidence so far is put aside: you say that it did not count against \
                 the patch."
            }
            Self::Withdraw => {
                "The version is never offered again. Machines that have it are told why, and \
                 keep it until a later version replaces it. This cannot be undone."
            }
        }
    }

    fn confirmation(self) -> &'static str {
        match self {
            Self::Halt => "Yes, halt it for everyone",
            Self::Resume => "Yes, I judged the evidence; let it go on",
            Self::Withdraw => "Yes, withdraw it for good",
        }
    }
}

#[derive(Deserialize)]
pub struct ChangeForm {
    #[serde(default)]
    reason: String,
    /// `yes` if the box is ticked.
    #[serde(default)]
    confirmed: String,
}

/// Asks an operator for a reason.
#[utoipa::path(
    get,
    path = "/rollouts/{id}/{change}",
    tag = "pages",
    params(
        ("id" = String, Path, description = "the rollout's id"),
        ("change" = ChangeKind, Path, description = "what is to be done"),
    ),
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not an operator", content_type = "text/html"),
        (status = NOT_FOUND, description = "no such rollout", content_type = "text/html"),
    ),
)]
pub async fn ask(
    State(app): State<AppState>,
    Path((id, kind)): Path<(String, String)>,
    MaybeSession(session): MaybeSession,
) -> PageResult<Response> {
    let (id, kind) = (rollout_id(&id)?, ChangeKind::named(&kind)?);
    let Some(session) = session else {
        let back = format!("/sign-in?next=/rollouts/{id}");
        return Ok(Redirect::to(&back).into_response());
    };
    operator(&session)?;
    let page = page(&app, &session, id, kind).await?;
    Ok(private(StatusCode::OK, &page)?)
}

/// Changes the rollout and shows it.
#[utoipa::path(
    post,
    path = "/rollouts/{id}/{change}",
    tag = "pages",
    params(
        ("id" = String, Path, description = "the rollout's id"),
        ("change" = ChangeKind, Path, description = "what is to be done"),
    ),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "done; the rollout's page"),
        (status = FORBIDDEN, description = "not an operator, or a form from elsewhere",
            content_type = "text/html"),
        (status = NOT_FOUND, description = "no such rollout", content_type = "text/html"),
        (status = CONFLICT, description = "not possible in its phase", content_type = "text/html"),
        (status = UNPROCESSABLE_ENTITY, description = "no reason, or not confirmed",
            content_type = "text/html"),
    ),
)]
pub async fn act(
    State(app): State<AppState>,
    Path((id, kind)): Path<(String, String)>,
    sent: OperatorsForm<ChangeForm>,
) -> PageResult<Response> {
    let (id, kind) = (rollout_id(&id)?, ChangeKind::named(&kind)?);
    let OperatorsForm { session, by, form } = sent;
    let refusal = if form.confirmed == "yes" {
        match apply(&app, id, kind, &form.reason, &by).await {
            Ok(()) => return Ok(Redirect::to(&format!("/rollouts/{id}")).into_response()),
            Err(error @ ApiError::Unacceptable(_)) => error.detail(),
            Err(error) => return Err(error.into()),
        }
    } else {
        "Tick the box to confirm.".to_owned()
    };
    let mut page = page(&app, &session, id, kind).await?;
    page.refusal = Some(refusal);
    page.reason = form.reason.chars().take(MAX_REASON_CHARS).collect();
    Ok(private(StatusCode::UNPROCESSABLE_ENTITY, &page)?)
}

fn operator(session: &Session) -> ApiResult<&OperatorName> {
    session.operator().ok_or(ApiError::NotAnOperator)
}

fn action(id: RolloutId, kind: ChangeKind) -> String {
    format!("/rollouts/{id}/{}", kind.as_str())
}

async fn page(
    app: &AppState,
    session: &Session,
    id: RolloutId,
    kind: ChangeKind,
) -> ApiResult<ChangePage> {
    let rollout = app.store.rollout(id).await?;
    let last = app.store.looks(id, 1).await?;
    Ok(ChangePage {
        nav: Nav::new(Some(session)),
        kind,
        summary: RolloutSummary::new(&rollout, &last),
        token: form_token(session.secret.expose(), &action(id, kind)),
        reason: String::new(),
        refusal: None,
    })
}
