//! What a started agent does first: judge the last load, ask the server, and protect the kernel
//! from the cache where there is no answer.

use std::time::Duration;

use suture_protocol::EventKind;
use tracing::{info, warn};

use super::refresh::Source;
use super::{Asked, Engine, Refreshed};
use crate::config;
use crate::decide::{self, NextStep};
use crate::failure::Failure;
use crate::lifecycle::{AfterStart, Load};
use crate::patches::Patches;
use crate::policy;
use crate::stage::{Reason, Stage};
use crate::state::Quarantined;

impl Engine {
    /// Judges the journal's record of an earlier run. To be called once, before anything loads,
    /// and by the only daemon.
    pub fn recover(&self) -> Result<(), Failure> {
        if let Err(error) = self.dir.sweep() {
            warn!(%error, "cannot remove unfinished files of an earlier run");
        }
        self.look_back()?;
        self.judge()?;
        self.rest(Reason::Started);
        Ok(())
    }

    fn judge(&self) -> Result<(), Failure> {
        let Some(record) = self.memory.journal() else {
            return Ok(());
        };
        let running = self.running()?;
        match record
            .clone()
            .after_start(&self.facts.boot_id, &running, self.clock.now())
        {
            AfterStart::Closed => Ok(()),
            AfterStart::Forget => self.memory.forget_record(&self.dir),
            AfterStart::Watch(load) => {
                self.tell_what_was_missed(&record, &load);
                self.memory.record(&self.dir, load)
            }
            AfterStart::Quarantine { subject, reason } => {
                let version = subject.version;
                warn!(patch.version = %version, reason, "patch {version} is quarantined: {reason}");
                let told = super::witness::shortened(&reason);
                self.tell_of(
                    &record,
                    EventKind::Quarantined {
                        version,
                        reason: told,
                    },
                );
                let at = self.clock.now();
                let entry = Quarantined {
                    kernel: subject.kernel,
                    version,
                    reason,
                    at,
                };
                // First the quarantine, then the record: dying in between repeats the judgement.
                self.memory
                    .change(&self.dir, |state| state.quarantine(entry))?;
                self.memory.forget_record(&self.dir)
            }
        }
    }

    /// The kernel went on while no agent watched.
    fn tell_what_was_missed(&self, before: &Load, after: &Load) {
        if matches!(before, Load::Begun { .. }) {
            self.tell_applied(before);
        }
        if matches!(before, Load::Begun { .. } | Load::InTransition { .. })
            && matches!(after, Load::Settling { .. })
        {
            self.tell_finished(before, self.clock.now());
        }
    }

    /// Asks the server, for `patience` at most, and goes where it says; what it offers is taken
    /// from the cache where it is there. Without an answer the cache alone decides.
    pub async fn start(&self, patience: Duration) -> Result<Refreshed, Failure> {
        let _operation = self.operation.lock().await;
        let refreshed = self.first_round(patience).await;
        self.come_to_rest();
        refreshed
    }

    async fn first_round(&self, patience: Duration) -> Result<Refreshed, Failure> {
        let mut refreshed = match self.open_session()? {
            Err(failure) => Refreshed::unchecked(failure),
            Ok(session) => match self.check_in(&session, Some(patience)).await {
                Ok(answer) => {
                    self.follow(&session, answer, Source::CacheFirst, Asked::ByClock)
                        .await?
                }
                Err(failure) => Refreshed::unchecked(failure),
            },
        };
        if refreshed.check.is_err() && refreshed.patch.is_ok() {
            refreshed.patch = self.apply_cached().await;
        }
        Ok(refreshed)
    }

    /// Applies the newest patch of the cache without any network.
    pub async fn apply_from_cache(&self) -> Result<(), Failure> {
        let _operation = self.operation.lock().await;
        let applied = self.apply_cached().await;
        self.come_to_rest();
        applied
    }

    /// With the operation lock held.
    pub(super) async fn apply_cached(&self) -> Result<(), Failure> {
        let state = self.memory.state();
        if !(state.enrolment.is_some() || state.loaded_by_hand) || !self.facts.livepatch {
            return Ok(());
        }
        let kernel = &self.facts.kernel;
        let settings = config::load(&self.paths)?;
        let patches = Patches::new(&settings.root, &self.dir);
        let cached = patches.cached_versions(kernel)?;
        let withdrawn = state.withdrawn_of(kernel);
        let startable = decide::startable(&cached, state.offer_for(kernel), &withdrawn);
        let quarantine = state.quarantine_of(kernel);
        if !self.brake().mode.may_apply() {
            return Ok(());
        }
        match decide::at_start(&startable, &self.running()?, &quarantine) {
            NextStep::Apply(version) if self.lets_rest(version, Asked::ByClock) => Ok(()),
            NextStep::Apply(version) => {
                info!(patch.version = %version, "applying patch {version} from the cache");
                self.enter(Reason::FromCache, Stage::Verifying { version });
                let patch = match patches.offline(kernel, version).await {
                    Ok(patch) => patch,
                    Err(error) => {
                        let failure = Failure::from(error);
                        self.refused(version, &failure)?;
                        self.rest(Reason::Refused);
                        return Err(failure);
                    }
                };
                self.tell_once_a_boot(version, EventKind::Verified { version });
                let (made, now) = (patch.manifest.created, self.clock.now());
                if let Some(reason) = policy::holds_back(&settings, made, now) {
                    return self.defer(version, reason);
                }
                self.apply(patch).await
            }
            NextStep::ForeignPatches { names, .. } => {
                warn!(
                    "other live patches are loaded, nothing is applied: {}",
                    names.join(", ")
                );
                Ok(())
            }
            NextStep::Keep | NextStep::WaitFor(_) | NextStep::Quarantined(_) => Ok(()),
        }
    }
}
