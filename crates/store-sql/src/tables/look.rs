//! Table `rollout_look`.

use jiff::Timestamp;
use sqlx::FromRow;
use suture_rollout::{Phase, RolloutId};
use suture_store::{
    Action, Actor, AuditEntry, InconsistentRow, Look, PastLook, Rollout, StoreError,
};

use super::dialect::{Connection, each_number};
use super::{audit, rollout};
use crate::column::{count, database, json, to_json};

const TABLE: &str = "rollout_look";

/// Keeps a look and what it decided; false if the rollout is not what it was.
pub async fn record(
    connection: &mut Connection,
    before: &Rollout,
    look: &Look,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let decision = &look.decision;
    // Times of looks never go back, whatever the clock does: silences are counted between them.
    let updated = sqlx::query(
        "UPDATE rollout SET revision = revision + 1, looks = looks + 1, phase = $3, cap = $4,
             decision = $5, ledger = $6, seen = $7,
             back_ms = CASE WHEN $8 - coalesce(looked_ms, created_ms) > $9 THEN $8
                 ELSE back_ms END,
             looked_ms = CASE WHEN looked_ms > $8 THEN looked_ms
                 WHEN looked_ms IS NULL AND created_ms > $8 THEN created_ms ELSE $8 END
         WHERE id = $1 AND revision = $2",
    )
    .bind(before.id.to_string())
    .bind(stored(before.revision))
    .bind(to_json(&decision.phase)?)
    .bind(decision.cap.to_string())
    .bind(to_json(decision)?)
    .bind(to_json(&look.ledger)?)
    .bind(stored(look.observation.seen))
    .bind(look.observation.tick.at.as_millisecond())
    .bind(Rollout::AWAY_SECS * 1000)
    .execute(&mut *connection)
    .await
    .map_err(database("record a look"))?;
    if updated.rows_affected() == 0 {
        return Ok(false);
    }
    add(&mut *connection, before, look).await?;
    if let Some(action) = action(&before.phase, &decision.phase) {
        let line = AuditEntry {
            reason: Some(decision.sentence.clone()),
            ..rollout::line(before.id, action, &Actor::Service, now)
        };
        audit::add(connection, line).await?;
    }
    Ok(true)
}

/// A number that grows by one at a time and never gets so far.
fn stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

async fn add(connection: &mut Connection, before: &Rollout, look: &Look) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO rollout_look (rollout_id, number, tick, fleet, decision)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(before.id.to_string())
    .bind(i64::from(before.looks) + 1)
    .bind(to_json(&look.observation.tick)?)
    .bind(to_json(&look.observation.fleet)?)
    .bind(to_json(&look.decision)?)
    .execute(connection)
    .await
    .map_err(database("record a look"))?;
    Ok(())
}

/// What the audit log calls the change; none if there is none.
fn action(before: &Phase, after: &Phase) -> Option<Action> {
    if before == after {
        return None;
    }
    match (before, after) {
        (_, Phase::Planned { .. }) => None,
        (Phase::Running { .. }, Phase::Running { .. }) => Some(Action::WidenRollout),
        (_, Phase::Running { .. }) => Some(Action::StartRollout),
        (_, Phase::Halted { .. }) => Some(Action::HaltRollout),
        (_, Phase::Withdrawn { .. }) => Some(Action::WithdrawRollout),
        (_, Phase::Complete { .. }) => Some(Action::CompleteRollout),
    }
}

#[derive(FromRow)]
struct LookRow {
    number: i64,
    tick: String,
    fleet: String,
    decision: String,
}

impl TryFrom<LookRow> for PastLook {
    type Error = InconsistentRow;

    fn try_from(row: LookRow) -> Result<Self, InconsistentRow> {
        Ok(Self {
            number: count(TABLE, "number", row.number)?,
            tick: json(TABLE, "tick", &row.tick)?,
            fleet: json(TABLE, "fleet", &row.fleet)?,
            decision: json(TABLE, "decision", &row.decision)?,
        })
    }
}

/// Looks of a rollout, oldest first, thinned out to at most so many.
pub async fn thinned(
    connection: &mut Connection,
    id: RolloutId,
    at_most: u32,
) -> Result<Vec<PastLook>, StoreError> {
    let looks = rollout::by_id(&mut *connection, id).await?.looks;
    let rows: Vec<LookRow> = sqlx::query_as(concat!(
        "SELECT number, tick, fleet, decision FROM rollout_look
         WHERE rollout_id = $1 AND number IN ",
        each_number!("$2"),
        " ORDER BY number"
    ))
    .bind(id.to_string())
    .bind(to_json(&evenly(looks, at_most))?)
    .fetch_all(connection)
    .await
    .map_err(database("list looks"))?;
    let looks = rows.into_iter().map(PastLook::try_from);
    Ok(looks.collect::<Result<_, _>>()?)
}

/// At most so many of the numbers from 1 to `last`, evenly, the last one always included.
pub fn evenly(last: u32, at_most: u32) -> Vec<u32> {
    let wanted = last.min(at_most);
    let nth = |place: u32| u64::from(last) * u64::from(place) / u64::from(wanted);
    // No larger than `last`.
    (1..=wanted).map(|place| nth(place) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_thinned_out_evenly_up_to_the_last() {
        assert!(evenly(0, 10).is_empty());
        assert_eq!(evenly(3, 10), [1, 2, 3]);
        assert_eq!(evenly(10, 5), [2, 4, 6, 8, 10]);
        assert_eq!(evenly(7, 3), [2, 4, 7]);
        assert_eq!(evenly(7, 1), [7]);
        assert!(evenly(7, 0).is_empty());
    }
}
