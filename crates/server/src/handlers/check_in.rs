//! A machine reports and is told where to go.

use axum::Json;
use axum::extract::State;
use suture_advisory::PatchVersion;
use suture_protocol::{
    CheckInRequest, CheckInResponse, EventKind, Held, HeldBy, MachineEvent, MachineEvents, Problem,
    Withdrawal,
};
use suture_rollout::Withheld;
use suture_store::{Answer, CheckIn, MachineSecret, ReportedState, tells_harm};
use tracing::{info, warn};

use crate::bearer::Bearer;
use crate::json_body::JsonBody;
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
    JsonBody(mut request): JsonBody<CheckInRequest>,
) -> ApiResult<Json<CheckInResponse>> {
    let (events, dropped) = bounded(std::mem::take(&mut request.events));
    let report = CheckIn::try_from(request)?;
    let patches = app.executor.published(&report.kernel).await;
    let answer = app
        .store
        .check_in(
            &secret,
            &report,
            &events,
            &patches.published,
            app.clock.now(),
        )
        .await?;
    log(&report, &answer, events.len(), dropped);
    if let Some(rollout) = answer.choice.exposes {
        // Nobody need be listening.
        let _ = app.changes.send(rollout);
    }
    if events.iter().any(|event| tells_harm(&event.kind)) {
        app.executor.wake();
    }
    if matches!(report.state, ReportedState::ApplyFailed { .. }) {
        app.attention.notify_one();
    }
    let notice = app.notices.of(&report.kernel.release);
    let held = held(&app, &answer);
    Ok(Json(CheckInResponse {
        notice,
        held,
        ..response(answer, report.applied, app.config.check_in_interval_secs)
    }))
}

/// As many events as a check-in may have, and how many others there were. The agent is not to send
/// those again, so they are not refused.
fn bounded(events: MachineEvents) -> (Vec<MachineEvent>, usize) {
    let MachineEvents { mut known, unread } = events;
    let dropped = unread + known.len().saturating_sub(EventKind::MAX_EVENTS);
    known.truncate(EventKind::MAX_EVENTS);
    (known, dropped)
}

fn response(
    answer: Answer,
    applied: Option<PatchVersion>,
    next_check_in_secs: u64,
) -> CheckInResponse {
    let choice = answer.choice;
    let withdrawal = |reason| applied.map(|version| Withdrawal { version, reason });
    CheckInResponse {
        offer: choice.offer,
        next_check_in_secs,
        early_group: answer.goal.filter(|_| choice.early),
        coming: choice.coming,
        withdrawn: choice.withdrawn.and_then(withdrawal),
        notice: None,
        held: None,
        channel: answer.channel,
        copied: answer.machine.boots.are_of_copies(),
    }
}

/// What keeps the machine from new versions, in words.
fn held(app: &AppState, answer: &Answer) -> Option<Held> {
    Some(match answer.choice.withheld.as_ref()? {
        Withheld::MachineLimit => {
            let plan = answer.account.plan;
            let limit = answer.account.machine_limit().unwrap_or_default();
            let or = app.more_machines();
            Held {
                by: HeldBy::MachineLimit,
                detail: format!(
                    "the {plan} plan covers {limit} machines and the account has more, so this \
                     one keeps what it has and gets no new live patches; release another \
                     machine, or {or}"
                ),
            }
        }
        Withheld::Policy { version, rule } => {
            let group = answer.machine.group.as_ref();
            let group = group.map_or("", |name| name.as_str());
            Held {
                by: HeldBy::Policy,
                detail: format!("the group `{group}` {rule}; {version} would be next"),
            }
        }
    })
}

fn log(report: &CheckIn, answer: &Answer, events: usize, dropped: usize) {
    let id = &answer.machine.id;
    info!(
        machine.id = %id,
        kernel.release = %report.kernel.release,
        state = report.state.as_str(),
        applied = report.applied.map(|version| version.to_string()),
        offer = ?answer.choice.offer,
        early = answer.choice.early,
        events,
        "machine {id} checked in"
    );
    if dropped > 0 {
        warn!(machine.id = %id, dropped, "dropped {dropped} unreadable events of machine {id}");
    }
    if let ReportedState::ApplyFailed { failure } = &report.state {
        let failure = failure
            .as_ref()
            .map_or("no reason given", |text| text.as_str());
        warn!(machine.id = %id, failure, "machine {id} failed to apply");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn event(number: u8, kind: &str) -> Value {
        json!({
            "id": uuid::Uuid::from_bytes([number; 16]),
            "at": "2026-11-23T12:00:00Z",
            "boot_id": "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1",
            "kind": kind,
            "version": "104.1",
        })
    }

    #[test]
    fn no_more_events_are_taken_than_a_check_in_may_have() {
        let many = (0..100).map(|number| event(number, "fetched")).collect();
        let (events, dropped) = bounded(serde_json::from_value(many).unwrap());
        assert_eq!((events.len(), dropped), (EventKind::MAX_EVENTS, 68));
        let (events, dropped) = bounded(serde_json::from_value(json!([1, 2])).unwrap());
        assert_eq!((events.len(), dropped), (0, 2));
    }
}
