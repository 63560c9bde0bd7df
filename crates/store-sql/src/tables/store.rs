//! The [`Store`] trait: each method is one transaction around the tables' own functions.

use async_trait::async_trait;
use jiff::Timestamp;
use suture_protocol::MachineId;
use suture_store::{
    Account, AccountId, AccountToken, Actor, AuditEntry, EmailAddress, Enrolment, IssuedToken,
    Machine, MachineSecret, NewAccount, NewMachine, Plan, Store, StoreError, Token, TokenGrant,
    TokenId, TokenLabel,
};

use super::dialect::{self, Database};
use super::{account, audit, machine, token};
use crate::column::database;

#[async_trait]
impl Store for Database {
    async fn ping(&self) -> Result<(), StoreError> {
        self.check_disk()?;
        sqlx::query("SELECT EXISTS (SELECT 1 FROM account)")
            .execute(&mut *self.read().await?)
            .await
            .map_err(database("answer"))?;
        Ok(())
    }

    async fn create_account(
        &self,
        new: &NewAccount,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        transaction!(self, |connection| account::create(connection, new, by, now))
    }

    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        account::all(&mut *self.read().await?).await
    }

    async fn account(&self, id: AccountId) -> Result<Account, StoreError> {
        account::by_id(&mut *self.read().await?, id).await
    }

    async fn account_by_email(&self, email: &EmailAddress) -> Result<Account, StoreError> {
        account::by_email(&mut *self.read().await?, email).await
    }

    async fn set_plan(
        &self,
        account: AccountId,
        plan: Plan,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        transaction!(self, |connection| account::set_plan(
            connection, account, plan, by, now
        ))
    }

    async fn set_machine_limit(
        &self,
        account: AccountId,
        limit: Option<u32>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        transaction!(self, |connection| account::set_machine_limit(
            connection, account, limit, by, now
        ))
    }

    async fn create_token(
        &self,
        account: AccountId,
        label: &TokenLabel,
        by: &Actor,
        now: Timestamp,
    ) -> Result<IssuedToken, StoreError> {
        transaction!(self, |connection| token::create(
            connection, account, label, by, now
        ))
    }

    async fn tokens(&self, account: AccountId) -> Result<Vec<Token>, StoreError> {
        token::of_account(&mut *self.read().await?, account).await
    }

    async fn revoke_token(
        &self,
        token: TokenId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Token, StoreError> {
        transaction!(self, |connection| token::revoke(connection, token, by, now))
    }

    async fn authenticate_token(&self, token: &AccountToken) -> Result<TokenGrant, StoreError> {
        token::authenticate(&mut *self.read().await?, token).await
    }

    async fn enrol_machine(
        &self,
        token: &AccountToken,
        machine: &NewMachine,
        now: Timestamp,
    ) -> Result<Enrolment, StoreError> {
        transaction!(self, |connection| machine::enrol(
            connection,
            &self.courses,
            token,
            machine,
            now
        ))
    }

    async fn authenticate_machine(&self, secret: &MachineSecret) -> Result<Machine, StoreError> {
        machine::authenticate(&mut *self.read().await?, secret).await
    }

    async fn split_machine(
        &self,
        secret: &MachineSecret,
        id: &MachineId,
        now: Timestamp,
    ) -> Result<Enrolment, StoreError> {
        transaction!(self, |connection| machine::split(
            connection, secret, id, now
        ))
    }

    async fn release_self(
        &self,
        secret: &MachineSecret,
        now: Timestamp,
    ) -> Result<Machine, StoreError> {
        transaction!(self, |connection| machine::release_self(
            connection, secret, now
        ))
    }

    async fn release_machine(
        &self,
        account: AccountId,
        machine: &MachineId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Machine, StoreError> {
        transaction!(self, |connection| machine::release(
            connection, account, machine, by, now
        ))
    }

    async fn machines(&self, account: AccountId) -> Result<Vec<Machine>, StoreError> {
        machine::of_account(&mut *self.read().await?, account).await
    }

    async fn audit_log(
        &self,
        account: Option<AccountId>,
        at_most: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        audit::latest(&mut *self.read().await?, account, at_most).await
    }
}
