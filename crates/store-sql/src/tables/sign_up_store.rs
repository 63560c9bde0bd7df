//! The [`SignUpStore`] trait: each method is one transaction around the tables' own functions.

use async_trait::async_trait;
use jiff::Timestamp;
use suture_store::{
    Account, AccountId, Action, Actor, Application, Credentials, EmailAddress, LinkSecret,
    PasswordHash, SessionSecret, SignUpStore, StoreError,
};

use super::dialect::{self, Database};
use super::{account, application, audit, password_reset, session};

#[async_trait]
impl SignUpStore for Database {
    async fn apply_for_account(
        &self,
        application: &Application,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Option<LinkSecret>, StoreError> {
        transaction!(self, |connection| application::add(
            connection,
            application,
            until,
            now
        ))
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
        transaction!(self, |connection| application::confirm(
            connection, link, now
        ))
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
        transaction!(self, |connection| async {
            match account::credentials(&mut *connection, email).await? {
                Some(known) => password_reset::begin(connection, known.account, until, now).await,
                None => Ok(None),
            }
        })
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
        transaction!(self, |connection| password_reset::finish(
            connection, link, password, now
        ))
    }

    async fn begin_account_session(
        &self,
        account: AccountId,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<SessionSecret, StoreError> {
        transaction!(self, |connection| session::begin_for_account(
            connection, account, until, now
        ))
    }

    async fn end_sessions(&self, account: AccountId, now: Timestamp) -> Result<(), StoreError> {
        transaction!(self, |connection| async {
            session::end_all_of_account(&mut *connection, account).await?;
            let line = account::line(account, Action::EndSessions, &Actor::Owner(account), now);
            audit::add(connection, line).await
        })
    }

    async fn delete_account(&self, account: AccountId, now: Timestamp) -> Result<(), StoreError> {
        transaction!(self, |connection| account::delete(connection, account, now))
    }
}
