//! Operators' keys as JSON.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use suture_protocol::Problem;
use suture_store::{OperatorKeyId, OperatorName};
use utoipa::ToSchema;

use crate::operator::{Operator, OperatorRefusals};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;
use crate::view::OperatorKeySummary;

/// All keys, oldest first, revoked ones included.
#[utoipa::path(
    get,
    path = "/v1/operator-keys",
    tag = "fleet",
    security(("operator_key" = [])),
    responses(
        (status = OK, description = "the keys", body = Vec<OperatorKeySummary>),
        OperatorRefusals,
    ),
)]
pub async fn list(
    State(app): State<AppState>,
    _operator: Operator,
) -> ApiResult<Json<Vec<OperatorKeySummary>>> {
    let keys = app.store.operator_keys().await?;
    Ok(Json(keys.iter().map(OperatorKeySummary::from).collect()))
}

#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct KeyRequest {
    /// Who it is for; the audit log names it.
    pub name: String,
}

/// A new key. Its secret is told now and never again.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct NewKey {
    pub id: String,
    #[schema(example = "suture_o_…")]
    pub secret: String,
}

/// Makes a key.
#[utoipa::path(
    post,
    path = "/v1/operator-keys",
    tag = "fleet",
    security(("operator_key" = [])),
    request_body = KeyRequest,
    responses(
        (status = CREATED, description = "the key", body = NewKey),
        OperatorRefusals,
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn create(
    State(app): State<AppState>,
    operator: Operator,
    Json(request): Json<KeyRequest>,
) -> ApiResult<(StatusCode, Json<NewKey>)> {
    let name: OperatorName = request.name.parse()?;
    let (by, now) = (operator.actor(), app.clock.now());
    let (entry, key) = app.store.create_operator_key(&name, &by, now).await?;
    let key = NewKey {
        id: entry.id.to_string(),
        secret: key.expose().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(key)))
}

/// Revokes a key; whoever is signed in with it is signed out.
#[utoipa::path(
    delete,
    path = "/v1/operator-keys/{id}",
    tag = "fleet",
    security(("operator_key" = [])),
    params(("id" = String, Path, description = "the key's id")),
    responses(
        (status = OK, description = "the key from now on", body = OperatorKeySummary),
        OperatorRefusals,
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn revoke(
    State(app): State<AppState>,
    Path(id): Path<String>,
    operator: Operator,
) -> ApiResult<Json<OperatorKeySummary>> {
    let id: OperatorKeyId = id.parse().map_err(|_| ApiError::NoSuchKey)?;
    let (by, now) = (operator.actor(), app.clock.now());
    let revoked = app.store.revoke_operator_key(id, &by, now).await;
    let key = revoked.map_err(ApiError::of_operator)?;
    Ok(Json(OperatorKeySummary::from(&key)))
}
