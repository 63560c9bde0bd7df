//! The audit log as JSON, for operators.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use suture_protocol::Problem;
use suture_store::AccountId;
use utoipa::IntoParams;

use super::accounts::account_id;
use crate::lists;
use crate::operator::{Operator, OperatorRefusals};
use crate::problem::ApiResult;
use crate::state::AppState;
use crate::view::AuditPage;

/// Lines in a piece of the log, at most.
pub(super) const MAX_LINES: u32 = 200;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditSearch {
    /// Lines before the one with this number (default: the latest).
    pub before: Option<u64>,
    /// An account's id: only what was done to it or by it.
    #[serde(default)]
    pub account: String,
    /// Lines wanted (default and most: 200).
    pub limit: Option<u32>,
}

/// Who changed what, newest first.
#[utoipa::path(
    get,
    path = "/v1/audit",
    tag = "fleet",
    security(("operator_key" = [])),
    params(AuditSearch),
    responses(
        (status = OK, description = "the lines", body = AuditPage),
        OperatorRefusals,
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn list(
    State(app): State<AppState>,
    _operator: Operator,
    Query(search): Query<AuditSearch>,
) -> ApiResult<Json<AuditPage>> {
    let limit = search.limit.unwrap_or(MAX_LINES);
    Ok(Json(page(&app, &search, limit).await?))
}

pub(super) async fn page(app: &AppState, search: &AuditSearch, limit: u32) -> ApiResult<AuditPage> {
    let account: Option<AccountId> = match search.account.as_str() {
        "" => None,
        text => Some(account_id(text)?),
    };
    let limit = limit.clamp(1, MAX_LINES);
    Ok(lists::audit(app.store.as_ref(), search.before, account, limit).await?)
}
