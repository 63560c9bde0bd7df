//! The API's own description.

use std::sync::LazyLock;

use axum::Json;
use utoipa::openapi::OpenApi;

use crate::router;

static DESCRIPTION: LazyLock<OpenApi> = LazyLock::new(router::openapi);

/// This description.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "service",
    responses((status = OK, description = "OpenAPI 3.1", content_type = "application/json")),
)]
pub async fn openapi_json() -> Json<&'static OpenApi> {
    Json(&DESCRIPTION)
}
