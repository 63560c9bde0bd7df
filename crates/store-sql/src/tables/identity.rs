//! Table `identity`.

use jiff::Timestamp;
use sqlx::FromRow;
use suture_store::{
    Account, AccountId, Action, Actor, AuditEntry, EmailAddress, Identity, IdentityId,
    InconsistentRow, NewAccount, NewIdentity, Plan, ProviderIdentity, SessionSecret, StoreError,
};

use super::dialect::Connection;
use super::{account, application, audit, session, way_in};
use crate::column::{database, parse, time};

const TABLE: &str = "identity";

#[derive(FromRow)]
struct IdentityRow {
    id: String,
    account_id: String,
    issuer: String,
    subject: String,
    name: String,
    created_ms: i64,
    used_ms: Option<i64>,
}

impl TryFrom<IdentityRow> for Identity {
    type Error = InconsistentRow;

    fn try_from(row: IdentityRow) -> Result<Self, InconsistentRow> {
        let used = row.used_ms.map(|ms| time(TABLE, "used_ms", ms));
        Ok(Self {
            id: parse(TABLE, "id", &row.id)?,
            account: parse(TABLE, "account_id", &row.account_id)?,
            provider: ProviderIdentity {
                issuer: parse(TABLE, "issuer", &row.issuer)?,
                subject: parse(TABLE, "subject", &row.subject)?,
            },
            name: parse(TABLE, "name", &row.name)?,
            created: time(TABLE, "created_ms", row.created_ms)?,
            used: used.transpose()?,
        })
    }
}

/// Notes the use, and begins a session of the account that it is bound to, if it is to one.
pub async fn begin_session(
    connection: &mut Connection,
    identity: &ProviderIdentity,
    until: Timestamp,
    now: Timestamp,
) -> Result<Option<SessionSecret>, StoreError> {
    let account: Option<String> = sqlx::query_scalar(
        "UPDATE identity SET used_ms = $3 WHERE issuer = $1 AND subject = $2
             AND account_id IN (SELECT id FROM account WHERE deleted_ms IS NULL)
         RETURNING account_id",
    )
    .bind(identity.issuer.as_str())
    .bind(identity.subject.as_str())
    .bind(now.as_millisecond())
    .fetch_optional(&mut *connection)
    .await
    .map_err(database("find an identity"))?;
    let Some(account) = account else {
        return Ok(None);
    };
    let account = parse(TABLE, "account_id", &account)?;
    let begun = session::begin_for_account(connection, account, until, now).await?;
    Ok(Some(begun))
}

/// Makes an account that the identity signs in to.
pub async fn register(
    connection: &mut Connection,
    email: &EmailAddress,
    identity: &NewIdentity,
    now: Timestamp,
) -> Result<Account, StoreError> {
    let new = NewAccount {
        email: email.clone(),
        plan: Plan::Free,
    };
    let account = account::create(&mut *connection, &new, &Actor::Service, now).await?;
    application::forget(&mut *connection, email).await?;
    add(connection, account.id, identity, now).await?;
    Ok(account)
}

pub async fn add(
    connection: &mut Connection,
    account: AccountId,
    new: &NewIdentity,
    now: Timestamp,
) -> Result<Identity, StoreError> {
    account::by_id(&mut *connection, account).await?;
    if let Some(known) = find(&mut *connection, &new.provider).await? {
        let is_ours = known.account == account;
        return is_ours.then_some(known).ok_or(StoreError::IdentityTaken);
    }
    let has = of_account(&mut *connection, account).await?.len();
    way_in::require_room(has, Identity::LIMIT)?;
    let identity = Identity {
        id: IdentityId::random(),
        account,
        provider: new.provider.clone(),
        name: new.name.clone(),
        created: now,
        used: None,
    };
    let added = sqlx::query(
        "INSERT INTO identity (id, account_id, issuer, subject, name, created_ms)
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(identity.id.to_string())
    .bind(account.to_string())
    .bind(identity.provider.issuer.as_str())
    .bind(identity.provider.subject.as_str())
    .bind(identity.name.as_str())
    .bind(now.as_millisecond())
    .execute(&mut *connection)
    .await
    .map_err(database("bind an identity"))?;
    if added.rows_affected() == 0 {
        return Err(StoreError::IdentityTaken);
    }
    let line = line(account, Action::AddIdentity, &identity.provider, now);
    audit::add(connection, line).await?;
    Ok(identity)
}

/// Without the name, which may be an address: the log outlives the account.
fn line(
    account: AccountId,
    action: Action,
    provider: &ProviderIdentity,
    now: Timestamp,
) -> AuditEntry {
    AuditEntry {
        reason: Some(format!("{} at {}", provider.subject, provider.issuer)),
        ..account::line(account, action, &Actor::Owner(account), now)
    }
}

async fn find(
    connection: &mut Connection,
    identity: &ProviderIdentity,
) -> Result<Option<Identity>, StoreError> {
    let row: Option<IdentityRow> = sqlx::query_as(
        "SELECT id, account_id, issuer, subject, name, created_ms, used_ms FROM identity
         WHERE issuer = $1 AND subject = $2",
    )
    .bind(identity.issuer.as_str())
    .bind(identity.subject.as_str())
    .fetch_optional(connection)
    .await
    .map_err(database("find an identity"))?;
    Ok(row.map(Identity::try_from).transpose()?)
}

pub async fn of_account(
    connection: &mut Connection,
    account: AccountId,
) -> Result<Vec<Identity>, StoreError> {
    let rows: Vec<IdentityRow> = sqlx::query_as(
        "SELECT id, account_id, issuer, subject, name, created_ms, used_ms FROM identity
         WHERE account_id = $1 ORDER BY created_ms, id",
    )
    .bind(account.to_string())
    .fetch_all(connection)
    .await
    .map_err(database("list identities"))?;
    let identities = rows.into_iter().map(Identity::try_from);
    Ok(identities.collect::<Result<_, _>>()?)
}

pub async fn remove(
    connection: &mut Connection,
    account: AccountId,
    identity: IdentityId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let identities = of_account(&mut *connection, account).await?;
    let Some(known) = identities.into_iter().find(|known| known.id == identity) else {
        return Ok(());
    };
    sqlx::query("DELETE FROM identity WHERE id = $1")
        .bind(identity.to_string())
        .execute(&mut *connection)
        .await
        .map_err(database("unbind an identity"))?;
    way_in::require_one(&mut *connection, account).await?;
    let line = line(account, Action::RemoveIdentity, &known.provider, now);
    audit::add(connection, line).await
}

pub async fn forget_all(connection: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM identity WHERE account_id = $1")
        .bind(account.to_string())
        .execute(connection)
        .await
        .map_err(database("forget identities"))?;
    Ok(())
}
