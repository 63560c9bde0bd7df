//! The whole fleet: machines and accounts found, machines counted, and table `fleet_sample`.

use jiff::Timestamp;
use sqlx::FromRow;
use suture_store::{
    Account, AccountQuery, FleetGroup, FleetSample, Forget, HEARD_SECS, InconsistentRow,
    ListedAccount, ListedMachine, MachineQuery, StoreError,
};

use super::account::{self, AccountRow};
use super::dialect::Connection;
use super::machine::{MachineRow, with_columns};
use crate::column::{count, database, parse, time};

const SAMPLE: &str = "fleet_sample";

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

#[derive(FromRow)]
struct ListedMachineRow {
    #[sqlx(flatten)]
    machine: MachineRow,
    owner: String,
}

/// What was not asked for is an empty text or zero, which databases need no type for.
pub async fn find_machines(
    connection: &mut Connection,
    query: &MachineQuery,
) -> Result<Vec<ListedMachine>, StoreError> {
    let after = query.after.as_ref();
    let rows: Vec<ListedMachineRow> = sqlx::query_as(with_columns!(
        "SELECT",
        ", (SELECT email FROM account WHERE account.id = machine.account_id) AS owner
         FROM machine
         WHERE (account_id > $1 OR (account_id = $1 AND machine_id > $2))
           AND (lower(hostname) LIKE $3 ESCAPE '\\' OR machine_id LIKE $4 ESCAPE '\\')
           AND lower(release) LIKE $5 ESCAPE '\\'
           AND ($6 = '' OR state = $6)
           AND ($7 = '' OR applied = $7)
           AND ($8 = '' OR account_id = $8)
           AND ($9 = 0 OR coalesce(checked_in_ms, 0) < $9)
         ORDER BY account_id, machine_id LIMIT $10"
    ))
    .bind(after.map_or_else(String::new, |(account, _)| account.to_string()))
    .bind(after.map_or("", |(_, machine)| machine.as_str()))
    .bind(containing(query.text.as_deref()))
    .bind(starting(query.text.as_deref()))
    .bind(containing(query.kernel.as_deref()))
    .bind(query.state.map_or("", |state| state.as_str()))
    .bind(text(query.applied))
    .bind(text(query.account))
    .bind(query.silent_since.map_or(0, Timestamp::as_millisecond))
    .bind(i64::from(query.limit))
    .fetch_all(connection)
    .await
    .map_err(database("find machines"))?;
    let listed = |row: ListedMachineRow| {
        Ok(ListedMachine {
            machine: row.machine.try_into()?,
            owner: parse("account", "email", &row.owner)?,
        })
    };
    let machines: Result<_, InconsistentRow> = rows.into_iter().map(listed).collect();
    Ok(machines?)
}

#[derive(FromRow)]
struct ListedAccountRow {
    #[sqlx(flatten)]
    account: AccountRow,
    machines: i64,
}

pub async fn find_accounts(
    connection: &mut Connection,
    query: &AccountQuery,
) -> Result<Vec<ListedAccount>, StoreError> {
    let rows: Vec<ListedAccountRow> = sqlx::query_as(account::with_columns!(
        "SELECT",
        ", (SELECT count(*) FROM machine WHERE machine.account_id = account.id) AS machines
             FROM account
             WHERE deleted_ms IS NULL AND id > $1 AND lower(email) LIKE $2 ESCAPE '\\'
             ORDER BY id LIMIT $3"
    ))
    .bind(text(query.after))
    .bind(containing(query.text.as_deref()))
    .bind(i64::from(query.limit))
    .fetch_all(connection)
    .await
    .map_err(database("find accounts"))?;
    let listed = |row: ListedAccountRow| {
        Ok(ListedAccount {
            account: Account::try_from(row.account)?,
            machines: count("machine", "count", row.machines)?,
        })
    };
    let accounts: Result<_, InconsistentRow> = rows.into_iter().map(listed).collect();
    Ok(accounts?)
}

#[derive(FromRow)]
struct GroupRow {
    release: String,
    state: String,
    applied: String,
    machines: i64,
    heard: i64,
}

impl TryFrom<GroupRow> for FleetGroup {
    type Error = InconsistentRow;

