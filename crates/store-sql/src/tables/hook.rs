//! Table `hook`: how far other systems were told of what the audit log says.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::FromRow;
use suture_store::{
    HookName, HookState, HookStore, HookTrouble, InconsistentRow, NumberedEntry, StoreError,
};

use super::audit;
use super::dialect::{self, Connection, Database};
use crate::column::{count, database, parse, time};

const TABLE: &str = "hook";

#[async_trait]
impl HookStore for Database {
    async fn hooks(&self) -> Result<Vec<HookState>, StoreError> {
        all(&mut *self.read().await?).await
    }

    async fn begin_hook(&self, name: &HookName) -> Result<HookState, StoreError> {
        transaction!(self, |connection| begin(connection, name))
    }

    async fn keep_hook(&self, state: &HookState) -> Result<(), StoreError> {
        transaction!(self, |connection| keep(connection, state))
    }

    async fn audit_after(
        &self,
        after: u64,
        before: Timestamp,
        limit: u32,
    ) -> Result<Vec<NumberedEntry>, StoreError> {
        let connection = &mut *self.read().await?;
        let mut lines = audit::after(connection, after, limit).await?;
        let fresh = lines.iter().position(|line| line.entry.at >= before);
        lines.truncate(fresh.unwrap_or(lines.len()));
        Ok(lines)
    }
}

#[derive(FromRow)]
struct HookRow {
    name: String,
    told: i64,
    told_ms: Option<i64>,
    given_up: i64,
    tries: i64,
    next_ms: i64,
    trouble: String,
}

impl TryFrom<HookRow> for HookState {
    type Error = InconsistentRow;

    fn try_from(row: HookRow) -> Result<Self, InconsistentRow> {
        let tries = count(TABLE, "tries", row.tries)?;
        let next = time(TABLE, "next_ms", row.next_ms)?;
        let told_at = row.told_ms.map(|ms| time(TABLE, "told_ms", ms));
        Ok(Self {
            name: parse(TABLE, "name", &row.name)?,
            told: count(TABLE, "told", row.told)?,
            told_at: told_at.transpose()?,
            given_up: count(TABLE, "given_up", row.given_up)?,
            trouble: (tries > 0).then_some(HookTrouble {
                tries,
                next,
                what: row.trouble,
            }),
        })
    }
}

async fn all(connection: &mut Connection) -> Result<Vec<HookState>, StoreError> {
    let rows: Vec<HookRow> = sqlx::query_as(
        "SELECT name, told, told_ms, given_up, tries, next_ms, trouble FROM hook ORDER BY name",
    )
    .fetch_all(connection)
    .await
    .map_err(database("list hooks"))?;
    let states = rows.into_iter().map(HookState::try_from);
    Ok(states.collect::<Result<_, _>>()?)
}

async fn begin(connection: &mut Connection, name: &HookName) -> Result<HookState, StoreError> {
    sqlx::query(
        "INSERT INTO hook (name, told) SELECT $1, coalesce(max(number), 0) FROM audit
         WHERE TRUE ON CONFLICT (name) DO NOTHING",
    )
    .bind(name.as_str())
    .execute(&mut *connection)
    .await
    .map_err(database("begin a hook"))?;
    let row: HookRow = sqlx::query_as(
        "SELECT name, told, told_ms, given_up, tries, next_ms, trouble FROM hook WHERE name = $1",
    )
    .bind(name.as_str())
    .fetch_one(connection)
    .await
    .map_err(database("read a hook"))?;
    Ok(row.try_into()?)
}

async fn keep(connection: &mut Connection, state: &HookState) -> Result<(), StoreError> {
    let trouble = state.trouble.as_ref();
    sqlx::query(
        "UPDATE hook SET told = $2, told_ms = $3, given_up = $4, tries = $5, next_ms = $6,
             trouble = $7
         WHERE name = $1 AND told <= $2",
    )
    .bind(state.name.as_str())
    .bind(i64::try_from(state.told).unwrap_or(i64::MAX))
    .bind(state.told_at.map(Timestamp::as_millisecond))
    .bind(i64::try_from(state.given_up).unwrap_or(i64::MAX))
    .bind(trouble.map_or(0, |it| i64::from(it.tries)))
    .bind(trouble.map_or(0, |it| it.next.as_millisecond()))
    .bind(trouble.map_or("", |it| it.what.as_str()))
    .execute(connection)
    .await
    .map_err(database("keep how far a hook was told"))?;
    Ok(())
}
