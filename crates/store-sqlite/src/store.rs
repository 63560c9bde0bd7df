//! The [`Store`] trait: each method is one transaction around the tables' own functions.

use async_trait::async_trait;
use jiff::Timestamp;
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use suture_protocol::MachineId;
use suture_store::{
    Account, AccountId, AccountToken, Actor, AuditEntry, EmailAddress, Enrolment, IssuedToken,
    Machine, MachineSecret, NewAccount, NewMachine, Plan, Store, StoreError, Token, TokenGrant,
    TokenId, TokenLabel,
};

use crate::column::database;
use crate::open::commit;
use crate::{SqliteStore, account, audit, machine, token};

impl SqliteStore {
    pub(crate) async fn read(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        self.reader
            .acquire()
            .await
            .map_err(database("open a connection"))
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT EXISTS (SELECT 1 FROM account)")
            .execute(&self.reader)
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
        let mut transaction = self.write().await?;
        let account = account::create(&mut transaction, new, by, now).await?;
        commit(transaction).await?;
        Ok(account)
    }

    async fn accounts(&self) -> Result<Vec<Account>, StoreError> {
        account::all(&self.reader).await
    }

    async fn account(&self, id: AccountId) -> Result<Account, StoreError> {
        account::by_id(&self.reader, id).await
    }

    async fn account_by_email(&self, email: &EmailAddress) -> Result<Account, StoreError> {
        account::by_email(&self.reader, email).await
    }

    async fn set_plan(
        &self,
        account: AccountId,
        plan: Plan,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        let mut transaction = self.write().await?;
        let account = account::set_plan(&mut transaction, account, plan, by, now).await?;
        commit(transaction).await?;
        Ok(account)
    }

    async fn create_token(
        &self,
        account: AccountId,
        label: &TokenLabel,
        by: &Actor,
        now: Timestamp,
    ) -> Result<IssuedToken, StoreError> {
        let mut transaction = self.write().await?;
        let issued = token::create(&mut transaction, account, label, by, now).await?;
        commit(transaction).await?;
        Ok(issued)
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
        let mut transaction = self.write().await?;
        let token = token::revoke(&mut transaction, token, by, now).await?;
        commit(transaction).await?;
        Ok(token)
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
        let mut transaction = self.write().await?;
        let enrolment =
            machine::enrol(&mut transaction, &self.courses, token, machine, now).await?;
        commit(transaction).await?;
        Ok(enrolment)
    }

    async fn authenticate_machine(&self, secret: &MachineSecret) -> Result<Machine, StoreError> {
        machine::authenticate(&self.reader, secret).await
    }

    async fn release_self(
        &self,
        secret: &MachineSecret,
        now: Timestamp,
    ) -> Result<Machine, StoreError> {
        let mut transaction = self.write().await?;
        let machine = machine::release_self(&mut transaction, secret, now).await?;
        commit(transaction).await?;
        Ok(machine)
    }

    async fn release_machine(
        &self,
        account: AccountId,
        machine: &MachineId,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Machine, StoreError> {
        let mut transaction = self.write().await?;
        let machine = machine::release(&mut transaction, account, machine, by, now).await?;
        commit(transaction).await?;
        Ok(machine)
    }

    async fn machines(&self, account: AccountId) -> Result<Vec<Machine>, StoreError> {
        machine::of_account(&mut *self.read().await?, account).await
    }

    async fn audit_log(
        &self,
        account: Option<AccountId>,
        at_most: u32,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        audit::latest(&self.reader, account, at_most).await
    }
}
