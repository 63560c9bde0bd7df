//! Hooks as JSON, for operators.

use axum::Json;
use axum::extract::{Path, State};
use suture_protocol::Problem;
use suture_store::StoreError;

use crate::operator::{Operator, OperatorRefusals};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;
use crate::view::{HookTestView, HookView};

/// The hooks of the operator's file, and how far each was told.
#[utoipa::path(
    get,
    path = "/v1/hooks",
    tag = "fleet",
    security(("operator_key" = [])),
    responses(
        (status = OK, description = "the hooks", body = Vec<HookView>),
        OperatorRefusals,
    ),
)]
pub async fn list(
    State(app): State<AppState>,
    _operator: Operator,
) -> ApiResult<Json<Vec<HookView>>> {
    Ok(Json(views(&app).await?))
}

/// Sends a hook a message that only says that it works.
#[utoipa::path(
    post,
    path = "/v1/hooks/{name}/test",
    tag = "fleet",
    security(("operator_key" = [])),
    params(("name" = String, Path, description = "as the operator's file has it")),
    responses(
        (status = OK, description = "how it went", body = HookTestView),
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
        OperatorRefusals,
    ),
)]
pub async fn test(
    State(app): State<AppState>,
    _operator: Operator,
    Path(name): Path<String>,
) -> ApiResult<Json<HookTestView>> {
    Ok(Json(tested(&app, &name).await?))
}

pub(super) async fn tested(app: &AppState, name: &str) -> Result<HookTestView, ApiError> {
    let hooks = app.hooks.all();
    let hook = hooks.iter().find(|hook| hook.name.as_str() == name);
    let hook = hook.ok_or(ApiError::NoSuchHook)?;
    let taken = app.hooks.test(hook, app.clock.now()).await;
    Ok(HookTestView {
        name: name.to_owned(),
        trouble: taken.err().map(|why| why.to_string()),
    })
}

pub(super) async fn views(app: &AppState) -> Result<Vec<HookView>, StoreError> {
    let states = app.store.hooks().await?;
    let hooks = app.hooks.all();
    Ok(hooks
        .iter()
        .map(|hook| HookView::new(hook, &states))
        .collect())
}
