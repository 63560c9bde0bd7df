//! The whole fleet as JSON, for operators.

use axum::Json;
use axum::extract::{Path, Query, State};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use suture_protocol::{MachineId, MachineState, Problem};
use suture_store::{AccountId, GroupName, InvalidText, MachineQuery};
use utoipa::{IntoParams, ToSchema};

use super::accounts::account_id;
use crate::lists;
use crate::operator::{Operator, OperatorRefusals};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;
use crate::view::{FleetView, MachinePage, read_place};

/// Machines in a piece of the list, at most.
pub(super) const MAX_MACHINES: u32 = 200;

/// Days of the fleet's course that are told.
const COURSE_DAYS: i64 = 90;

/// Longest text to look for.
const MAX_TEXT: usize = 100;

/// The fleet counted, and its course.
#[utoipa::path(
    get,
    path = "/v1/fleet",
    tag = "fleet",
    security(("operator_key" = [])),
    responses(
        (status = OK, description = "the fleet", body = FleetView),
        OperatorRefusals,
    ),
)]
pub async fn show(State(app): State<AppState>, _operator: Operator) -> ApiResult<Json<FleetView>> {
    Ok(Json(view(&app).await?))
}

/// What to look for among machines.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MachineSearch {
    /// A part of the host name, or the start of the machine's id.
    #[serde(default)]
    pub text: String,
    /// A part of the kernel's release.
    #[serde(default)]
    pub kernel: String,
    /// `applied`, `applying`, `unapplied` or `apply-failed`.
    #[serde(default)]
    pub state: String,
    /// The version in force, e.g. `104.1`.
    #[serde(default)]
    pub applied: String,
    /// An account's id.
    #[serde(default)]
    pub account: String,
    /// Not heard of for so many hours.
    #[serde(default)]
    pub silent_hours: String,
    /// What the piece before gave as `next`.
    #[serde(default)]
    pub after: String,
    /// Machines wanted (default and most: 200).
    pub limit: Option<u32>,
}

impl MachineSearch {
    /// What was not filled in is not looked for.
    pub(super) fn query(&self, now: Timestamp, limit: u32) -> Result<MachineQuery, InvalidText> {
        let wrong = |what, expected| InvalidText { what, expected };
        let silent = |hours: u32| {
            now.checked_sub(SignedDuration::from_hours(hours.into()))
                .ok()
        };
        Ok(MachineQuery {
            text: short_text(&self.text)?,
            kernel: short_text(&self.kernel)?,
            state: filled(&self.state, |text| text.parse::<MachineState>().ok()).map_err(|()| {
                wrong(
                    "state",
                    "`applied`, `applying`, `unapplied` or `apply-failed`",
                )
            })?,
            applied: filled(&self.applied, |text| text.parse().ok())
                .map_err(|()| wrong("version", "a form like `104.1`"))?,
            account: filled(&self.account, |text| text.parse().ok())
                .map_err(|()| wrong("account", "an account's id"))?,
            silent_since: filled(&self.silent_hours, |text| silent(text.parse().ok()?))
                .map_err(|()| wrong("time of silence", "a number of hours"))?,
            after: filled(&self.after, read_place)
                .map_err(|()| wrong("place in the list", "what the piece before gave as `next`"))?,
            limit: limit.clamp(1, MAX_MACHINES),
        })
    }

    /// The same search, as it stands in an address; `next` goes on after that machine.
    pub(super) fn address(&self, path: &str, next: &str) -> String {
        let words = [
            ("text", self.text.as_str()),
            ("kernel", &self.kernel),
            ("state", &self.state),
            ("applied", &self.applied),
            ("account", &self.account),
            ("silent_hours", &self.silent_hours),
            ("after", next),
        ];
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(words.iter().filter(|(_, value)| !value.is_empty()));
        format!("{path}?{}", query.finish())
    }
}

