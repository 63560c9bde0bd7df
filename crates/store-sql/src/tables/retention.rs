//! Forgets what is old, of several tables.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::FromRow;
use suture_protocol::MachineId;
use suture_rollout::Phase;
use suture_store::{
    AccountId, ExposurePlace, HistoryBounds, KEPT_LOOKS, RetentionStore, StoreError, Swept,
};

use super::dialect::{self, Connection, Database, each_number, each_row};
use super::finding::FINISHED;
use super::look::evenly;
use super::rollout;
use crate::column::{count, database, json, parse, time, to_json};

const TABLE: &str = "exposure";

#[async_trait]
impl RetentionStore for Database {
    async fn forget_past_rollouts(
        &self,
        bounds: HistoryBounds,
        at_most: u32,
    ) -> Result<u64, StoreError> {
        transaction!(self, |connection| past_rollouts(
            connection, bounds, at_most
        ))
    }

    async fn forget_exposures(
        &self,
        before: Timestamp,
        from: &ExposurePlace,
        at_most: u32,
    ) -> Result<Swept<ExposurePlace>, StoreError> {
        transaction!(self, |connection| exposures(
            connection, before, from, at_most
        ))
    }

    async fn forget_events(
        &self,
        before: Timestamp,
        after: u64,
        at_most: u32,
    ) -> Result<Swept<u64>, StoreError> {
        transaction!(self, |connection| events(
            connection, before, after, at_most
        ))
    }
}

/// A rollout that is over.
struct Past {
    id: String,
    /// Among all rollouts, by when they were made.
    number: i64,
    looks: u32,
    over: Timestamp,
}

async fn past_rollouts(
    connection: &mut Connection,
    bounds: HistoryBounds,
    at_most: u32,
) -> Result<u64, StoreError> {
    let past = past(&mut *connection, bounds.details).await?;
    let (long, short): (Vec<_>, Vec<_>) = past.iter().partition(|it| it.over < bounds.harm);
    let long = evidence(&mut *connection, &long, true, at_most).await?;
    let short = evidence(&mut *connection, &short, false, at_most).await?;
    Ok(long + short + looks(connection, &past, at_most).await?)
}

/// The rollouts that were over before a time, by when they were made.
async fn past(connection: &mut Connection, before: Timestamp) -> Result<Vec<Past>, StoreError> {
    #[derive(FromRow)]
    struct Row {
        id: String,
        number: i64,
        looks: i64,
        phase: String,
    }
    let rows: Vec<Row> =
        sqlx::query_as("SELECT id, number, looks, phase FROM rollout ORDER BY number")
            .fetch_all(connection)
            .await
            .map_err(database("find past rollouts"))?;
    let mut past = Vec::new();
    for row in rows {
        let phase: Phase = json(rollout::TABLE, "phase", &row.phase)?;
        let (Phase::Complete { at } | Phase::Withdrawn { at, .. }) = phase else {
            continue;
        };
        if at >= before {
            continue;
        }
        past.push(Past {
            id: row.id,
            number: row.number,
            looks: count(rollout::TABLE, "looks", row.looks)?,
            over: at,
        });
    }
    Ok(past)
}

/// Links of events to rollouts, and findings: harmless ones, or all.
async fn evidence(
    connection: &mut Connection,
    past: &[&Past],
    harm_too: bool,
    at_most: u32,
) -> Result<u64, StoreError> {
    if past.is_empty() {
        return Ok(0);
    }
    let rows: Vec<_> = past.iter().map(|it| (&it.id,)).collect();
    let rows = to_json(&rows)?;
    let links = sqlx::query(concat!(
        "DELETE FROM event_of_rollout WHERE (rollout_id, number) IN (
             SELECT o.rollout_id, o.number FROM ",
        each_row!("$1"),
        " JOIN event_of_rollout o ON o.rollout_id = r.value ->> 0
             WHERE o.harm = $2 OR o.harm = $3 LIMIT $4)"
    ))
    .bind(&rows)
    .bind(false)
    .bind(harm_too)
    .bind(i64::from(at_most))
    .execute(&mut *connection)
    .await
    .map_err(database("forget what events said to past rollouts"))?;
    let findings = sqlx::query(concat!(
        "DELETE FROM finding WHERE (rollout_id, number) IN (
             SELECT f.rollout_id, f.number FROM ",
        each_row!("$1"),
        " JOIN finding f ON f.rollout_id = r.value ->> 0
             WHERE f.kind = $2 OR $3 LIMIT $4)"
    ))
    .bind(&rows)
    .bind(FINISHED)
    .bind(harm_too)
    .bind(i64::from(at_most))
    .execute(connection)
    .await
    .map_err(database("forget what past rollouts learned"))?;
    Ok(links.rows_affected() + findings.rows_affected())
}

/// Those between the looks that pages show.
async fn looks(
    connection: &mut Connection,
    past: &[Past],
    at_most: u32,
) -> Result<u64, StoreError> {
    let mut forgotten = 0;
    for rollout in past.iter().filter(|it| it.looks > KEPT_LOOKS) {
        let kept = to_json(&evenly(rollout.looks, KEPT_LOOKS))?;
        let done = sqlx::query(concat!(
            "DELETE FROM rollout_look WHERE rollout_id = $1 AND number IN (
                 SELECT number FROM rollout_look WHERE rollout_id = $1 AND number NOT IN ",
            each_number!("$2"),
            " LIMIT $3)"
        ))
        .bind(&rollout.id)
        .bind(kept)
        .bind(i64::from(at_most))
        .execute(&mut *connection)
        .await
        .map_err(database("forget looks at past rollouts"))?;
        forgotten += done.rows_affected();
    }
    Ok(forgotten)
}

