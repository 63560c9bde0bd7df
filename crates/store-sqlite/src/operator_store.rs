//! The [`OperatorStore`] trait: each method is one transaction around the tables' own functions.

use async_trait::async_trait;
use jiff::Timestamp;
use suture_store::{
    AccountToken, Actor, OperatorKey, OperatorKeyEntry, OperatorKeyId, OperatorName, OperatorStore,
    SessionSecret, StoreError, Visitor,
};

use crate::open::commit;
use crate::{SqliteStore, operator_key, session};

#[async_trait]
impl OperatorStore for SqliteStore {
    async fn create_operator_key(
        &self,
        name: &OperatorName,
        by: &Actor,
        now: Timestamp,
    ) -> Result<(OperatorKeyEntry, OperatorKey), StoreError> {
        let mut transaction = self.write().await?;
        let made = operator_key::create(&mut transaction, name, by, now).await?;
        commit(transaction).await?;
        Ok(made)
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
        let mut transaction = self.write().await?;
        let key = operator_key::revoke(&mut transaction, id, by, now).await?;
        commit(transaction).await?;
        Ok(key)
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
        let mut transaction = self.write().await?;
        let secret = session::begin_for_operator(&mut transaction, key, until, now).await?;
        commit(transaction).await?;
        Ok(secret)
    }

    async fn begin_token_session(
        &self,
        token: &AccountToken,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<SessionSecret, StoreError> {
        let mut transaction = self.write().await?;
        let secret = session::begin_for_token(&mut transaction, token, until, now).await?;
        commit(transaction).await?;
        Ok(secret)
    }

    async fn session(
        &self,
        secret: &SessionSecret,
        now: Timestamp,
    ) -> Result<Option<Visitor>, StoreError> {
        session::visitor(&mut *self.read().await?, secret, now).await
    }

    async fn end_session(&self, secret: &SessionSecret) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        session::end(&mut transaction, secret).await?;
        commit(transaction).await
    }
}
