//! The API's own description.

use std::sync::Arc;

use axum::{Extension, Json};
use utoipa::openapi::OpenApi;

/// This description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "service",
    responses((status = OK, description = "OpenAPI 3.1", content_type = "application/json")),
)]
pub async fn openapi_json(Extension(openapi): Extension<Arc<OpenApi>>) -> Json<OpenApi> {
    Json(openapi.as_ref().clone())
}
