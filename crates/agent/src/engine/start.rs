//! What a started agent does first: judge the last load, then protect the kernel from the cache.

use tracing::{info, warn};

use super::Engine;
use crate::config;
use crate::decide::{self, NextStep};
use crate::failure::Failure;
use crate::lifecycle::AfterStart;
use crate::patches::Patches;
use crate::state::Quarantined;

impl Engine {
    /// Judges the journal's record of an earlier run. To be called once, before anything loads.
    pub fn recover(&self) -> Result<(), Failure> {
        let Some(record) = self.memory.journal() else {
            return Ok(());
        };
        let running = self.running()?;
        match record.after_start(&self.facts.boot_id, &running, self.clock.now()) {
            AfterStart::Closed => Ok(()),
            AfterStart::Forget => self.memory.forget_record(&self.dir),
            AfterStart::Watch(load) => self.memory.record(&self.dir, load),
            AfterStart::Quarantine { subject, reason } => {
                let version = subject.version;
                warn!(patch.version = %version, reason, "patch {version} is quarantined: {reason}");
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

    /// Applies the newest patch of the cache without any network.
    pub async fn apply_from_cache(&self) -> Result<(), Failure> {
        let _operation = self.operation.lock().await;
        let state = self.memory.state();
        if state.enrolment.is_none() || !self.facts.livepatch {
            return Ok(());
        }
        let kernel = &self.facts.kernel;
        let settings = config::load(&self.paths)?;
        let patches = Patches::new(&settings.root, &self.dir);
        let cached = patches.cached_versions(kernel)?;
        let quarantine = state.quarantine_of(kernel);
        match decide::at_start(&cached, &self.running()?, &quarantine) {
            NextStep::Apply(version) => {
                info!(patch.version = %version, "applying patch {version} from the cache");
                let patch = match patches.offline(kernel, version).await {
                    Ok(patch) => patch,
                    Err(error) => {
                        let failure = Failure::from(error);
                        self.refused(version, &failure)?;
                        return Err(failure);
                    }
                };
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
