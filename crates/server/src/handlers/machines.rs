//! Machines come and go.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use suture_protocol::{EnrolRequest, EnrolResponse, Problem, SplitRequest};
use suture_store::{AccountToken, Enrolment, MachineSecret, NewMachine, StoreError};
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
    let enrolment = enrolled.map_err(|error| with_ways_out(&app, error))?;
    let machine = &enrolment.machine;
    info!(
        machine.id = %machine.id,
        kernel.release = %machine.kernel.release,
        plan = %enrolment.plan,
        renewed = enrolment.renewed,
        "enrolled machine {} with kernel {}", machine.id, machine.kernel.release
    );
    Ok(Json(answer(&enrolment)))
}

/// Makes the calling machine one of its own, where several check in with the same secret because
/// a disk was copied.
#[utoipa::path(
    post,
    path = "/v1/machines/self/split",
    tag = "machines",
    security(("machine_secret" = [])),
    request_body = SplitRequest,
    responses(
        (status = OK, description = "enrolled as one of its own", body = EnrolResponse),
        (status = UNAUTHORIZED, description = "unknown-machine", body = Problem,
            content_type = "application/problem+json"),
        (status = FORBIDDEN, description = "machine-limit", body = Problem,
            content_type = "application/problem+json"),
        (status = CONFLICT, description = "no other machine has this secret", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn split(
    State(app): State<AppState>,
    Bearer(secret): Bearer<MachineSecret>,
    Json(request): Json<SplitRequest>,
) -> ApiResult<Json<EnrolResponse>> {
    let id = &request.machine_id;
    let split = app.store.split_machine(&secret, id, app.clock.now()).await;
    let enrolment = split.map_err(|error| with_ways_out(&app, error))?;
    info!(machine.id = %id, "machine {id} was told apart from others with the same disk");
    Ok(Json(answer(&enrolment)))
}

fn answer(enrolment: &Enrolment) -> EnrolResponse {
    EnrolResponse {
        machine_secret: enrolment.secret.expose().to_owned(),
        plan: enrolment.plan.to_string(),
    }
}

fn with_ways_out(app: &AppState, error: StoreError) -> ApiError {
    match error {
        StoreError::MachineLimit { plan, limit } => ApiError::MachineLimit {
            plan,
            limit,
            or: app.more_machines(),
        },
        other => other.into(),
    }
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
