//! Rollouts as JSON.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use suture_protocol::Problem;
use suture_rollout::RolloutId;
use suture_store::{Actor, HandChange, InvalidText, Rollout};
use tracing::info;
use utoipa::{IntoParams, ToSchema};

use crate::operator::{MaybeOperator, Operator};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;
use crate::view::{
    Audience, DrawRecord, EventPage, MAX_EVENTS, MAX_LOOKS, MAX_MACHINES, RolloutSummary,
    RolloutView,
};

/// Rollouts in a list, the newest first.
const MAX_ROLLOUTS: usize = 100;

/// All rollouts, the newest first, at most 100.
#[utoipa::path(
    get,
    path = "/v1/rollouts",
    tag = "rollouts",
    responses((status = OK, description = "the rollouts", body = Vec<RolloutSummary>)),
)]
pub async fn list(State(app): State<AppState>) -> ApiResult<Json<Vec<RolloutSummary>>> {
    Ok(Json(summaries(&app).await?))
}

/// A rollout in full. Names of machines, accounts and groups are for operators.
#[utoipa::path(
    get,
    path = "/v1/rollouts/{id}",
    tag = "rollouts",
    security((), ("operator_key" = [])),
    params(("id" = String, Path, description = "the rollout's id")),
    responses(
        (status = OK, description = "the rollout", body = RolloutView),
        (status = UNAUTHORIZED, description = "unknown-operator", body = Problem,
            content_type = "application/problem+json"),
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
        (status = TOO_MANY_REQUESTS, description = "too-many", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn show(
    State(app): State<AppState>,
    Path(id): Path<String>,
    operator: MaybeOperator,
) -> ApiResult<Json<RolloutView>> {
    let id = rollout_id(&id)?;
    Ok(Json(load(&app, id, operator.audience()).await?))
}

/// The draw of the early group: the commitment before, the seed and the list after the end.
#[utoipa::path(
    get,
    path = "/v1/rollouts/{id}/draw",
    tag = "rollouts",
    params(("id" = String, Path, description = "the rollout's id")),
    responses(
        (status = OK, description = "the record", body = DrawRecord),
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn draw(
    State(app): State<AppState>,
    Path(id): Path<String>,
) -> ApiResult<Json<DrawRecord>> {
    let rollout = app.store.rollout(rollout_id(&id)?).await?;
    let list = if rollout.phase.is_over() {
        app.store.draw_list(rollout.id).await?
    } else {
        Vec::new()
    };
    Ok(Json(DrawRecord::new(&rollout, &list)))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventQuery {
    /// Events that arrived before the one with this number (default: the latest).
    before: Option<u64>,
    /// Leave out what tells no harm (default: false).
    #[serde(default)]
    harm_only: bool,
}

/// What machines told, the latest first, 50 at a time.
#[utoipa::path(
    get,
    path = "/v1/rollouts/{id}/events",
    tag = "rollouts",
    security(("operator_key" = [])),
    params(("id" = String, Path, description = "the rollout's id"), EventQuery),
    responses(
        (status = OK, description = "the events", body = EventPage),
        (status = UNAUTHORIZED, description = "unknown-operator", body = Problem,
            content_type = "application/problem+json"),
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
        (status = TOO_MANY_REQUESTS, description = "too-many", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn events(
    State(app): State<AppState>,
    Path(id): Path<String>,
    _operator: Operator,
    Query(query): Query<EventQuery>,
) -> ApiResult<Json<EventPage>> {
    let id = app.store.rollout(rollout_id(&id)?).await?.id;
    let events = app
        .store
        .rollout_events(id, query.before, query.harm_only, MAX_EVENTS)
        .await?;
    Ok(Json(EventPage::new(&events, MAX_EVENTS)))
}

/// Why a rollout is changed by hand.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ChangeRequest {
    /// A sentence for the audit log and for everyone who looks at the rollout; at most 1,000
    /// characters.
    #[schema(example = "Reports of hanging mounts on NFS servers")]
    pub reason: String,
}

/// Halts, resumes or withdraws a rollout. Withdrawing is for good.
#[utoipa::path(
    post,
    path = "/v1/rollouts/{id}/{change}",
    tag = "rollouts",
    security(("operator_key" = [])),
    params(
        ("id" = String, Path, description = "the rollout's id"),
        ("change" = ChangeKind, Path, description = "what is to be done"),
    ),
    request_body = ChangeRequest,
    responses(
        (status = OK, description = "the rollout from now on", body = RolloutView),
        (status = UNAUTHORIZED, description = "unknown-operator", body = Problem,
            content_type = "application/problem+json"),
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
        (status = CONFLICT, description = "conflict", body = Problem,
            content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
        (status = TOO_MANY_REQUESTS, description = "too-many", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn change(
    State(app): State<AppState>,
    Path((id, kind)): Path<(String, String)>,
    operator: Operator,
    Json(request): Json<ChangeRequest>,
) -> ApiResult<Json<RolloutView>> {
    let (id, kind) = (rollout_id(&id)?, ChangeKind::named(&kind)?);
    apply(&app, id, kind, &request.reason, &operator.actor()).await?;
    Ok(Json(load(&app, id, Audience::Operator).await?))
}

/// What a person can do with a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    Halt,
    Resume,
    Withdraw,
}

impl ChangeKind {
    pub fn named(name: &str) -> ApiResult<Self> {
        match name {
            "halt" => Ok(Self::Halt),
            "resume" => Ok(Self::Resume),
            "withdraw" => Ok(Self::Withdraw),
            _ => Err(ApiError::NoSuchChange),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Halt => "halt",
            Self::Resume => "resume",
            Self::Withdraw => "withdraw",
        }
    }

    fn with(self, reason: String) -> HandChange {
        match self {
            Self::Halt => HandChange::Halt { reason },
            Self::Resume => HandChange::Resume { reason },
            Self::Withdraw => HandChange::Withdraw { reason },
        }
    }
}

pub fn rollout_id(text: &str) -> ApiResult<RolloutId> {
    text.parse().map_err(|_| ApiError::NoSuchRollout)
}

/// Changes a rollout by hand and tells everyone who follows it.
pub async fn apply(
    app: &AppState,
    id: RolloutId,
    kind: ChangeKind,
    reason: &str,
    by: &Actor,
) -> ApiResult<()> {
    let change = kind.with(checked_reason(reason)?);
    let rollout = app
        .store
        .change_rollout(id, &change, by, app.clock.now())
        .await?;
    info!(
        rollout.id = %id,
        rollout.version = %rollout.scope.version,
        phase = rollout.phase.as_str(),
        by = %by,
        "rollout {id} of {} is {} by hand", rollout.scope, rollout.phase.as_str()
    );
    // Nobody need be listening.
    let _ = app.changes.send(id);
    app.executor.wake();
    Ok(())
}

/// Characters of a reason; it is told to machines too.
pub const MAX_REASON_CHARS: usize = 1000;

fn checked_reason(text: &str) -> Result<String, InvalidText> {
    // A form field has line breaks; a line of a log has none.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let fits = (1..=MAX_REASON_CHARS).contains(&text.chars().count());
    if fits && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    Err(InvalidText {
        what: "reason",
        expected: "1 to 1,000 printable characters",
    })
}

/// The view of a rollout for an audience.
pub async fn load(app: &AppState, id: RolloutId, audience: Audience) -> ApiResult<RolloutView> {
    let rollout = app.store.rollout(id).await?;
    let looks = app.store.looks(id, MAX_LOOKS).await?;
    let events = app.store.rollout_events(id, None, false, MAX_EVENTS);
    let events = events.await?;
    let exposed = match audience {
        Audience::Operator => app.store.exposed_machines(id, MAX_MACHINES).await?,
        Audience::Public => Vec::new(),
    };
    let now = app.clock.now();
    Ok(RolloutView::new(
        &rollout, &looks, &exposed, &events, now, audience,
    ))
}

/// The newest rollouts in short.
pub async fn summaries(app: &AppState) -> ApiResult<Vec<RolloutSummary>> {
    let mut rollouts = app.store.rollouts().await?;
    rollouts.truncate(MAX_ROLLOUTS);
    let mut summaries = Vec::with_capacity(rollouts.len());
    for rollout in &rollouts {
        summaries.push(summary(app, rollout).await?);
    }
    Ok(summaries)
}

async fn summary(app: &AppState, rollout: &Rollout) -> ApiResult<RolloutSummary> {
    let last = app.store.looks(rollout.id, 1).await?;
    Ok(RolloutSummary::new(rollout, &last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_line_and_says_something() {
        assert_eq!(
            checked_reason(" hanging\r\nmounts ").unwrap(),
            "hanging mounts"
        );
        for bad in ["", " \n ", "a\u{1b}[2Jb", &"x".repeat(1001)] {
            assert!(checked_reason(bad).is_err(), "{bad:?}");
        }
    }
}
