//! The [`SignUpStore`] trait: each method is one transaction around the tables' own functions.

use async_trait::async_trait;
use jiff::Timestamp;
use suture_store::{
    Account, AccountId, Action, Actor, Application, Credentials, EmailAddress, LinkSecret,
    PasswordHash, SessionSecret, SignUpStore, StoreError,
};

use crate::open::commit;
use crate::{SqliteStore, account, application, audit, password_reset, session};

#[async_trait]
impl SignUpStore for SqliteStore {
    async fn apply_for_account(
        &self,
        application: &Application,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<LinkSecret>, StoreError> {
        let mut transaction = self.write().await?;
        let link = application::add(&mut transaction, application, until, now).await?;
        commit(transaction).await?;
        Ok(link)
    }

    async fn application(
        &self,
        link: &LinkSecret,
        now: Timestamp,
    ) -> Result<Option<Application>, StoreError> {
        application::find(&mut *self.read().await?, link, now).await
    }

    async fn confirm_application(
        &self,
        link: &LinkSecret,
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        let mut transaction = self.write().await?;
        let account = application::confirm(&mut transaction, link, now).await?;
        commit(transaction).await?;
        Ok(account)
    }

    async fn credentials(&self, email: &EmailAddress) -> Result<Option<Credentials>, StoreError> {
        account::credentials(&mut *self.read().await?, email).await
    }

    async fn begin_reset(
        &self,
        email: &EmailAddress,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<LinkSecret>, StoreError> {
        let mut transaction = self.write().await?;
        let Some(known) = account::credentials(&mut transaction, email).await? else {
            return Ok(None);
        };
        let link = password_reset::begin(&mut transaction, known.account, until, now).await?;
        commit(transaction).await?;
        Ok(link)
    }

    async fn reset(
        &self,
        link: &LinkSecret,
        now: Timestamp,
    ) -> Result<Option<Account>, StoreError> {
        password_reset::find(&mut *self.read().await?, link, now).await
    }

    async fn finish_reset(
        &self,
        link: &LinkSecret,
        password: &PasswordHash,
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        let mut transaction = self.write().await?;
        let account = password_reset::finish(&mut transaction, link, password, now).await?;
        commit(transaction).await?;
        Ok(account)
    }

    async fn begin_account_session(
        &self,
        account: AccountId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<SessionSecret, StoreError> {
        let mut transaction = self.write().await?;
        let secret = session::begin_for_account(&mut transaction, account, until, now).await?;
        commit(transaction).await?;
        Ok(secret)
    }

    async fn end_sessions(&self, account: AccountId, now: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        session::end_all_of_account(&mut transaction, account).await?;
        let line = account::line(account, Action::EndSessions, &Actor::Owner(account), now);
        audit::add(&mut transaction, line).await?;
        commit(transaction).await
    }

    async fn delete_account(&self, account: AccountId, now: Timestamp) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        account::delete(&mut transaction, account, now).await?;
        commit(transaction).await
    }
}
