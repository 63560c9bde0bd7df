//! Table `told`: of which concerns owners were told.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::FromRow;
use suture_protocol::MachineId;
use suture_store::{
    Account, AccountId, Action, Actor, AttentionStore, AuditEntry, Concern, InconsistentRow,
    StoreError, UntoldConcern,
};

use super::dialect::{self, Connection, Database};
use super::{account, audit};
use crate::column::{database, parse};

const TABLE: &str = "told";

#[async_trait]
impl AttentionStore for Database {
    async fn set_letters(
        &self,
        account: AccountId,
        wanted: bool,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        transaction!(self, |connection| set_letters(
            connection, account, wanted, by, now
        ))
    }

    async fn untold_concerns(
        &self,
        heard: Timestamp,
        rested: Timestamp,
        after: Option<AccountId>,
        at_most: u32,
    ) -> Result<Vec<UntoldConcern>, StoreError> {
        untold(&mut *self.read().await?, heard, rested, after, at_most).await
    }

    async fn concerns_told(
        &self,
        account: AccountId,
        told: &[(MachineId, Concern)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        transaction!(self, |connection| keep(connection, account, told, now))
    }

    async fn forget_past_concerns(&self, heard: Timestamp) -> Result<(), StoreError> {
        transaction!(self, |connection| forget(connection, heard))
    }
}

/// Every concern that there is at present, as `account_id, machine_id, concern`; `$1` is until
/// when a silent machine was heard of.
macro_rules! concerns {
    () => {
        "SELECT account_id, machine_id, 'apply-failed' AS concern FROM machine
         WHERE state = 'apply-failed' AND replaced_by IS NULL
         UNION ALL SELECT account_id, machine_id, 'silent' FROM machine
         WHERE checked_in_ms < $1 AND replaced_by IS NULL
         UNION ALL SELECT account_id, machine_id, 'over-limit' FROM machine WHERE over_limit"
    };
}

#[derive(FromRow)]
struct ConcernRow {
    account_id: String,
    email: String,
    machine_id: String,
    hostname: String,
    concern: String,
}

impl TryFrom<ConcernRow> for UntoldConcern {
    type Error = InconsistentRow;

    fn try_from(row: ConcernRow) -> Result<Self, InconsistentRow> {
        Ok(Self {
            account: parse("machine", "account_id", &row.account_id)?,
            email: parse("account", "email", &row.email)?,
            machine: parse("machine", "machine_id", &row.machine_id)?,
            hostname: parse("machine", "hostname", &row.hostname)?,
            concern: parse(TABLE, "concern", &row.concern)?,
        })
    }
}

async fn untold(
    connection: &mut Connection,
    heard: Timestamp,
    rested: Timestamp,
    after: Option<AccountId>,
    at_most: u32,
) -> Result<Vec<UntoldConcern>, StoreError> {
    let rows: Vec<ConcernRow> = sqlx::query_as(concat!(
        "SELECT c.account_id, a.email, c.machine_id, m.hostname, c.concern FROM (",
        concerns!(),
        ") c
         JOIN account a ON a.id = c.account_id
         JOIN machine m ON m.account_id = c.account_id AND m.machine_id = c.machine_id
         LEFT JOIN told t ON t.account_id = c.account_id AND t.machine_id = c.machine_id
             AND t.concern = c.concern
         WHERE c.account_id > $3 AND t.concern IS NULL AND a.letters
             AND (a.lettered_ms IS NULL OR a.lettered_ms < $2)
         ORDER BY c.account_id, m.hostname, c.machine_id, c.concern LIMIT $4"
    ))
    .bind(heard.as_millisecond())
    .bind(rested.as_millisecond())
    .bind(after.map_or(String::new(), |account| account.to_string()))
    .bind(i64::from(at_most))
    .fetch_all(connection)
    .await
    .map_err(database("find what owners should know"))?;
    let concerns = rows.into_iter().map(UntoldConcern::try_from);
    Ok(concerns.collect::<Result<_, _>>()?)
}

async fn keep(
    connection: &mut Connection,
    account: AccountId,
    told: &[(MachineId, Concern)],
    now: Timestamp,
) -> Result<(), StoreError> {
    for (machine, concern) in told {
        sqlx::query(
            "INSERT INTO told (account_id, machine_id, concern) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
        )
        .bind(account.to_string())
        .bind(machine.as_str())
        .bind(concern.as_str())
        .execute(&mut *connection)
        .await
        .map_err(database("keep what an owner was told"))?;
    }
    sqlx::query("UPDATE account SET lettered_ms = $2 WHERE id = $1")
        .bind(account.to_string())
        .bind(now.as_millisecond())
        .execute(connection)
        .await
        .map_err(database("keep when an owner was told"))?;
    Ok(())
}

async fn forget(connection: &mut Connection, heard: Timestamp) -> Result<(), StoreError> {
    sqlx::query(concat!(
        "DELETE FROM told WHERE NOT EXISTS (SELECT 1 FROM (",
        concerns!(),
        ") c WHERE c.account_id = told.account_id AND c.machine_id = told.machine_id
             AND c.concern = told.concern)"
    ))
    .bind(heard.as_millisecond())
    .execute(connection)
    .await
    .map_err(database("forget what is over"))?;
    Ok(())
}

async fn set_letters(
    connection: &mut Connection,
    account: AccountId,
    wanted: bool,
    by: &Actor,
    now: Timestamp,
) -> Result<Account, StoreError> {
    sqlx::query("UPDATE account SET letters = $2 WHERE id = $1 AND deleted_ms IS NULL")
        .bind(account.to_string())
        .bind(wanted)
        .execute(&mut *connection)
        .await
        .map_err(database("change whether an owner gets letters"))?;
    let changed = account::by_id(&mut *connection, account).await?;
    let said = if wanted { "wanted" } else { "not wanted" };
    let line = AuditEntry {
        reason: Some(said.to_owned()),
        ..account::line(account, Action::ChangeLetters, by, now)
    };
    audit::add(connection, line).await?;
    Ok(changed)
}
