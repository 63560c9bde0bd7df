//! Table `session`.

use jiff::Timestamp;
use sqlx::FromRow;
use suture_store::{
    AccountId, AccountToken, OperatorKey, OperatorKeyId, SessionSecret, StoreError, TokenId,
    Visitor,
};

use super::dialect::Connection;
use super::{account, operator_key, token};
use crate::column::{database, parse};

/// What a session is begun with.
enum Proof {
    Key(OperatorKeyId),
    Token(TokenId),
    /// The account's password, or another way to sign in that is its owner's alone, which the
    /// caller checked.
    Owner(AccountId),
}

pub async fn begin_for_operator(
    connection: &mut Connection,
    key: &OperatorKey,
    until: Timestamp,
    now: Timestamp,
) -> Result<SessionSecret, StoreError> {
    let key = operator_key::authenticate(&mut *connection, key).await?;
    begin(connection, Proof::Key(key.id), until, now).await
}

pub async fn begin_for_token(
    connection: &mut Connection,
    token: &AccountToken,
    until: Timestamp,
    now: Timestamp,
) -> Result<SessionSecret, StoreError> {
    let grant = token::authenticate(&mut *connection, token).await?;
    begin(connection, Proof::Token(grant.token.id), until, now).await
}

pub async fn begin_for_account(
    connection: &mut Connection,
    account: AccountId,
    until: Timestamp,
    now: Timestamp,
) -> Result<SessionSecret, StoreError> {
    account::by_id(&mut *connection, account).await?;
    begin(connection, Proof::Owner(account), until, now).await
}

async fn begin(
    connection: &mut Connection,
    proof: Proof,
    until: Timestamp,
    now: Timestamp,
) -> Result<SessionSecret, StoreError> {
    forget_ended(&mut *connection, now).await?;
    let (key, token, account) = match proof {
        Proof::Key(id) => (Some(id.to_string()), None, None),
        Proof::Token(id) => (None, Some(id.to_string()), None),
        Proof::Owner(id) => (None, None, Some(id.to_string())),
    };
    let secret = SessionSecret::generate().map_err(|_| StoreError::NoRandomBytes)?;
    sqlx::query(
        "INSERT INTO session (secret_sha256, operator_key_id, token_id, account_id, until_ms)
         VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(secret.hash().as_bytes().as_slice())
    .bind(key)
    .bind(token)
    .bind(account)
    .bind(until.as_millisecond())
    .execute(connection)
    .await
    .map_err(database("begin a session"))?;
    Ok(secret)
}

async fn forget_ended(connection: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM session WHERE until_ms <= $1")
        .bind(now.as_millisecond())
        .execute(connection)
        .await
        .map_err(database("forget ended sessions"))?;
    Ok(())
}

#[derive(FromRow)]
struct VisitorRow {
    operator: Option<String>,
    holder: Option<String>,
    owner: Option<String>,
}

/// Who a session stands for, if it and what it was begun with hold.
pub async fn visitor(
    connection: &mut Connection,
    secret: &SessionSecret,
    now: Timestamp,
) -> Result<Option<Visitor>, StoreError> {
    let row: Option<VisitorRow> = sqlx::query_as(
        "SELECT k.name AS operator, t.account_id AS holder, s.account_id AS owner
         FROM session s
         LEFT JOIN operator_key k ON k.id = s.operator_key_id AND k.revoked_ms IS NULL
         LEFT JOIN token t ON t.id = s.token_id AND t.revoked_ms IS NULL
         WHERE s.secret_sha256 = $1 AND s.until_ms > $2",
    )
    .bind(secret.hash().as_bytes().as_slice())
    .bind(now.as_millisecond())
    .fetch_optional(connection)
    .await
    .map_err(database("find a session"))?;
    let visitor = match row {
        Some(VisitorRow {
            operator: Some(name),
            ..
        }) => Some(Visitor::Operator(parse("operator_key", "name", &name)?)),
        Some(VisitorRow {
            holder: Some(id), ..
        }) => Some(Visitor::TokenHolder(parse("token", "account_id", &id)?)),
        Some(VisitorRow {
            owner: Some(id), ..
        }) => Some(Visitor::Owner(parse("session", "account_id", &id)?)),
        Some(_) | None => None,
    };
    Ok(visitor)
}

pub async fn end(connection: &mut Connection, secret: &SessionSecret) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM session WHERE secret_sha256 = $1")
        .bind(secret.hash().as_bytes().as_slice())
        .execute(connection)
        .await
        .map_err(database("end a session"))?;
    Ok(())
}

pub async fn end_all_of_key(
    connection: &mut Connection,
    key: OperatorKeyId,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM session WHERE operator_key_id = $1")
        .bind(key.to_string())
        .execute(connection)
        .await
        .map_err(database("end a key's sessions"))?;
    Ok(())
}

/// Ends every session of an account, also those that were begun with its tokens.
pub async fn end_all_of_account(
    connection: &mut Connection,
    account: AccountId,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM session WHERE account_id = $1
             OR token_id IN (SELECT id FROM token WHERE account_id = $1)",
    )
    .bind(account.to_string())
    .execute(connection)
    .await
    .map_err(database("end an account's sessions"))?;
    Ok(())
}
