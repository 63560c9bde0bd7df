//! Table `account`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sqlx::FromRow;
use suture_rollout::EarlyPreference;
use suture_store::{
    Account, AccountId, Action, Actor, AuditEntry, Credentials, EmailAddress, InconsistentRow,
    NewAccount, PasswordHash, Plan, StoreError, Subject,
};

use super::dialect::{Connection, each_text, is_address};
use super::{
    application, audit, identity, machine, passkey, password_reset, session, subscription, token,
};
use crate::column::{count, database, parse, parse_option, time, to_json};

const TABLE: &str = "account";

/// The columns of [`AccountRow`], after a statement's own words.
macro_rules! with_columns {
    ($before:expr, $after:expr) => {
        concat!(
            $before,
            " id, email, plan, granted_plan, machine_limit, early, letters, created_ms ",
            $after
        )
    };
}

pub(crate) use with_columns;

#[derive(FromRow)]
pub struct AccountRow {
    id: String,
    email: String,
    plan: String,
    granted_plan: String,
    machine_limit: Option<i64>,
    early: String,
    letters: bool,
    created_ms: i64,
}

impl TryFrom<AccountRow> for Account {
    type Error = InconsistentRow;

    fn try_from(row: AccountRow) -> Result<Self, InconsistentRow> {
        Ok(Self {
            id: parse(TABLE, "id", &row.id)?,
            email: parse(TABLE, "email", &row.email)?,
            plan: parse(TABLE, "plan", &row.plan)?,
            granted: parse(TABLE, "granted_plan", &row.granted_plan)?,
            limit: row
                .machine_limit
                .map(|limit| count(TABLE, "machine_limit", limit))
                .transpose()?,
            early: parse(TABLE, "early", &row.early)?,
            letters: row.letters,
            created: time(TABLE, "created_ms", row.created_ms)?,
        })
    }
}

pub async fn create(
    connection: &mut Connection,
    new: &NewAccount,
    by: &Actor,
    now: Timestamp,
) -> Result<Account, StoreError> {
    let row: Option<AccountRow> = sqlx::query_as(with_columns!(
        "INSERT INTO account (id, email, plan, granted_plan, created_ms)
         VALUES ($1, $2, $3, $3, $4)
         ON CONFLICT DO NOTHING RETURNING",
        ""
    ))
    .bind(AccountId::random().to_string())
    .bind(new.email.as_str())
    .bind(new.plan.as_str())
    .bind(now.as_millisecond())
    .fetch_optional(&mut *connection)
    .await
    .map_err(database("create an account"))?;
    let row = row.ok_or_else(|| StoreError::EmailTaken {
        email: new.email.clone(),
    })?;
    let account = Account::try_from(row)?;
    let line = line(account.id, Action::CreateAccount, by, now);
    audit::add(connection, line).await?;
    Ok(account)
}

pub async fn set_plan(
    connection: &mut Connection,
    account: AccountId,
    plan: Plan,
    by: &Actor,
    now: Timestamp,
) -> Result<Account, StoreError> {
    sqlx::query("UPDATE account SET granted_plan = $2 WHERE id = $1 AND deleted_ms IS NULL")
        .bind(account.to_string())
        .bind(plan.as_str())
        .execute(&mut *connection)
        .await
        .map_err(database("change a plan"))?;
    let changed = follow_plan(&mut *connection, account).await?;
    let line = AuditEntry {
        reason: Some(plan.as_str().to_owned()),
        ..line(account, Action::ChangePlan, by, now)
    };
    audit::add(connection, line).await?;
    Ok(changed)
}

pub async fn set_machine_limit(
    connection: &mut Connection,
    account: AccountId,
    limit: Option<u32>,
    by: &Actor,
    now: Timestamp,
) -> Result<Account, StoreError> {
    sqlx::query("UPDATE account SET machine_limit = $2 WHERE id = $1 AND deleted_ms IS NULL")
        .bind(account.to_string())
        .bind(limit.map(i64::from))
        .execute(&mut *connection)
        .await
        .map_err(database("change a limit"))?;
    let changed = follow_plan(&mut *connection, account).await?;
    let said = limit.map_or("as the plan says".to_owned(), |limit| limit.to_string());
    let line = AuditEntry {
        reason: Some(said),
        ..line(account, Action::ChangeMachineLimit, by, now)
    };
    audit::add(connection, line).await?;
    Ok(changed)
}

/// Gives the account the better of what an operator granted and what it pays for, and its
/// machines what follows from that.
pub async fn follow_plan(
    connection: &mut Connection,
    account: AccountId,
) -> Result<Account, StoreError> {
    let before = by_id(&mut *connection, account).await?;
    let paid = subscription::is_paid(&mut *connection, account).await?;
    let plan = if paid {
        Plan::Subscription
    } else {
        before.granted
    };
    sqlx::query("UPDATE account SET plan = $2 WHERE id = $1")
        .bind(account.to_string())
        .bind(plan.as_str())
        .execute(&mut *connection)
        .await
        .map_err(database("change a plan"))?;
    let changed = Account { plan, ..before };
    machine::mark_over_limit(connection, account, changed.machine_limit()).await?;
    Ok(changed)
}