/// None for what was not filled in; an error for what can't be read.
fn filled<T>(text: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, ()> {
    match text.trim() {
        "" => Ok(None),
        text => read(text).map(Some).ok_or(()),
    }
}

/// A text to look for; none if nothing was filled in.
pub(super) fn short_text(text: &str) -> Result<Option<String>, InvalidText> {
    let fits = |text: &str| (text.len() <= MAX_TEXT).then(|| text.to_owned());
    filled(text, fits).map_err(|()| InvalidText {
        what: "text to look for",
        expected: "at most 100 bytes",
    })
}

/// All machines, in pieces.
#[utoipa::path(
    get,
    path = "/v1/fleet/machines",
    tag = "fleet",
    security(("operator_key" = [])),
    params(MachineSearch),
    responses(
        (status = OK, description = "the machines", body = MachinePage),
        OperatorRefusals,
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn machines(
    State(app): State<AppState>,
    _operator: Operator,
    Query(search): Query<MachineSearch>,
) -> ApiResult<Json<MachinePage>> {
    let limit = search.limit.unwrap_or(MAX_MACHINES);
    let query = search.query(app.clock.now(), limit)?;
    Ok(Json(lists::machines(app.store.as_ref(), &query).await?))
}

/// Releases a machine of an account: it keeps what it has and gets nothing new.
#[utoipa::path(
    delete,
    path = "/v1/accounts/{id}/machines/{machine}",
    tag = "fleet",
    security(("operator_key" = [])),
    params(("id" = String, Path, description = "the account's id"),
        ("machine" = String, Path, description = "the machine's id")),
    responses(
        (status = NO_CONTENT, description = "released"),
        OperatorRefusals,
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn release(
    State(app): State<AppState>,
    Path((account, machine)): Path<(String, String)>,
    operator: Operator,
) -> ApiResult<axum::http::StatusCode> {
    let (account, machine) = (account_id(&account)?, machine_id(&machine)?);
    let now = app.clock.now();
    let released = app
        .store
        .release_machine(account, &machine, &operator.actor(), now)
        .await;
    released.map_err(ApiError::of_operator)?;
    Ok(axum::http::StatusCode::NO_CONTENT)
}

/// Where a machine is to be.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct GroupRequest {
    /// Name of a group that rollout plans name; none: the machine is in no group.
    pub group: Option<String>,
}

/// Puts a machine into a group, or out of any.
#[utoipa::path(
    put,
    path = "/v1/accounts/{id}/machines/{machine}/group",
    tag = "fleet",
    security(("operator_key" = [])),
    params(("id" = String, Path, description = "the account's id"),
        ("machine" = String, Path, description = "the machine's id")),
    request_body = GroupRequest,
    responses(
        (status = NO_CONTENT, description = "done"),
        OperatorRefusals,
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn set_group(
    State(app): State<AppState>,
    Path((account, machine)): Path<(String, String)>,
    operator: Operator,
    Json(request): Json<GroupRequest>,
) -> ApiResult<axum::http::StatusCode> {
    let (account, machine) = (account_id(&account)?, machine_id(&machine)?);
    let group: Option<GroupName> = request.group.map(|name| name.parse()).transpose()?;
    let (by, now) = (operator.actor(), app.clock.now());
    let changed = app
        .store
        .set_machine_group(account, &machine, group.as_ref(), &by, now)
        .await;
    changed.map_err(ApiError::of_operator)?;
    Ok(axum::http::StatusCode::NO_CONTENT)
}

fn machine_id(text: &str) -> ApiResult<MachineId> {
    text.parse().map_err(|_| ApiError::NoSuchMachine)
}

pub(super) async fn view(app: &AppState) -> ApiResult<FleetView> {
    let now = app.clock.now();
    let (at, groups) = app.fleet.groups(app.store.as_ref(), now).await?;
    let days = SignedDuration::from_hours(COURSE_DAYS * 24);
    let since = now.checked_sub(days).unwrap_or(Timestamp::MIN);
    let samples = app.store.fleet_samples(since).await?;
    Ok(FleetView::new(&groups, &samples, at))
}

/// All machines of an account, the first [`MAX_MACHINES`] of them.
pub(super) async fn of_account(app: &AppState, account: AccountId) -> ApiResult<MachinePage> {
    let query = MachineQuery {
        account: Some(account),
        limit: MAX_MACHINES,
        ..MachineQuery::default()
    };
    Ok(lists::machines(app.store.as_ref(), &query).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_as_it_was_filled_in() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let search = MachineSearch {
            text: " web ".to_owned(),
            state: "apply-failed".to_owned(),
            silent_hours: "24".to_owned(),
            ..MachineSearch::default()
        };
        let query = search.query(now, 1000).unwrap();
        assert_eq!(query.text.as_deref(), Some("web"));
        assert_eq!(query.state, Some(MachineState::ApplyFailed));
        assert_eq!(
            query.silent_since.unwrap().to_string(),
            "2026-11-24T12:00:00Z"
        );
        assert_eq!((query.applied, query.limit), (None, MAX_MACHINES));
        assert_eq!(
            search.address("/m", "a/b"),
            "/m?text=+web+&state=apply-failed&silent_hours=24&after=a%2Fb"
        );
        let wrong = |change: fn(&mut MachineSearch)| {
            let mut search = MachineSearch::default();
            change(&mut search);
            search.query(now, 1).unwrap_err().to_string()
        };
        assert!(wrong(|it| it.state = "fine".to_owned()).contains("apply-failed"));
        assert!(wrong(|it| it.applied = "1".to_owned()).contains("104.1"));
        assert!(wrong(|it| it.silent_hours = "-1".to_owned()).contains("hours"));
        assert!(wrong(|it| it.after = "x".to_owned()).contains("`next`"));
        assert!(wrong(|it| it.text = "x".repeat(101)).contains("100 bytes"));
    }
}
