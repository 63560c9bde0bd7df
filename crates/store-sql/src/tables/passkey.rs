//! Table `passkey`.

use jiff::Timestamp;
use sqlx::FromRow;
use suture_store::{
    AccountId, Action, Actor, AuditEntry, CredentialId, InconsistentRow, NewPasskey, Passkey,
    PasskeyAlgorithm, PasskeyId, SessionSecret, StoreError,
};

use super::dialect::Connection;
use super::{account, audit, session, way_in};
use crate::column::{count, database, parse, time};

const TABLE: &str = "passkey";

#[derive(FromRow)]
struct PasskeyRow {
    id: String,
    account_id: String,
    credential: Vec<u8>,
    algorithm: i64,
    public_key: Vec<u8>,
    counter: i64,
    label: String,
    created_ms: i64,
    used_ms: Option<i64>,
}

impl TryFrom<PasskeyRow> for Passkey {
    type Error = InconsistentRow;

    fn try_from(row: PasskeyRow) -> Result<Self, InconsistentRow> {
        let unknown = |column| InconsistentRow::new(TABLE, column, "not as this program writes it");
        let used = row.used_ms.map(|ms| time(TABLE, "used_ms", ms));
        Ok(Self {
            id: parse(TABLE, "id", &row.id)?,
            account: parse(TABLE, "account_id", &row.account_id)?,
            key: NewPasskey {
                credential: CredentialId::new(row.credential)
                    .ok_or_else(|| unknown("credential"))?,
                algorithm: PasskeyAlgorithm::from_number(row.algorithm)
                    .ok_or_else(|| unknown("algorithm"))?,
                public_key: row.public_key,
                counter: count(TABLE, "counter", row.counter)?,
                label: parse(TABLE, "label", &row.label)?,
            },
            created: time(TABLE, "created_ms", row.created_ms)?,
            used: used.transpose()?,
        })
    }
}

pub async fn add(
    connection: &mut Connection,
    account: AccountId,
    new: &NewPasskey,
    now: Timestamp,
) -> Result<Passkey, StoreError> {
    account::by_id(&mut *connection, account).await?;
    let has = of_account(&mut *connection, account).await?.len();
    way_in::require_room(has, Passkey::LIMIT)?;
    let passkey = Passkey {
        id: PasskeyId::random(),
        account,
        key: new.clone(),
        created: now,
        used: None,
    };
    let added = sqlx::query(
        "INSERT INTO passkey
             (id, account_id, credential, algorithm, public_key, counter, label, created_ms)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
    )
    .bind(passkey.id.to_string())
    .bind(account.to_string())
    .bind(new.credential.as_bytes())
    .bind(i64::from(new.algorithm.number()))
    .bind(new.public_key.as_slice())
    .bind(i64::from(new.counter))
    .bind(new.label.as_str())
    .bind(now.as_millisecond())
    .execute(&mut *connection)
    .await
    .map_err(database("add a passkey"))?;
    if added.rows_affected() == 0 {
        return Err(StoreError::PasskeyTaken);
    }
    let line = line(account, Action::AddPasskey, passkey.id, now);
    audit::add(connection, line).await?;
    Ok(passkey)
}

fn line(account: AccountId, action: Action, passkey: PasskeyId, now: Timestamp) -> AuditEntry {
    AuditEntry {
        reason: Some(passkey.to_string()),
        ..account::line(account, action, &Actor::Owner(account), now)
    }
}

pub async fn of_account(
    connection: &mut Connection,
    account: AccountId,
) -> Result<Vec<Passkey>, StoreError> {
    let rows: Vec<PasskeyRow> = sqlx::query_as(
        "SELECT id, account_id, credential, algorithm, public_key, counter, label, created_ms,
             used_ms
         FROM passkey WHERE account_id = $1 ORDER BY created_ms, id",
    )
    .bind(account.to_string())
    .fetch_all(connection)
    .await
    .map_err(database("list passkeys"))?;
    let passkeys = rows.into_iter().map(Passkey::try_from);
    Ok(passkeys.collect::<Result<_, _>>()?)
}

pub async fn find(
    connection: &mut Connection,
    credential: &CredentialId,
) -> Result<Option<Passkey>, StoreError> {
    let row: Option<PasskeyRow> = sqlx::query_as(
        "SELECT id, account_id, credential, algorithm, public_key, counter, label, created_ms,
             used_ms
         FROM passkey WHERE credential = $1",
    )
    .bind(credential.as_bytes())
    .fetch_optional(connection)
    .await
    .map_err(database("find a passkey"))?;
    Ok(row.map(Passkey::try_from).transpose()?)
}

/// Keeps the counter and begins a session; none if the counter is not beyond the one that is
/// kept (source: WebAuthn Level 3, 7.2: where both are 0 the authenticator does not count).
pub async fn begin_session(
    connection: &mut Connection,
    passkey: PasskeyId,
    counter: u32,
    until: Timestamp,
    now: Timestamp,
) -> Result<Option<SessionSecret>, StoreError> {
    let account: Option<String> = sqlx::query_scalar(
        "UPDATE passkey SET counter = $2, used_ms = $3
         WHERE id = $1 AND (counter < $2 OR counter = 0 AND $2 = 0)
             AND account_id IN (SELECT id FROM account WHERE deleted_ms IS NULL)
         RETURNING account_id",
    )
    .bind(passkey.to_string())
    .bind(i64::from(counter))
    .bind(now.as_millisecond())
    .fetch_optional(&mut *connection)
    .await
    .map_err(database("note the use of a passkey"))?;
    let Some(account) = account else {
        return Ok(None);
    };
    let account = parse(TABLE, "account_id", &account)?;
    let begun = session::begin_for_account(connection, account, until, now).await?;
    Ok(Some(begun))
}

pub async fn remove(
    connection: &mut Connection,
    account: AccountId,
    passkey: PasskeyId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let removed = sqlx::query("DELETE FROM passkey WHERE id = $1 AND account_id = $2")
        .bind(passkey.to_string())
        .bind(account.to_string())
        .execute(&mut *connection)
        .await
        .map_err(database("remove a passkey"))?;
    if removed.rows_affected() == 0 {
        return Ok(());
    }
    way_in::require_one(&mut *connection, account).await?;
    let line = line(account, Action::RemovePasskey, passkey, now);
    audit::add(connection, line).await
}

pub async fn forget_all(connection: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM passkey WHERE account_id = $1")
        .bind(account.to_string())
        .execute(connection)
        .await
        .map_err(database("forget passkeys"))?;
    Ok(())
}
