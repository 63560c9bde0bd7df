//! Groups of machines and their policies as JSON, for operators.

use axum::Json;
use axum::extract::{Path, State};
use suture_protocol::Problem;
use suture_rollout::GroupPolicy;
use suture_store::GroupName;

use crate::operator::{Operator, OperatorRefusals};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;
use crate::view::{GroupView, PolicyView};

/// All groups that have machines or a policy, by their names.
#[utoipa::path(
    get,
    path = "/v1/groups",
    tag = "fleet",
    security(("operator_key" = [])),
    responses(
        (status = OK, description = "the groups", body = Vec<GroupView>),
        OperatorRefusals,
    ),
)]
pub async fn list(
    State(app): State<AppState>,
    _operator: Operator,
) -> ApiResult<Json<Vec<GroupView>>> {
    let groups = app.store.groups().await?;
    Ok(Json(groups.iter().map(GroupView::from).collect()))
}

/// Sets what holds for a group's machines from their next check-in on. A policy that says nothing
/// takes the one before away.
#[utoipa::path(
    put,
    path = "/v1/groups/{name}/policy",
    tag = "fleet",
    security(("operator_key" = [])),
    params(("name" = String, Path, description = "the group's name")),
    request_body = PolicyView,
    responses(
        (status = OK, description = "the policy from now on", body = PolicyView),
        OperatorRefusals,
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn set_policy(
    State(app): State<AppState>,
    Path(name): Path<String>,
    operator: Operator,
    Json(policy): Json<PolicyView>,
) -> ApiResult<Json<PolicyView>> {
    let name: GroupName = name.parse()?;
    let policy = GroupPolicy::try_from(policy)?;
    let (by, now) = (operator.actor(), app.clock.now());
    let set = app.store.set_group_policy(&name, &policy, &by, now).await;
    set.map_err(ApiError::of_operator)?;
    Ok(Json(policy.into()))
}
