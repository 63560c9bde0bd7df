//! What the service was started with, and its hooks, as a page for operators.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;

use super::hooks::{tested, views};
use crate::config::Setting;
use crate::html::{Nav, PageResult, private};
use crate::operator::OperatorSession;
use crate::own_form::OperatorsForm;
use crate::picture::number;
use crate::session::{Session, form_token};
use crate::state::AppState;
use crate::view::HookView;

/// Where the form goes.
const TEST: &str = "/fleet/hooks/test";

#[derive(Template)]
#[template(path = "fleet_settings.html")]
struct SettingsPage {
    nav: Nav,
    settings: Vec<Setting>,
    hooks: Vec<HookView>,
    /// How a test went, in words.
    outcome: Option<String>,
    token: String,
    now: Timestamp,
}

/// The settings and the hooks.
#[utoipa::path(
    get,
    path = "/fleet/settings",
    tag = "pages",
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not an operator", content_type = "text/html"),
    ),
)]
pub async fn show(
    State(app): State<AppState>,
    OperatorSession(session): OperatorSession,
) -> PageResult<Response> {
    page(&app, &session, None).await
}

async fn page(app: &AppState, session: &Session, outcome: Option<String>) -> PageResult<Response> {
    let page = SettingsPage {
        nav: Nav::new(Some(session)),
        settings: app.config.settings(&app.public_url),
        hooks: views(app).await?,
        outcome,
        token: form_token(session.secret.expose(), TEST),
        now: app.clock.now(),
    };
    Ok(private(StatusCode::OK, &page)?)
}

#[derive(Deserialize)]
pub struct TestForm {
    name: String,
}

/// Sends a hook a message that only says that it works.
#[utoipa::path(
    post,
    path = "/fleet/hooks/test",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = OK, description = "how it went", content_type = "text/html"),
        (status = FORBIDDEN, description = "not an operator, or a form from elsewhere",
            content_type = "text/html"),
        (status = NOT_FOUND, description = "no such hook", content_type = "text/html"),
    ),
)]
pub async fn test_hook(
    State(app): State<AppState>,
    OperatorsForm { session, form, .. }: OperatorsForm<TestForm>,
) -> PageResult<Response> {
    let outcome = tested(&app, &form.name).await?;
    page(&app, &session, Some(outcome.to_string())).await
}
