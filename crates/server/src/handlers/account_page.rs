//! An owner's machines as a page.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use suture_store::Account;

use crate::html::{Nav, PageResult, private};
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
    now: Timestamp,
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
    let account = match session.owner() {
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
        now: app.clock.now(),
    };
    Ok(private(StatusCode::OK, &page)?)
}

async fn owned(app: &AppState, account: &Account) -> Result<Vec<OwnedMachine>, ApiError> {
    let machines = app.store.machines(account.id).await?;
    let rollouts = app.store.rollouts().await?;
    let patches = app.patches.current().await;
    let now = app.clock.now();
    let view = |machine| OwnedMachine::new(machine, account, &patches.published, &rollouts, now);
    Ok(machines.iter().map(view).collect())
}