    fn try_from(row: GroupRow) -> Result<Self, InconsistentRow> {
        let empty_is_none = |text: String| Some(text).filter(|text| !text.is_empty());
        let state = empty_is_none(row.state);
        let applied = empty_is_none(row.applied);
        Ok(Self {
            release: parse(SAMPLE, "release", &row.release)?,
            state: state
                .map(|state| parse(SAMPLE, "state", &state))
                .transpose()?,
            applied: applied
                .map(|version| parse(SAMPLE, "applied", &version))
                .transpose()?,
            machines: count(SAMPLE, "machines", row.machines)?,
            heard: count(SAMPLE, "heard", row.heard)?,
        })
    }
}

pub async fn groups(
    connection: &mut Connection,
    now: Timestamp,
) -> Result<Vec<FleetGroup>, StoreError> {
    let rows: Vec<GroupRow> = sqlx::query_as(
        "SELECT release, coalesce(state, '') AS state, coalesce(applied, '') AS applied,
             count(*) AS machines,
             count(CASE WHEN checked_in_ms > $1 THEN 1 END) AS heard
         FROM machine
         GROUP BY release, coalesce(state, ''), coalesce(applied, '')
         ORDER BY 1, 2, 3",
    )
    .bind(now.as_millisecond() - HEARD_SECS * 1000)
    .fetch_all(connection)
    .await
    .map_err(database("count the fleet"))?;
    let groups: Result<_, InconsistentRow> = rows.into_iter().map(FleetGroup::try_from).collect();
    Ok(groups?)
}

pub async fn has_sample(connection: &mut Connection, hour: Timestamp) -> Result<bool, StoreError> {
    let found: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM (SELECT at_ms FROM fleet_sample WHERE at_ms = $1 LIMIT 1) AS found",
    )
    .bind(hour.as_millisecond())
    .fetch_one(connection)
    .await
    .map_err(database("look for a sample of the fleet"))?;
    Ok(found > 0)
}

pub async fn keep_sample(
    connection: &mut Connection,
    hour: Timestamp,
    groups: &[FleetGroup],
) -> Result<(), StoreError> {
    for group in groups {
        sqlx::query(
            "INSERT INTO fleet_sample (at_ms, release, state, applied, machines, heard)
             VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (at_ms, release, state, applied) DO NOTHING",
        )
        .bind(hour.as_millisecond())
        .bind(group.release.as_str())
        .bind(group.state.map_or("", |state| state.as_str()))
        .bind(text(group.applied))
        .bind(i64::try_from(group.machines).unwrap_or(i64::MAX))
        .bind(i64::try_from(group.heard).unwrap_or(i64::MAX))
        .execute(&mut *connection)
        .await
        .map_err(database("keep a sample of the fleet"))?;
    }
    let forget = Forget::at(hour);
    sqlx::query(
        "DELETE FROM fleet_sample
         WHERE at_ms < $1 OR (at_ms < $2 AND at_ms % $3 <> 0)",
    )
    .bind(forget.all_before.as_millisecond())
    .bind(forget.hourly_before.as_millisecond())
    .bind(DAY_MS)
    .execute(connection)
    .await
    .map_err(database("forget old samples of the fleet"))?;
    Ok(())
}

#[derive(FromRow)]
struct SampleRow {
    at_ms: i64,
    #[sqlx(flatten)]
    group: GroupRow,
}

pub async fn samples(
    connection: &mut Connection,
    since: Timestamp,
) -> Result<Vec<FleetSample>, StoreError> {
    let rows: Vec<SampleRow> = sqlx::query_as(
        "SELECT at_ms, release, state, applied, machines, heard FROM fleet_sample
         WHERE at_ms >= $1 ORDER BY at_ms, release, state, applied",
    )
    .bind(since.as_millisecond())
    .fetch_all(connection)
    .await
    .map_err(database("read the fleet's course"))?;
    let sample = |row: SampleRow| {
        Ok(FleetSample {
            at: time(SAMPLE, "at_ms", row.at_ms)?,
            group: row.group.try_into()?,
        })
    };
    let samples: Result<_, InconsistentRow> = rows.into_iter().map(sample).collect();
    Ok(samples?)
}

fn text(value: Option<impl ToString>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// A pattern of `LIKE` for texts that contain this one, in lower case.
fn containing(text: Option<&str>) -> String {
    format!("%{}%", literal(text.unwrap_or_default()))
}

fn starting(text: Option<&str>) -> String {
    format!("{}%", literal(text.unwrap_or_default()))
}

fn literal(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for letter in text.to_lowercase().chars() {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_look_for_is_no_pattern() {
        assert_eq!(containing(Some("Web_1%")), "%web\\_1\\%%");
        assert_eq!(starting(Some("a\\b")), "a\\\\b%");
        assert_eq!(containing(None), "%%");
    }
}
