//! The [`FleetStore`] trait: each method is one transaction around the tables' own functions.

use async_trait::async_trait;
use jiff::Timestamp;
use suture_store::{
    AccountId, AccountQuery, FleetGroup, FleetSample, FleetStore, ListedAccount, ListedMachine,
    Machine, MachineQuery, NumberedEntry, StoreError,
};

use super::dialect::{self, Database};
use super::{audit, fleet, machine, replaced};

#[async_trait]
impl FleetStore for Database {
    async fn find_machines(&self, query: &MachineQuery) -> Result<Vec<ListedMachine>, StoreError> {
        fleet::find_machines(&mut *self.read().await?, query).await
    }

    async fn find_accounts(&self, query: &AccountQuery) -> Result<Vec<ListedAccount>, StoreError> {
        fleet::find_accounts(&mut *self.read().await?, query).await
    }

    async fn audit_before(
        &self,
        before: Option<u64>,
        account: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<NumberedEntry>, StoreError> {
        audit::before(&mut *self.read().await?, before, account, limit).await
    }

    async fn fleet_groups(&self, now: Timestamp) -> Result<Vec<FleetGroup>, StoreError> {
        fleet::groups(&mut *self.read().await?, now).await
    }

    async fn has_fleet_sample(&self, hour: Timestamp) -> Result<bool, StoreError> {
        fleet::has_sample(&mut *self.read().await?, hour).await
    }

    async fn keep_fleet_sample(
        &self,
        hour: Timestamp,
        groups: &[FleetGroup],
    ) -> Result<(), StoreError> {
        transaction!(self, |connection| fleet::keep_sample(
            connection, hour, groups
        ))
    }

    async fn release_silent(
        &self,
        since: Timestamp,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Machine>, StoreError> {
        let silent = machine::silent(&mut *self.read().await?, since, limit).await?;
        if silent.is_empty() {
            return Ok(Vec::new());
        }
        transaction!(self, |connection| machine::release_silent(
            connection, &silent, since, now
        ))
    }

    async fn release_replaced(
        &self,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<Machine>, StoreError> {
        transaction!(self, |connection| replaced::release(connection, limit, now))
    }

    async fn fleet_samples(&self, since: Timestamp) -> Result<Vec<FleetSample>, StoreError> {
        fleet::samples(&mut *self.read().await?, since).await
    }
}
