//! Table `subscription`.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::FromRow;
use suture_store::{
    AccountId, Action, Actor, AuditEntry, BillingStore, CustomerId, InconsistentRow, StoreError,
    Subscription, SubscriptionId, SubscriptionState, SubscriptionStatus,
};

use super::dialect::{self, Connection, Database};
use super::{account, audit};
use crate::column::{count, database, parse, parse_option, time};

const TABLE: &str = "subscription";

#[async_trait]
impl BillingStore for Database {
    async fn subscription(&self, account: AccountId) -> Result<Option<Subscription>, StoreError> {
        of_account(&mut *self.read().await?, account).await
    }

    async fn subscription_of_customer(
        &self,
        customer: &CustomerId,
    ) -> Result<Option<Subscription>, StoreError> {
        of_customer(&mut *self.read().await?, customer).await
    }

    async fn add_customer(
        &self,
        account: AccountId,
        customer: &CustomerId,
        now: Timestamp,
    ) -> Result<Subscription, StoreError> {
        transaction!(self, |connection| add(connection, account, customer, now))
    }

    async fn set_subscription(
        &self,
        account: AccountId,
        revision: u64,
        state: Option<&SubscriptionState>,
        now: Timestamp,
    ) -> Result<Option<Subscription>, StoreError> {
        transaction!(self, |connection| set(
            connection, account, revision, state, now
        ))
    }

    async fn stale_subscriptions(
        &self,
        since: Timestamp,
        at_most: u32,
    ) -> Result<Vec<Subscription>, StoreError> {
        stale(&mut *self.read().await?, since, at_most).await
    }
}

/// The columns of [`SubscriptionRow`], after a statement's own words.
macro_rules! with_columns {
    ($before:literal, $after:literal) => {
        concat!(
            $before,
            " account_id, customer, revision, refreshed_ms, subscription_id, status,
              period_end_ms, ends ",
            $after
        )
    };
}

#[derive(FromRow)]
struct SubscriptionRow {
    account_id: String,
    customer: String,
    revision: i64,
    refreshed_ms: i64,
    #[sqlx(flatten)]
    state: StateColumns,
}

/// All null: there is none.
#[derive(FromRow)]
struct StateColumns {
    subscription_id: Option<String>,
    status: Option<String>,
    period_end_ms: Option<i64>,
    ends: Option<bool>,
}

impl TryFrom<SubscriptionRow> for Subscription {
    type Error = InconsistentRow;

    fn try_from(row: SubscriptionRow) -> Result<Self, InconsistentRow> {
        Ok(Self {
            account: parse(TABLE, "account_id", &row.account_id)?,
            customer: parse(TABLE, "customer", &row.customer)?,
            revision: count(TABLE, "revision", row.revision)?,
            refreshed: time(TABLE, "refreshed_ms", row.refreshed_ms)?,
            state: row.state.try_into()?,
        })
    }
}

impl TryFrom<StateColumns> for Option<SubscriptionState> {
    type Error = InconsistentRow;

    fn try_from(row: StateColumns) -> Result<Self, InconsistentRow> {
        let id: Option<SubscriptionId> =
            parse_option(TABLE, "subscription_id", row.subscription_id.as_deref())?;
        let Some(id) = id else { return Ok(None) };
        let end = row.period_end_ms;
        Ok(Some(SubscriptionState {
            id,
            status: parse(TABLE, "status", row.status.as_deref().unwrap_or_default())?,
            period_end: end
                .map(|end| time(TABLE, "period_end_ms", end))
                .transpose()?,
            ends: row.ends.unwrap_or(false),
        }))
    }
}

async fn of_account(
    connection: &mut Connection,
    account: AccountId,
) -> Result<Option<Subscription>, StoreError> {
    let row: Option<SubscriptionRow> = sqlx::query_as(with_columns!(
        "SELECT",
        "FROM subscription WHERE account_id = $1"
    ))
    .bind(account.to_string())
    .fetch_optional(connection)
    .await
    .map_err(database("find a subscription"))?;
    Ok(row.map(Subscription::try_from).transpose()?)
}

