//! Tables `machine_event` and `event_of_rollout`.

use sqlx::FromRow;
use suture_protocol::{EventKind, MachineEvent};
use suture_rollout::RolloutId;
use suture_store::{InconsistentRow, KeptEvent, StoreError, tells_harm};

use super::check_in::{Teller, Trial};
use super::dialect::{Connection, is_true};
use crate::column::{count, database, json, parse, time, to_json};

const TABLE: &str = "machine_event";

/// Keeps an event and says its number; none if it is known by its id, whatever it says now.
pub async fn add(
    connection: &mut Connection,
    teller: &Teller<'_>,
    event: &MachineEvent,
) -> Result<Option<i64>, StoreError> {
    sqlx::query_scalar(
        "INSERT INTO machine_event (account_id, machine_id, event_id, hostname, received_ms,
             at_ms, boot_id, kind, version, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (account_id, machine_id, event_id) DO NOTHING RETURNING number",
    )
    .bind(teller.machine.account.to_string())
    .bind(teller.machine.id.as_str())
    .bind(event.id.to_string())
    .bind(teller.machine.hostname.as_str())
    .bind(teller.now.as_millisecond())
    .bind(event.at.as_millisecond())
    .bind(&event.boot_id)
    .bind(event.kind.as_str())
    .bind(event.kind.version().map(|version| version.to_string()))
    .bind(to_json(&event.kind)?)
    .fetch_optional(connection)
    .await
    .map_err(database("keep an event"))
}

/// Notes that an event matters to a rollout.
pub async fn link(
    connection: &mut Connection,
    number: i64,
    trial: &Trial<'_>,
    kind: &EventKind,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO event_of_rollout (rollout_id, number, exposed, harm) VALUES ($1, $2, $3, $4)",
    )
    .bind(trial.known.course.id.to_string())
    .bind(number)
    .bind(trial.exposed)
    .bind(tells_harm(kind))
    .execute(connection)
    .await
    .map_err(database("keep an event"))?;
    Ok(())
}

#[derive(FromRow)]
struct EventRow {
    number: i64,
    event_id: String,
    account_id: String,
    machine_id: String,
    hostname: String,
    received_ms: i64,
    at_ms: i64,
    detail: String,
    exposed: bool,
}

impl TryFrom<EventRow> for KeptEvent {
    type Error = InconsistentRow;

    fn try_from(row: EventRow) -> Result<Self, InconsistentRow> {
        Ok(Self {
            number: count(TABLE, "number", row.number)?,
            id: parse(TABLE, "event_id", &row.event_id)?,
            account: parse(TABLE, "account_id", &row.account_id)?,
            machine: parse(TABLE, "machine_id", &row.machine_id)?,
            hostname: row.hostname,
            received: time(TABLE, "received_ms", row.received_ms)?,
            at: time(TABLE, "at_ms", row.at_ms)?,
            kind: json(TABLE, "detail", &row.detail)?,
            exposed: row.exposed,
        })
    }
}

/// Events that matter to a rollout, newest first.
pub async fn of_rollout(
    connection: &mut Connection,
    rollout: RolloutId,
    before: Option<u64>,
    harm_only: bool,
    at_most: u32,
) -> Result<Vec<KeptEvent>, StoreError> {
    // Two statements, so that each goes through its index and not through what it leaves out.
    const ALL: &str = "SELECT e.number, e.event_id, e.account_id, e.machine_id, e.hostname,
             e.received_ms, e.at_ms, e.detail, o.exposed
         FROM event_of_rollout o JOIN machine_event e ON e.number = o.number
         WHERE o.rollout_id = $1 AND o.number < $2 ORDER BY o.number DESC LIMIT $3";
    const HARMFUL: &str = concat!(
        "SELECT e.number, e.event_id, e.account_id, e.machine_id, e.hostname,
             e.received_ms, e.at_ms, e.detail, o.exposed
         FROM event_of_rollout o JOIN machine_event e ON e.number = o.number
         WHERE o.rollout_id = $1 AND ",
        is_true!("o.harm"),
        " AND o.number < $2
         ORDER BY o.number DESC LIMIT $3"
    );
    let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    let rows: Vec<EventRow> = sqlx::query_as(if harm_only { HARMFUL } else { ALL })
        .bind(rollout.to_string())
        .bind(before)
        .bind(i64::from(at_most))
        .fetch_all(connection)
        .await
        .map_err(database("list events"))?;
    let events = rows.into_iter().map(KeptEvent::try_from);
    Ok(events.collect::<Result<_, _>>()?)
}
