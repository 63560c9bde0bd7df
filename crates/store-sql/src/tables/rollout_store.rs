//! The [`RolloutStore`] trait: each method is one transaction around the tables' own functions.

use std::sync::Arc;

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

use super::check_in::{self, Report};
use super::dialect::{self, Database};
use super::{account, draw, event, exposure, look, machine, observe, rollout, sizes};

#[async_trait]
impl RolloutStore for Database {
    async fn create_rollout(
        &self,
        new: &NewRollout,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Rollout, StoreError> {
        transaction!(self, |connection| rollout::create(connection, new, by, now))
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
        published: &Arc<[Published]>,
        now: Timestamp,
    ) -> Result<Answer, StoreError> {
        let report = Box::new(Report {
            secret: secret.hash(),
            check_in: report.clone(),
            events: events.to_vec(),
            published: Arc::clone(published),
            now,
        });
        let hire = || {
            let database = self.clone();
            let work = move |batch| check_in::together(database.clone(), batch);
            let database = self.clone();
            let settle = move || {
                let database = database.clone();
                async move { database.settle().await }
            };
            (work, settle)
        };
        self.reports.submit(report, hire).await
    }

    async fn observe(
        &self,
        rollout: &Rollout,
        published: &[Published],
        now: Timestamp,
    ) -> Result<Observation, StoreError> {
        // Several statements that must see the same state.
        let mut transaction = self.snapshot().await?;
        observe::observe(&mut transaction, rollout, published, now).await
    }

    async fn record_look(
        &self,
        rollout: &Rollout,
        look: &Look,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        transaction!(self, |connection| look::record(
            connection, rollout, look, now
        ))
    }

    async fn change_rollout(
        &self,
        id: RolloutId,
        change: &HandChange,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Rollout, StoreError> {
        transaction!(self, |connection| rollout::change(
            connection, id, change, by, now
        ))
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
        transaction!(self, |connection| account::set_early(
            connection, account, preference, by, now
        ))
    }

    async fn set_machine_group(
        &self,
        account: AccountId,
        machine: &MachineId,
        group: Option<&GroupName>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Machine, StoreError> {
        transaction!(self, |connection| machine::set_group(
            connection, account, machine, group, by, now
        ))
    }
}