async fn of_customer(
    connection: &mut Connection,
    customer: &CustomerId,
) -> Result<Option<Subscription>, StoreError> {
    let row: Option<SubscriptionRow> = sqlx::query_as(with_columns!(
        "SELECT",
        "FROM subscription WHERE customer = $1"
    ))
    .bind(customer.as_str())
    .fetch_optional(connection)
    .await
    .map_err(database("find a customer"))?;
    Ok(row.map(Subscription::try_from).transpose()?)
}

/// Whether the account pays for the plan without a limit.
pub async fn is_paid(connection: &mut Connection, account: AccountId) -> Result<bool, StoreError> {
    let known = of_account(connection, account).await?;
    Ok(known
        .and_then(|known| known.state)
        .is_some_and(|state| state.status.is_paid()))
}

async fn add(
    connection: &mut Connection,
    account: AccountId,
    customer: &CustomerId,
    now: Timestamp,
) -> Result<Subscription, StoreError> {
    account::by_id(&mut *connection, account).await?;
    sqlx::query(
        "INSERT INTO subscription (account_id, customer, revision, refreshed_ms)
         VALUES ($1, $2, 0, $3) ON CONFLICT (account_id) DO NOTHING",
    )
    .bind(account.to_string())
    .bind(customer.as_str())
    .bind(now.as_millisecond())
    .execute(&mut *connection)
    .await
    .map_err(database("keep a customer"))?;
    let known = of_account(connection, account).await?;
    known.ok_or(StoreError::UnknownAccount { account })
}

async fn set(
    connection: &mut Connection,
    account: AccountId,
    revision: u64,
    state: Option<&SubscriptionState>,
    now: Timestamp,
) -> Result<Option<Subscription>, StoreError> {
    let before = of_account(&mut *connection, account).await?;
    let Some(before) = before.filter(|before| before.revision == revision) else {
        return Ok(None);
    };
    let row: SubscriptionRow = sqlx::query_as(with_columns!(
        "UPDATE subscription SET revision = revision + 1, refreshed_ms = $2,
             subscription_id = $3, status = $4, period_end_ms = $5, ends = $6
         WHERE account_id = $1 RETURNING",
        ""
    ))
    .bind(account.to_string())
    .bind(now.as_millisecond())
    .bind(state.map(|state| state.id.as_str()))
    .bind(state.map(|state| state.status.as_str()))
    .bind(state.and_then(|state| Some(state.period_end?.as_millisecond())))
    .bind(state.map(|state| state.ends))
    .fetch_one(&mut *connection)
    .await
    .map_err(database("keep a subscription"))?;
    let now_known = Subscription::try_from(row)?;
    if now_known.state != before.state {
        account::follow_plan(&mut *connection, account).await?;
        let line = AuditEntry {
            reason: Some(in_words(state)),
            ..account::line(account, Action::ChangeSubscription, &Actor::Service, now)
        };
        audit::add(connection, line).await?;
    }
    Ok(Some(now_known))
}

/// For the audit log.
fn in_words(state: Option<&SubscriptionState>) -> String {
    let Some(state) = state else {
        return "none".to_owned();
    };
    let status: SubscriptionStatus = state.status;
    let end = state.period_end.map(|end| {
        let what = if state.ends { "ends" } else { "paid until" };
        format!(", {what} {}", end.strftime("%Y-%m-%d"))
    });
    format!("{} {status}{}", state.id, end.unwrap_or_default())
}

async fn stale(
    connection: &mut Connection,
    since: Timestamp,
    at_most: u32,
) -> Result<Vec<Subscription>, StoreError> {
    let rows: Vec<SubscriptionRow> = sqlx::query_as(with_columns!(
        "SELECT",
        "FROM subscription WHERE refreshed_ms < $1 ORDER BY refreshed_ms LIMIT $2"
    ))
    .bind(since.as_millisecond())
    .bind(i64::from(at_most))
    .fetch_all(connection)
    .await
    .map_err(database("find subscriptions to ask for"))?;
    let found = rows.into_iter().map(Subscription::try_from);
    Ok(found.collect::<Result<_, _>>()?)
}

/// Of an account that is deleted.
pub async fn forget(connection: &mut Connection, account: AccountId) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM subscription WHERE account_id = $1")
        .bind(account.to_string())
        .execute(connection)
        .await
        .map_err(database("forget a customer"))?;
    Ok(())
}