async fn exposures(
    connection: &mut Connection,
    before: Timestamp,
    from: &ExposurePlace,
    at_most: u32,
) -> Result<Swept<ExposurePlace>, StoreError> {
    let past = past(&mut *connection, before).await?;
    let at = |number: i64| past.iter().find(|it| it.number >= number);
    let Some(rollout) = at(from.rollout) else {
        let next = None;
        return Ok(Swept { forgotten: 0, next });
    };
    let start = match rollout.number == from.rollout {
        true => columns(&from.after),
        false => columns(&None),
    };
    let page = exposures_after(&mut *connection, rollout, &start, at_most).await?;
    let full = page.len() == at_most as usize;
    let forgotten = match page.last() {
        Some(last) => forget_between(connection, rollout, &start, last).await?,
        None => 0,
    };
    let next = match page.last().filter(|_| full) {
        Some((at, account, machine)) => Some(ExposurePlace {
            rollout: rollout.number,
            after: Some((
                time(TABLE, "exposed_ms", *at)?,
                parse(TABLE, "account_id", account)?,
                parse(TABLE, "machine_id", machine)?,
            )),
        }),
        None => at(rollout.number + 1).map(|next| ExposurePlace {
            rollout: next.number,
            after: None,
        }),
    };
    Ok(Swept { forgotten, next })
}

/// An exposure of one rollout as the table has it: its time in milliseconds, account, machine.
type Exposed = (i64, String, String);

/// The columns of an exposure; of none, what comes before all.
fn columns(after: &Option<(Timestamp, AccountId, MachineId)>) -> Exposed {
    match after {
        Some((at, account, machine)) => (
            at.as_millisecond(),
            account.to_string(),
            machine.as_str().to_owned(),
        ),
        None => (i64::MIN, String::new(), String::new()),
    }
}

async fn exposures_after(
    connection: &mut Connection,
    rollout: &Past,
    (at, account, machine): &Exposed,
    at_most: u32,
) -> Result<Vec<Exposed>, StoreError> {
    sqlx::query_as(
        "SELECT exposed_ms, account_id, machine_id FROM exposure
         WHERE rollout_id = $1 AND (exposed_ms, account_id, machine_id) > ($2, $3, $4)
         ORDER BY exposed_ms, account_id, machine_id LIMIT $5",
    )
    .bind(&rollout.id)
    .bind(at)
    .bind(account)
    .bind(machine)
    .bind(i64::from(at_most))
    .fetch_all(connection)
    .await
    .map_err(database("look through exposures"))
}

/// Of the exposures after one and up to another, those that nothing asks for any more.
async fn forget_between(
    connection: &mut Connection,
    rollout: &Past,
    (at, account, machine): &Exposed,
    last: &Exposed,
) -> Result<u64, StoreError> {
    let done = sqlx::query(
        "DELETE FROM exposure WHERE rollout_id = $1
             AND (exposed_ms, account_id, machine_id) > ($2, $3, $4)
             AND (exposed_ms, account_id, machine_id) <= ($5, $6, $7)
             AND (NOT EXISTS (SELECT 1 FROM machine m
                     WHERE m.account_id = exposure.account_id
                         AND m.machine_id = exposure.machine_id)
                 OR EXISTS (SELECT 1 FROM exposure n JOIN rollout p ON p.id = n.rollout_id
                     WHERE n.account_id = exposure.account_id
                         AND n.machine_id = exposure.machine_id AND p.number > $8))",
    )
    .bind(&rollout.id)
    .bind(at)
    .bind(account)
    .bind(machine)
    .bind(last.0)
    .bind(&last.1)
    .bind(&last.2)
    .bind(rollout.number)
    .execute(connection)
    .await
    .map_err(database("forget exposures by past rollouts"))?;
    Ok(done.rows_affected())
}

async fn events(
    connection: &mut Connection,
    before: Timestamp,
    after: u64,
    at_most: u32,
) -> Result<Swept<u64>, StoreError> {
    let rows: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT number, received_ms FROM machine_event WHERE number > $1 ORDER BY number LIMIT $2",
    )
    .bind(i64::try_from(after).unwrap_or(i64::MAX))
    .bind(i64::from(at_most))
    .fetch_all(&mut *connection)
    .await
    .map_err(database("look through events"))?;
    let old = rows
        .iter()
        .take_while(|(_, received)| *received < before.as_millisecond());
    let Some((last, _)) = old.clone().last() else {
        let next = None;
        return Ok(Swept { forgotten: 0, next });
    };
    let done = sqlx::query(
        "DELETE FROM machine_event WHERE number > $1 AND number <= $2 AND NOT EXISTS (
             SELECT 1 FROM event_of_rollout o WHERE o.number = machine_event.number)",
    )
    .bind(i64::try_from(after).unwrap_or(i64::MAX))
    .bind(last)
    .execute(connection)
    .await
    .map_err(database("forget events"))?;
    let full = old.count() == at_most as usize;
    let last = count("machine_event", "number", *last)?;
    Ok(Swept {
        forgotten: done.rows_affected(),
        next: full.then_some(last),
    })
}
