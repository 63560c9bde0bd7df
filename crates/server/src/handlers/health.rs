//! Whether the service can work.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::Serialize;
use suture_protocol::Problem;
use utoipa::ToSchema;

use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;

/// The database answers and the repository can be read.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Live patches that are published.
    live_patches: usize,
    /// When the first of the repository's metadata expires. Machines refuse expired metadata, so
    /// watch this: `suture repository refresh` signs anew.
    #[schema(value_type = String)]
    metadata_expires: Option<Timestamp>,
}

/// 200 if the database answers and the repository can be read, 503 otherwise.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "service",
    responses(
        (status = OK, description = "the service can work", body = Health),
        (status = SERVICE_UNAVAILABLE, description = "internal", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn healthz(State(app): State<AppState>) -> ApiResult<Json<Health>> {
    let database = |source| ApiError::Unavailable {
        doing: "reach the database",
        source: Box::new(source),
    };
    app.store.ping().await.map_err(database)?;
    let repository = |source| ApiError::Unavailable {
        doing: "read the repository",
        source: Box::new(source),
    };
    tokio::fs::read(app.patches.layout().timestamp())
        .await
        .map_err(repository)?;
    let patches = app.patches.current().await;
    let expiries = patches.catalogue.expiries().iter();
    Ok(Json(Health {
        live_patches: patches.published.len(),
        metadata_expires: expiries.map(|expiry| expiry.at).min(),
    }))
}
