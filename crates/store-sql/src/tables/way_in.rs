//! What all ways to sign in have in common.

use suture_store::{AccountId, StoreError};

use super::dialect::Connection;
use crate::column::database;

/// Refuses one more than an account may have of a kind.
pub fn require_room(has: usize, limit: u32) -> Result<(), StoreError> {
    let has_room = u32::try_from(has).is_ok_and(|has| has < limit);
    has_room
        .then_some(())
        .ok_or(StoreError::TooManyWays { limit })
}

/// Refuses to leave an account without a way to sign in.
pub async fn require_one(
    connection: &mut Connection,
    account: AccountId,
) -> Result<(), StoreError> {
    let ways: i64 = sqlx::query_scalar(
        "SELECT (SELECT count(*) FROM account WHERE id = $1 AND password_hash IS NOT NULL)
             + (SELECT count(*) FROM identity WHERE account_id = $1)
             + (SELECT count(*) FROM passkey WHERE account_id = $1)",
    )
    .bind(account.to_string())
    .fetch_one(connection)
    .await
    .map_err(database("count ways to sign in"))?;
    (ways > 0).then_some(()).ok_or(StoreError::LastWay)
}
