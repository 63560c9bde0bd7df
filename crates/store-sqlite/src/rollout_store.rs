//! The [`RolloutStore`] trait: each method is one transaction around the tables' own functions.

use async_trait::async_trait;
use jiff::Timestamp;
use suture_protocol::{MachineEvent, MachineId};
use suture_rollout::cohort::UnitDigest;
use suture_rollout::{EarlyPreference, Published, RolloutId, Scope};
use suture_store::{
    Account, AccountId, Actor, Answer, CheckIn, ExposedMachine, FleetSizes, GroupName, HandChange,
    KeptEvent, Look, Machine, MachineSecret, NewRollout, Observation, PastLook, Rollout,
    RolloutStore, StoreError,
};

use crate::column::database;
use crate::open::commit;
use crate::{
    SqliteStore, account, check_in, draw, event, exposure, look, machine, observe, rollout, sizes,
};

#[async_trait]
impl RolloutStore for SqliteStore {
    async fn create_rollout(
        &self,
        new: &NewRollout,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Rollout, StoreError> {
        let mut transaction = self.write().await?;
        let rollout = rollout::create(&mut transaction, new, by, now).await?;
        commit(transaction).await?;
        Ok(rollout)
    }

    async fn rollouts(&self) -> Result<Vec<Rollout>, StoreError> {
        rollout::all(&mut *self.read().await?).await
    }

    async fn rollout(&self, id: RolloutId) -> Result<Rollout, StoreError> {
        rollout::by_id(&mut *self.read().await?, id).await
    }

    async fn check_in(
        &self,
        secret: &MachineSecret,
        report: &CheckIn,
        events: &[MachineEvent],
        published: &[Published],
        now: Timestamp,
    ) -> Result<Answer, StoreError> {
        let mut transaction = self.write().await?;
        let answer = check_in::check_in(
            &mut transaction,
            &self.courses,
            secret,
            report,
            events,
            published,
            now,
        )
        .await?;
        commit(transaction).await?;
        Ok(answer)
    }

    async fn observe(
        &self,
        rollout: &Rollout,
        published: &[Published],
        now: Timestamp,
    ) -> Result<Observation, StoreError> {
        // Several statements that must see the same state.
        let begun = self.reader.begin().await;
        let mut transaction = begun.map_err(database("start a transaction"))?;
        observe::observe(&mut transaction, rollout, published, now).await
    }

    async fn record_look(
        &self,
        rollout: &Rollout,
        look: &Look,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        let recorded = look::record(&mut transaction, rollout, look, now).await?;
        commit(transaction).await?;
        Ok(recorded)
    }

    async fn change_rollout(
        &self,
        id: RolloutId,
        change: &HandChange,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Rollout, StoreError> {
        let mut transaction = self.write().await?;
        let rollout = rollout::change(&mut transaction, id, change, by, now).await?;
        commit(transaction).await?;
        Ok(rollout)
    }

    async fn looks(&self, id: RolloutId, at_most: u32) -> Result<Vec<PastLook>, StoreError> {
        look::thinned(&mut *self.read().await?, id, at_most).await
    }

    async fn rollout_events(
        &self,
        id: RolloutId,
        before: Option<u64>,
        harm_only: bool,
        at_most: u32,
    ) -> Result<Vec<KeptEvent>, StoreError> {
        event::of_rollout(&mut *self.read().await?, id, before, harm_only, at_most).await
    }

    async fn exposed_machines(
        &self,
        id: RolloutId,
        at_most: u32,
    ) -> Result<Vec<ExposedMachine>, StoreError> {
        exposure::latest(&mut *self.read().await?, id, at_most).await
    }

    async fn draw_list(&self, id: RolloutId) -> Result<Vec<UnitDigest>, StoreError> {
        draw::list(&mut *self.read().await?, id).await
    }

    async fn fleet_sizes(
        &self,
        scope: &Scope,
        published: &[Published],
        now: Timestamp,
    ) -> Result<FleetSizes, StoreError> {
        sizes::sizes(&mut *self.read().await?, scope, published, now).await
    }

    async fn set_early_preference(
        &self,
        account: AccountId,
        preference: EarlyPreference,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Account, StoreError> {
        let mut transaction = self.write().await?;
        let account = account::set_early(&mut transaction, account, preference, by, now).await?;
        commit(transaction).await?;
        Ok(account)
    }

    async fn set_machine_group(
        &self,
        account: AccountId,
        machine: &MachineId,
        group: Option<&GroupName>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Machine, StoreError> {
        let mut transaction = self.write().await?;
        let machine =
            machine::set_group(&mut transaction, account, machine, group, by, now).await?;
        commit(transaction).await?;
        Ok(machine)
    }
}
