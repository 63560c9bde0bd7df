//! Machines come and go.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use suture_protocol::{EnrolRequest, EnrolResponse, Problem};
use suture_store::{AccountToken, MachineSecret, NewMachine, StoreError};
use tracing::info;

use crate::bearer::Bearer;
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;

/// Enrols a machine, or gives an enrolled one a new secret.
#[utoipa::path(
    post,
    path = "/v1/machines",
    tag = "machines",
    security(("account_token" = [])),
    request_body = EnrolRequest,
    responses(
        (status = OK, description = "enrolled", body = EnrolResponse),
        (status = UNAUTHORIZED, description = "unknown-token", body = Problem,
            content_type = "application/problem+json"),
        (status = FORBIDDEN, description = "machine-limit", body = Problem,
            content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn enrol(
    State(app): State<AppState>,
    Bearer(token): Bearer<AccountToken>,
    Json(request): Json<EnrolRequest>,
) -> ApiResult<Json<EnrolResponse>> {
    let new = NewMachine::try_from(request)?;
    let enrolled = app.store.enrol_machine(&token, &new, app.clock.now()).await;
    let enrolment = enrolled.map_err(|error| match error {
        StoreError::MachineLimit { plan, limit } => ApiError::MachineLimit {
            plan,
            limit,
            or: app.more_machines(),
        },
        other => other.into(),
    })?;
    let machine = &enrolment.machine;
    info!(
        machine.id = %machine.id,
        kernel.release = %machine.kernel.release,
        plan = %enrolment.plan,
        renewed = enrolment.renewed,
        "enrolled machine {} with kernel {}", machine.id, machine.kernel.release
    );
    Ok(Json(EnrolResponse {
        machine_secret: enrolment.secret.expose().to_owned(),
        plan: enrolment.plan.to_string(),
    }))
}

/// Releases the calling machine; its account has room for another then.
#[utoipa::path(
    delete,
    path = "/v1/machines/self",
    tag = "machines",
    security(("machine_secret" = [])),
    responses(
        (status = NO_CONTENT, description = "released"),
        (status = UNAUTHORIZED, description = "unknown-machine", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn release_self(
    State(app): State<AppState>,
    Bearer(secret): Bearer<MachineSecret>,
) -> ApiResult<StatusCode> {
    let machine = app.store.release_self(&secret, app.clock.now()).await?;
    info!(machine.id = %machine.id, "released machine {}", machine.id);
    Ok(StatusCode::NO_CONTENT)
}
