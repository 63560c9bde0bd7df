//! The service's numbers for Prometheus.

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::IntoResponse;

use super::rollouts::summaries;
use crate::metrics::{Numbers, text};
use crate::operator::{Operator, OperatorRefusals};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;

/// The fleet, the rollouts and the repository in numbers, by an operator's key as bearer.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "service",
    security(("operator_key" = [])),
    responses(
        (status = OK, description = "OpenMetrics 1.0",
            content_type = "application/openmetrics-text"),
        OperatorRefusals,
    ),
)]
pub async fn metrics(
    State(app): State<AppState>,
    _operator: Operator,
) -> ApiResult<impl IntoResponse> {
    let now = app.clock.now();
    let (_, groups) = app.fleet.groups(app.store.as_ref(), now).await?;
    let patches = app.patches.current().await;
    let rollouts = summaries(&app).await?;
    let numbers = Numbers {
        groups: &groups,
        rollouts: &rollouts,
        live_patches: patches.published.len(),
        expires: patches.catalogue.expiries().iter().map(|it| it.at).min(),
    };
    let text = text(&numbers).map_err(|source| ApiError::Internal {
        doing: "write the numbers",
        source: Box::new(source),
    })?;
    let headers = [
        (
            CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        (CACHE_CONTROL, "private, no-store"),
    ];
    Ok((headers, text))
}
