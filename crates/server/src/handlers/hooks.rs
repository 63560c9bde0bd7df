//! Hooks as JSON, for operators.

use axum::Json;
use axum::extract::State;
use suture_store::StoreError;

use crate::operator::{Operator, OperatorRefusals};
use crate::problem::ApiResult;
use crate::state::AppState;
use crate::view::HookView;

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

pub(super) async fn views(app: &AppState) -> Result<Vec<HookView>, StoreError> {
    let states = app.store.hooks().await?;
    let hooks = app.hooks.all();
    Ok(hooks
        .iter()
        .map(|hook| HookView::new(hook, &states))
        .collect())
}
