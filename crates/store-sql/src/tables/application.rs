//! Table `application`.

use jiff::Timestamp;
use sqlx::FromRow;
use suture_store::{
    Account, Actor, Application, EmailAddress, InconsistentRow, LinkSecret, NewAccount, OPEN_LINKS,
    Plan, StoreError,
};

use super::account;
use super::dialect::{Connection, is_address};
use crate::column::{database, parse};

const TABLE: &str = "application";

#[derive(FromRow)]
struct ApplicationRow {
    email: String,
    password_hash: String,
}

impl TryFrom<ApplicationRow> for Application {
    type Error = InconsistentRow;

    fn try_from(row: ApplicationRow) -> Result<Self, InconsistentRow> {
        Ok(Self {
            email: parse(TABLE, "email", &row.email)?,
            password: parse(TABLE, "password_hash", &row.password_hash)?,
        })
    }
}

/// Keeps it; none if too many are open for the address.
pub async fn add(
    connection: &mut Connection,
    application: &Application,
    until: Timestamp,
    now: Timestamp,
) -> Result<Option<LinkSecret>, StoreError> {
    sqlx::query("DELETE FROM application WHERE until_ms <= $1")
        .bind(now.as_millisecond())
        .execute(&mut *connection)
        .await
        .map_err(database("forget old applications"))?;
    let open: i64 = sqlx::query_scalar(concat!(
        "SELECT count(*) FROM application WHERE ",
        is_address!("email", "$1")
    ))
    .bind(application.email.as_str())
    .fetch_one(&mut *connection)
    .await
    .map_err(database("count applications"))?;
    if open >= i64::from(OPEN_LINKS) {
        return Ok(None);
    }
    let link = LinkSecret::generate().map_err(|_| StoreError::NoRandomBytes)?;
    sqlx::query(
        "INSERT INTO application (link_sha256, email, password_hash, until_ms)
         VALUES ($1, $2, $3, $4)",
    )
    .bind(link.hash().as_bytes().as_slice())
    .bind(application.email.as_str())
    .bind(application.password.expose())
    .bind(until.as_millisecond())
    .execute(connection)
    .await
    .map_err(database("keep an application"))?;
    Ok(Some(link))
}

pub async fn find(
    connection: &mut Connection,
    link: &LinkSecret,
    now: Timestamp,
) -> Result<Option<Application>, StoreError> {
    let row: Option<ApplicationRow> = sqlx::query_as(
        "SELECT email, password_hash FROM application
         WHERE link_sha256 = $1 AND until_ms > $2",
    )
    .bind(link.hash().as_bytes().as_slice())
    .bind(now.as_millisecond())
    .fetch_optional(connection)
    .await
    .map_err(database("find an application"))?;
    Ok(row.map(Application::try_from).transpose()?)
}

/// Makes the account; all applications for the address are over then.
pub async fn confirm(
    connection: &mut Connection,
    link: &LinkSecret,
    now: Timestamp,
) -> Result<Account, StoreError> {
    let application = find(&mut *connection, link, now)
        .await?
        .ok_or(StoreError::UnknownLink)?;
    let new = NewAccount {
        email: application.email.clone(),
        plan: Plan::Free,
    };
    let account = account::create(&mut *connection, &new, &Actor::Service, now).await?;
    account::set_password(&mut *connection, account.id, &application.password).await?;
    forget(connection, &application.email).await?;
    Ok(account)
}

/// Ends all applications for an address.
pub async fn forget(connection: &mut Connection, email: &EmailAddress) -> Result<(), StoreError> {
    sqlx::query(concat!(
        "DELETE FROM application WHERE ",
        is_address!("email", "$1")
    ))
    .bind(email.as_str())
    .execute(connection)
    .await
    .map_err(database("end applications"))?;
    Ok(())
}
