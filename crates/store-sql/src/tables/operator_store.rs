//! The [`OperatorStore`] trait: each method is one transaction around the tables' own functions.

use async_trait::async_trait;
use jiff::Timestamp;
use suture_store::{
    AccountToken, Actor, OperatorKey, OperatorKeyEntry, OperatorKeyId, OperatorName, OperatorStore,
    SessionSecret, StoreError, Visitor,
};

use super::dialect::{self, Database};
use super::{operator_key, session};

#[async_trait]
impl OperatorStore for Database {
    async fn create_operator_key(
        &self,
        name: &OperatorName,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(OperatorKeyEntry, OperatorKey), StoreError> {
        transaction!(self, |connection| operator_key::create(
            connection, name, by, now
        ))
    }

    async fn operator_keys(&self) -> Result<Vec<OperatorKeyEntry>, StoreError> {
        operator_key::all(&mut *self.read().await?).await
    }

    async fn revoke_operator_key(
        &self,
        id: OperatorKeyId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<OperatorKeyEntry, StoreError> {
        transaction!(self, |connection| operator_key::revoke(
            connection, id, by, now
        ))
    }

    async fn authenticate_operator(
        &self,
        key: &OperatorKey,
    ) -> Result<OperatorKeyEntry, StoreError> {
        operator_key::authenticate(&mut *self.read().await?, key).await
    }

    async fn begin_operator_session(
        &self,
        key: &OperatorKey,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<SessionSecret, StoreError> {
        transaction!(self, |connection| session::begin_for_operator(
            connection, key, until, now
        ))
    }

    async fn begin_token_session(
        &self,
        token: &AccountToken,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<SessionSecret, StoreError> {
        transaction!(self, |connection| session::begin_for_token(
            connection, token, until, now
        ))
    }

    async fn session(
        &self,
        secret: &SessionSecret,
        now: Timestamp,
    ) -> Result<Option<Visitor>, StoreError> {
        session::visitor(&mut *self.read().await?, secret, now).await
    }

    async fn end_session(&self, secret: &SessionSecret) -> Result<(), StoreError> {
        transaction!(self, |connection| session::end(connection, secret))
    }
}
