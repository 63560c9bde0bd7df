//! A patch from a folder, on an administrator's word.

use std::path::Path;

use suture_advisory::PatchVersion;
use suture_rollout::Offer;
use tracing::info;

use super::Engine;
use super::enrol::unsupported;
use super::refresh::{foreign, quarantined};
use crate::config;
use crate::decide::{self, NextStep};
use crate::failure::Failure;
use crate::patches::Patches;
use crate::stage::{Reason, Stage};

impl Engine {
    /// Takes a version, or the newest for this kernel, from a folder into the cache and applies
    /// it. Neither the server's rollout nor the owner's delay holds it back; quarantine, brakes and
    /// others' patches do. The machine need not be enabled; from now on its cache is applied after
    /// a restart, until it is disabled.
    pub async fn load_from(
        &self,
        folder: &Path,
        version: Option<PatchVersion>,
    ) -> Result<(), Failure> {
        let _operation = self.operation.lock().await;
        let loaded = self.load_locked(folder, version).await;
        self.come_to_rest();
        loaded
    }

    async fn load_locked(
        &self,
        folder: &Path,
        version: Option<PatchVersion>,
    ) -> Result<(), Failure> {
        if !self.facts.livepatch {
            return Err(unsupported(self.facts.kernel.release.as_str()));
        }
        self.watch()?;
        let kernel = &self.facts.kernel;
        let patches = Patches::new(&config::load(&self.paths)?.root, &self.dir);
        let now = self.clock.now();
        let patch = patches.import(folder, kernel, version, now).await?;
        let version = patch.manifest.version;
        let quarantine = self.memory.state().quarantine_of(kernel);
        let offer = Offer::Version { version };
        match decide::after_offer(&offer, &self.running()?, &quarantine) {
            NextStep::Keep => return Ok(()),
            NextStep::WaitFor(open) => {
                return Err(Failure::new(format!("patch {open} is still in transition"))
                    .hint("try it again when it is in force: `livepatch status --watch`"));
            }
            NextStep::Quarantined(entry) => return Err(quarantined(entry.version, &entry.reason)),
            NextStep::ForeignPatches { wanted, names } => return Err(foreign(wanted, &names)),
            NextStep::Apply(_) => {}
        }
        info!(patch.version = %version, "applying patch {version} from a folder");
        self.enter(Reason::FromCache, Stage::Verifying { version });
        self.apply(patch).await?;
        self.memory
            .change(&self.dir, |state| state.loaded_by_hand = true)?;
        Ok(patches.prune(kernel, version)?)
    }
}
