//! Table `token`.

use jiff::Timestamp;
use sqlx::FromRow;
use suture_store::{
    AccountId, AccountToken, Action, Actor, AuditEntry, InconsistentRow, IssuedToken, StoreError,
    Subject, Token, TokenGrant, TokenId, TokenLabel,
};

use super::dialect::Connection;
use super::{account, audit};
use crate::column::{database, parse, time};

const TABLE: &str = "token";

#[derive(FromRow)]
struct TokenRow {
    id: String,
    account_id: String,
    label: String,
    created_ms: i64,
    revoked_ms: Option<i64>,
}

impl TryFrom<TokenRow> for Token {
    type Error = InconsistentRow;

    fn try_from(row: TokenRow) -> Result<Self, InconsistentRow> {
        Ok(Self {
            id: parse(TABLE, "id", &row.id)?,
            account: parse(TABLE, "account_id", &row.account_id)?,
            label: parse(TABLE, "label", &row.label)?,
            created: time(TABLE, "created_ms", row.created_ms)?,
            revoked: row
                .revoked_ms
                .map(|at| time(TABLE, "revoked_ms", at))
                .transpose()?,
        })
    }
}

pub async fn create(
    connection: &mut Connection,
    account: AccountId,
    label: &TokenLabel,
    by: &Actor,
    now: Timestamp,
) -> Result<IssuedToken, StoreError> {
    account::by_id(&mut *connection, account).await?;
    let secret = AccountToken::generate().map_err(|_| StoreError::NoRandomBytes)?;
    let row: TokenRow = sqlx::query_as(
        "INSERT INTO token (id, account_id, label, secret_sha256, created_ms)
         VALUES ($1, $2, $3, $4, $5)
         RETURNING id, account_id, label, created_ms, revoked_ms",
    )
    .bind(TokenId::random().to_string())
    .bind(account.to_string())
    .bind(label.as_str())
    .bind(secret.hash().as_bytes().as_slice())
    .bind(now.as_millisecond())
    .fetch_one(&mut *connection)
    .await
    .map_err(database("create a token"))?;
    let token = Token::try_from(row)?;
    let line = line(&token, Action::CreateToken, by, now);
    audit::add(connection, line).await?;
    Ok(IssuedToken { token, secret })
}

pub async fn of_account(
    connection: &mut Connection,
    account: AccountId,
) -> Result<Vec<Token>, StoreError> {
    account::by_id(&mut *connection, account).await?;
    let rows: Vec<TokenRow> = sqlx::query_as(
        "SELECT id, account_id, label, created_ms, revoked_ms FROM token
         WHERE account_id = $1 ORDER BY created_ms, id",
    )
    .bind(account.to_string())
    .fetch_all(connection)
    .await
    .map_err(database("list tokens"))?;
    Ok(rows
        .into_iter()
        .map(Token::try_from)
        .collect::<Result<_, _>>()?)
}

pub async fn revoke(
    connection: &mut Connection,
    token: TokenId,
    by: &Actor,
    now: Timestamp,
) -> Result<Token, StoreError> {
    let before = by_id(&mut *connection, token).await?;
    if before.revoked.is_some() {
        return Ok(before);
    }
    sqlx::query("UPDATE token SET revoked_ms = $2 WHERE id = $1")
        .bind(token.to_string())
        .bind(now.as_millisecond())
        .execute(&mut *connection)
        .await
        .map_err(database("revoke a token"))?;
    let line = line(&before, Action::RevokeToken, by, now);
    audit::add(&mut *connection, line).await?;
    by_id(connection, token).await
}

fn line(token: &Token, action: Action, by: &Actor, now: Timestamp) -> AuditEntry {
    AuditEntry {
        at: now,
        actor: by.clone(),
        action,
        account: Some(token.account),
        subject: Subject::Token(token.id),
        reason: None,
    }
}

async fn by_id(connection: &mut Connection, token: TokenId) -> Result<Token, StoreError> {
    let row: Option<TokenRow> = sqlx::query_as(
        "SELECT id, account_id, label, created_ms, revoked_ms FROM token WHERE id = $1",
    )
    .bind(token.to_string())
    .fetch_optional(connection)
    .await
    .map_err(database("find a token"))?;
    Ok(row
        .ok_or(StoreError::UnknownTokenId { token })?
        .try_into()?)
}

/// The account that a token stands for; a revoked token stands for none.
pub async fn authenticate(
    connection: &mut Connection,
    secret: &AccountToken,
) -> Result<TokenGrant, StoreError> {
    let row: Option<TokenRow> = sqlx::query_as(
        "SELECT id, account_id, label, created_ms, revoked_ms FROM token
         WHERE secret_sha256 = $1 AND revoked_ms IS NULL",
    )
    .bind(secret.hash().as_bytes().as_slice())
    .fetch_optional(&mut *connection)
    .await
    .map_err(database("find a token"))?;
    let token = Token::try_from(row.ok_or(StoreError::UnknownToken)?)?;
    let account = account::by_id(connection, token.account).await?;
    Ok(TokenGrant { token, account })
}
