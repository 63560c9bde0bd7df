//! An owner's machines as a page, and the owner's say in early groups.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use serde::Deserialize;
use suture_rollout::EarlyPreference;
use suture_store::{Account, Actor, Plan};

use super::account::ReleaseForm;
use crate::html::{Nav, PageResult, private};
use crate::own_form::{OwnForm, OwnersForm};
use crate::picture::number;
use crate::problem::ApiError;
use crate::session::MaybeSession;
use crate::state::AppState;
use crate::view::{EarlyGroupState, OwnedMachine};

#[derive(Template)]
#[template(path = "machines.html")]
struct MachinesPage {
    nav: Nav,
    /// None: the visitor is an operator, who has no machines here.
    account: Option<Account>,
    machines: Vec<OwnedMachine>,
    /// For the forms about early groups and of machines; none: the visitor may change nothing.
    forms: Option<FormTokens>,
    /// Whether subscriptions are sold here.
    sold: bool,
    now: Timestamp,
}

struct FormTokens {
    early: String,
    release: String,
}

/// What an owner may want of early groups, in the form's order.
const PREFERENCES: [(EarlyPreference, &str, &str); 3] = [
    (EarlyPreference::Drawn, "drawn", "As my plan says"),
    (
        EarlyPreference::Always,
        "always",
        "Always: my machines go first",
    ),
    (
        EarlyPreference::Never,
        "never",
        "Never: my machines wait for the others",
    ),
];

#[derive(Deserialize)]
pub struct EarlyForm {
    preference: EarlyPreference,
}

impl OwnForm for EarlyForm {
    const ACTION: &'static str = "/machines/early";
    const PAGE: &'static str = "/machines";
}

/// The machines of the account that signed in.
#[utoipa::path(
    get,
    path = "/machines",
    tag = "pages",
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
    ),
)]
pub async fn machines(
    State(app): State<AppState>,
    MaybeSession(session): MaybeSession,
) -> PageResult<Response> {
    let Some(session) = session else {
        return Ok(Redirect::to("/sign-in?next=/machines").into_response());
    };
    let account = match session.account() {
        Some(id) => Some(app.store.account(id).await?),
        None => None,
    };
    let machines = match &account {
        Some(account) => owned(&app, account).await?,
        None => Vec::new(),
    };
    let page = MachinesPage {
        nav: Nav::new(Some(&session)),
        account,
        machines,
        forms: session.owner().map(|_| FormTokens {
            early: EarlyForm::token(&session),
            release: ReleaseForm::token(&session),
        }),
        sold: app.billing.is_some(),
        now: app.clock.now(),
    };
    Ok(private(StatusCode::OK, &page)?)
}

/// Changes whether the account's machines go first.
#[utoipa::path(
    post,
    path = "/machines/early",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "done; the page of machines, or sign in first"),
        (status = FORBIDDEN, description = "a form from elsewhere", content_type = "text/html"),
        (status = UNPROCESSABLE_ENTITY, description = "no such preference",
            content_type = "text/html"),
    ),
)]
pub async fn early(
    State(app): State<AppState>,
    OwnersForm { account, form, .. }: OwnersForm<EarlyForm>,
) -> PageResult<Response> {
    let by = Actor::Owner(account);
    app.store
        .set_early_preference(account, form.preference, &by, app.clock.now())
        .await?;
    Ok(Redirect::to("/machines").into_response())
}

async fn owned(app: &AppState, account: &Account) -> Result<Vec<OwnedMachine>, ApiError> {
    let machines = app.store.machines(account.id).await?;
    let rollouts = app.store.rollouts().await?;
    let patches = app.patches.current().await;
    let now = app.clock.now();
    let view = |machine| OwnedMachine::new(machine, account, &patches.published, &rollouts, now);
    Ok(machines.iter().map(view).collect())
}
