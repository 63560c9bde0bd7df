//! Table `password_reset`.

use jiff::Timestamp;
use suture_store::{
    Account, AccountId, Action, Actor, LinkSecret, OPEN_LINKS, PasswordHash, StoreError,
};

use super::dialect::Connection;
use super::{account, audit, session};
use crate::column::{database, parse};

const TABLE: &str = "password_reset";

/// Makes a link; none if too many are open for the account.
pub async fn begin(
    connection: &mut Connection,
    account: AccountId,
    until: Timestamp,
    now: Timestamp,
) -> Result<Option<LinkSecret>, StoreError> {
    sqlx::query("DELETE FROM password_reset WHERE until_ms <= $1")
        .bind(now.as_millisecond())
        .execute(&mut *connection)
        .await
        .map_err(database("forget old links"))?;
    let open: i64 = sqlx::query_scalar("SELECT count(*) FROM password_reset WHERE account_id = $1")
        .bind(account.to_string())
        .fetch_one(&mut *connection)
        .await
        .map_err(database("count links"))?;
    if open >= i64::from(OPEN_LINKS) {
        return Ok(None);
    }
    let link = LinkSecret::generate().map_err(|_| StoreError::NoRandomBytes)?;
    sqlx::query(
        "INSERT INTO password_reset (link_sha256, account_id, until_ms) VALUES ($1, $2, $3)",
    )
    .bind(link.hash().as_bytes().as_slice())
    .bind(account.to_string())
    .bind(until.as_millisecond())
    .execute(connection)
    .await
    .map_err(database("make a link"))?;
    Ok(Some(link))
}

/// The account whose password a link may set.
pub async fn find(
    connection: &mut Connection,
    link: &LinkSecret,
    now: Timestamp,
) -> Result<Option<Account>, StoreError> {
    let row: Option<String> = sqlx::query_scalar(
        "SELECT account_id FROM password_reset WHERE link_sha256 = $1 AND until_ms > $2",
    )
    .bind(link.hash().as_bytes().as_slice())
    .bind(now.as_millisecond())
    .fetch_optional(&mut *connection)
    .await
    .map_err(database("find a link"))?;
    let Some(id) = row else { return Ok(None) };
    let account = account::by_id(connection, parse(TABLE, "account_id", &id)?).await?;
    Ok(Some(account))
}

/// Sets the password; sessions and other links are over then.
pub async fn finish(
    connection: &mut Connection,
    link: &LinkSecret,
    password: &PasswordHash,
    now: Timestamp,
) -> Result<Account, StoreError> {
    let account = find(&mut *connection, link, now)
        .await?
        .ok_or(StoreError::UnknownLink)?;
    account::set_password(&mut *connection, account.id, password).await?;
    end_all(&mut *connection, account.id).await?;
    session::end_all_of_account(&mut *connection, account.id).await?;
    let by = Actor::Owner(account.id);
    let line = account::line(account.id, Action::SetPassword, &by, now);
    audit::add(connection, line).await?;
    Ok(account)
}

pub async fn end_all(connection: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM password_reset WHERE account_id = $1")
        .bind(account.to_string())
        .execute(connection)
        .await
        .map_err(database("end links"))?;
    Ok(())
}
