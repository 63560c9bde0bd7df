//! A machine reports and is told where to go.

use axum::Json;
use axum::extract::State;
use suture_protocol::{CheckInRequest, CheckInResponse, Problem};
use suture_store::{CheckIn, MachineSecret, ReportedState};
use tracing::{info, warn};

use crate::bearer::Bearer;
use crate::problem::ApiResult;
use crate::state::AppState;

/// Takes a machine's report and answers with the version that it is to go to.
#[utoipa::path(
    post,
    path = "/v1/check-in",
    tag = "machines",
    security(("machine_secret" = [])),
    request_body = CheckInRequest,
    responses(
        (status = OK, description = "where to go", body = CheckInResponse),
        (status = UNAUTHORIZED, description = "unknown-machine", body = Problem,
            content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn check_in(
    State(app): State<AppState>,
    Bearer(secret): Bearer<MachineSecret>,
    Json(request): Json<CheckInRequest>,
) -> ApiResult<Json<CheckInResponse>> {
    let report = CheckIn::try_from(request)?;
    let machine = app
        .store
        .record_check_in(&secret, &report, app.clock.now())
        .await?;
    let patches = app.patches.current().await;
    let offer = suture_rollout::choose(&report.kernel, report.applied, &patches.published);
    info!(
        machine.id = %machine.id,
        kernel.release = %report.kernel.release,
        state = report.state.as_str(),
        applied = report.applied.map(|version| version.to_string()),
        offer = ?offer,
        "machine {} checked in", machine.id
    );
    if let ReportedState::ApplyFailed { failure } = &report.state {
        let failure = failure
            .as_ref()
            .map_or("no reason given", |text| text.as_str());
        warn!(machine.id = %machine.id, failure, "machine {} failed to apply", machine.id);
    }
    let next_check_in_secs = app.check_in_interval_secs;
    Ok(Json(CheckInResponse {
        offer,
        next_check_in_secs,
    }))
}