/// Sets what the account wants of early groups.
pub async fn set_early(
    connection: &mut Connection,
    account: AccountId,
    preference: EarlyPreference,
    by: &Actor,
    now: Timestamp,
) -> Result<Account, StoreError> {
    let row: Option<AccountRow> = sqlx::query_as(with_columns!(
        "UPDATE account SET early = $2 WHERE id = $1 AND deleted_ms IS NULL RETURNING",
        ""
    ))
    .bind(account.to_string())
    .bind(preference.as_str())
    .fetch_optional(&mut *connection)
    .await
    .map_err(database("change an account's early preference"))?;
    let row = row.ok_or(StoreError::UnknownAccount { account })?;
    let line = AuditEntry {
        reason: Some(preference.as_str().to_owned()),
        ..line(account, Action::ChangeEarlyPreference, by, now)
    };
    audit::add(connection, line).await?;
    Ok(row.try_into()?)
}

#[derive(FromRow)]
struct CredentialsRow {
    id: String,
    password_hash: Option<String>,
}

/// What signs the owner of an address in.
pub async fn credentials(
    connection: &mut Connection,
    email: &EmailAddress,
) -> Result<Option<Credentials>, StoreError> {
    let row: Option<CredentialsRow> = sqlx::query_as(concat!(
        "SELECT id, password_hash FROM account WHERE ",
        is_address!("email", "$1")
    ))
    .bind(email.as_str())
    .fetch_optional(connection)
    .await
    .map_err(database("find an account"))?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Credentials {
        account: parse(TABLE, "id", &row.id)?,
        password: parse_option(TABLE, "password_hash", row.password_hash.as_deref())?,
    }))
}

pub async fn set_password(
    connection: &mut Connection,
    account: AccountId,
    password: &PasswordHash,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE account SET password_hash = $2 WHERE id = $1")
        .bind(account.to_string())
        .bind(password.expose())
        .execute(connection)
        .await
        .map_err(database("set a password"))?;
    Ok(())
}

/// Releases, revokes and ends all that the account has, and forgets whose it was. The address in
/// its place can be nobody's (source: RFC 2606, `.invalid`), and is free to register again.
pub async fn delete(
    connection: &mut Connection,
    account: AccountId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let by = Actor::Owner(account);
    for machine in machine::of_account(&mut *connection, account).await? {
        machine::release(&mut *connection, account, &machine.id, &by, now).await?;
    }
    for token in token::of_account(&mut *connection, account).await? {
        token::revoke(&mut *connection, token.id, &by, now).await?;
    }
    let known = by_id(&mut *connection, account).await?;
    application::forget(&mut *connection, &known.email).await?;
    password_reset::end_all(&mut *connection, account).await?;
    session::end_all_of_account(&mut *connection, account).await?;
    identity::forget_all(&mut *connection, account).await?;
    passkey::forget_all(&mut *connection, account).await?;
    subscription::forget(&mut *connection, account).await?;
    sqlx::query(
        "UPDATE account SET email = id || '@deleted.invalid', password_hash = NULL,
             deleted_ms = $2 WHERE id = $1",
    )
    .bind(account.to_string())
    .bind(now.as_millisecond())
    .execute(&mut *connection)
    .await
    .map_err(database("delete an account"))?;
    audit::add(connection, line(account, Action::DeleteAccount, &by, now)).await
}

/// The audit log's line of a change to the account itself.
pub fn line(account: AccountId, action: Action, by: &Actor, now: Timestamp) -> AuditEntry {
    AuditEntry {
        at: now,
        actor: by.clone(),
        action,
        account: Some(account),
        subject: Subject::Account(account),
        reason: None,
    }
}

pub async fn all(connection: &mut Connection) -> Result<Vec<Account>, StoreError> {
    let rows: Vec<AccountRow> = sqlx::query_as(with_columns!(
        "SELECT",
        "FROM account WHERE deleted_ms IS NULL ORDER BY email"
    ))
    .fetch_all(connection)
    .await
    .map_err(database("list accounts"))?;
    Ok(rows
        .into_iter()
        .map(Account::try_from)
        .collect::<Result<_, _>>()?)
}

pub async fn by_email(
    connection: &mut Connection,
    email: &EmailAddress,
) -> Result<Account, StoreError> {
    let row: Option<AccountRow> = sqlx::query_as(concat!(
        with_columns!("SELECT", "FROM account WHERE "),
        is_address!("email", "$1")
    ))
    .bind(email.as_str())
    .fetch_optional(connection)
    .await
    .map_err(database("find an account"))?;
    let row = row.ok_or_else(|| StoreError::UnknownEmail {
        email: email.clone(),
    })?;
    Ok(row.try_into()?)
}

/// The accounts with these ids, as far as they are there.
pub async fn by_ids(
    connection: &mut Connection,
    ids: &BTreeSet<String>,
) -> Result<Vec<Account>, StoreError> {
    let rows: Vec<AccountRow> = sqlx::query_as(with_columns!(
        "SELECT",
        concat!(
            "FROM account WHERE deleted_ms IS NULL AND id IN ",
            each_text!("$1")
        )
    ))
    .bind(to_json(ids)?)
    .fetch_all(connection)
    .await
    .map_err(database("find accounts"))?;
    let accounts = rows.into_iter().map(Account::try_from);
    Ok(accounts.collect::<Result<_, _>>()?)
}

pub async fn by_id(connection: &mut Connection, account: AccountId) -> Result<Account, StoreError> {
    let row: Option<AccountRow> = sqlx::query_as(with_columns!(
        "SELECT",
        "FROM account WHERE id = $1 AND deleted_ms IS NULL"
    ))
    .bind(account.to_string())
    .fetch_optional(connection)
    .await
    .map_err(database("find an account"))?;
    Ok(row
        .ok_or(StoreError::UnknownAccount { account })?
        .try_into()?)
}
