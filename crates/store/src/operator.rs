//! Keys of operators, and sessions of people in browsers.

use async_trait::async_trait;
use jiff::Timestamp;

use crate::random_id::random_id;
use crate::{AccountId, AccountToken, Actor, OperatorKey, OperatorName, SessionSecret, StoreError};

random_id! {
    /// Identifies an operator's key without being able to use it.
    OperatorKeyId
}

/// An operator's key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorKeyEntry {
    pub id: OperatorKeyId,
    /// Who it was made for; the audit log names it.
    pub name: OperatorName,
    pub created: Timestamp,
    pub revoked: Option<Timestamp>,
}

/// Who a session stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Visitor {
    /// Somebody who showed an operator's key.
    Operator(OperatorName),
    /// Somebody who showed the account's password, or another way to sign in that is its
    /// owner's alone.
    Owner(AccountId),
    /// Somebody who showed a token of the account, which lies on machines: sees the account's
    /// machines, changes nothing.
    TokenHolder(AccountId),
}

/// Keys and sessions, in a database. As in [`crate::Store`], every method is one transaction.
#[async_trait]
pub trait OperatorStore: Send + Sync {
    /// Makes a key; its secret is shown now and never again.
    async fn create_operator_key(
        &self,
        name: &OperatorName,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(OperatorKeyEntry, OperatorKey), StoreError>;

    /// All keys, oldest first, revoked ones included.
    async fn operator_keys(&self) -> Result<Vec<OperatorKeyEntry>, StoreError>;

    /// Revokes a key and ends the sessions that were begun with it.
    async fn revoke_operator_key(
        &self,
        id: OperatorKeyId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<OperatorKeyEntry, StoreError>;

    /// The key that was presented, if it holds.
    async fn authenticate_operator(
        &self,
        key: &OperatorKey,
    ) -> Result<OperatorKeyEntry, StoreError>;

    /// Begins a session with an operator's key.
    async fn begin_operator_session(
        &self,
        key: &OperatorKey,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<SessionSecret, StoreError>;

    /// Begins a session with an account's token.
    async fn begin_token_session(
        &self,
        token: &AccountToken,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<SessionSecret, StoreError>;

    /// Who a session stands for; none if it ended, or its key or token was revoked.
    async fn session(
        &self,
        secret: &SessionSecret,
        now: Timestamp,
    ) -> Result<Option<Visitor>, StoreError>;

    /// Ends a session; one that is unknown is no error.
    async fn end_session(&self, secret: &SessionSecret) -> Result<(), StoreError>;
}
