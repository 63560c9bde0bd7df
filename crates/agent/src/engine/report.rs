//! Gathers the status.

use std::sync::{Mutex, MutexGuard, PoisonError};

use suture_advisory::PatchVersion;
use suture_kernel::KernelRelease;
use suture_protocol::{Fix, Manifest};
use suture_rollout::Offer;

use super::Engine;
use crate::config;
use crate::coverage::Series;
use crate::failure::Failure;
use crate::patches::Patches;
use crate::stage::Reason;
use crate::state::State;
use crate::status::{
    CheckReport, Coverage, EnrolmentReport, FixReport, PatchState, QuarantineReport, RolloutReport,
    StatusReport, TroubleReport, WithdrawalReport,
};
use crate::text;

/// Manifests that were proven: of the version in force and of the one on offer.
const KEPT_MANIFESTS: usize = 2;

/// The last manifests that were proven, so that not every status proves them anew.
#[derive(Debug, Default)]
pub struct ManifestCache {
    last: Mutex<Vec<Manifest>>,
}

impl ManifestCache {
    fn lock(&self) -> MutexGuard<'_, Vec<Manifest>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, version: PatchVersion) -> Option<Manifest> {
        self.lock()
            .iter()
            .find(|manifest| manifest.version == version)
            .cloned()
    }

    fn keep(&self, manifest: Manifest) {
        let mut last = self.lock();
        last.insert(0, manifest);
        last.truncate(KEPT_MANIFESTS);
    }
}

impl Engine {
    /// The status of this moment: what is in force is read from the kernel.
    pub async fn report(&self) -> Result<StatusReport, Failure> {
        // A disk that takes no journal must not take the status too.
        if let Err(failure) = self.watch()
            && self.memory.unwritten().is_none()
        {
            return Err(failure);
        }
        let state = self.memory.state();
        let patch = self.patch_state()?;
        let rollout = self.rollout(&state, &patch);
        let now = self.clock.now();
        let uptime = now.duration_since(self.facts.boot_time).as_secs();
        self.follow_kernel(Reason::Changed);
        let (transition, unpatched_tasks) = self.transition_report(&self.running()?);
        Ok(StatusReport {
            now,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            machine_id: self.machine_id(),
            cpu_model: self.facts.cpu_model.clone(),
            boot_time: self.facts.boot_time,
            uptime_secs: uptime.try_into().unwrap_or(0),
            kernel: self.facts.kernel.clone(),
            enrolment: state.enrolment.as_ref().map(|enrolment| EnrolmentReport {
                server: enrolment.server.clone(),
                plan: enrolment.plan.clone(),
            }),
            remote_server: config::load(&self.paths)
                .ok()
                .and_then(|it| it.remote_server),
            check: check(&state),
            coverage: self.coverage(&state),
            fixes: self.fixes(&patch).await,
            patch,
            unpatched_tasks,
            transition,
            stage: self.stage(),
            brake: self.brake(),
            trouble: self.trouble(),
            notice: state
                .answer_for(&self.facts.kernel)
                .and_then(|answer| answer.notice.clone())
                .unwrap_or_default(),
            regular_update: self
                .packages
                .update(&self.paths, &self.facts.kernel.release),
            unwritten: self.memory.unwritten(),
            covered_releases: self.covered_releases(&state),
            quarantine: self.quarantine(&state),
            rollout,
        })
    }

    /// What the last answer says of the rollouts that concern this machine.
    fn rollout(&self, state: &State, patch: &PatchState) -> RolloutReport {
        let kernel = &self.facts.kernel;
        let answer = state.answer_for(kernel);
        let (in_force, newest) = (patch.in_force(), patch.newest());
        let early_group = answer.and_then(|answer| answer.early_group);
        let coming = answer.and_then(|answer| answer.coming);
        let withdrawn = state.withdrawn_of(kernel).into_iter();
        RolloutReport {
            early_group: early_group.filter(|it| [in_force, newest].contains(&Some(*it))),
            coming: coming.filter(|it| Some(*it) > newest),
            withdrawn: withdrawn
                .filter(|entry| Some(entry.version) == in_force)
                .map(|entry| WithdrawalReport {
                    version: entry.version,
                    reason: entry.reason,
                })
                .next(),
            held: answer.and_then(|answer| answer.held.clone()),
            channel: answer.and_then(|answer| answer.channel.clone()),
        }
    }

    fn trouble(&self) -> Vec<TroubleReport> {
        let evidence = self.memory.evidence();
        let troubles = evidence.troubles().iter().cloned();
        troubles
            .map(|noted| TroubleReport {
                at: noted.at,
                kind: noted.kind,
                names_patch: noted.names_patch,
                text: noted.text,
            })
            .collect()
    }

    /// Only where the server said that this kernel has no patch.
    fn covered_releases(&self, state: &State) -> Vec<KernelRelease> {
        let kernel = &self.facts.kernel;
        match (&state.series, state.offer_for(kernel)) {
            (Some(series), Some(Offer::NotCovered)) if series.kernel == *kernel => {
                series.releases.clone()
            }
            _ => Vec::new(),
        }
    }

    pub(super) fn coverage(&self, state: &State) -> Coverage {
        let kernel = &self.facts.kernel;
        let built_later = |series: &Series| series.kernel == *kernel && series.is_built_later();
        match state.offer_for(kernel) {
            _ if !self.facts.livepatch => Coverage::NoLivepatch,
            None => Coverage::Unknown,
            Some(Offer::Version { .. } | Offer::UpToDate | Offer::NotYet) => Coverage::Covered,
            Some(Offer::NotCovered) if state.covered.as_ref() == Some(kernel) => Coverage::Ended,
            Some(Offer::NotCovered) if state.series.as_ref().is_some_and(built_later) => {
                Coverage::NotBuiltYet
            }
            Some(Offer::NotCovered) => Coverage::NotCovered,
        }
    }

    fn quarantine(&self, state: &State) -> Vec<QuarantineReport> {
        let entries = state.quarantine_of(&self.facts.kernel).into_iter();
        entries
            .map(|entry| QuarantineReport {
                version: entry.version,
                reason: entry.reason,
                at: entry.at,
            })
            .collect()
    }

    /// What the newest version closes, as far as its manifest is at hand. Patched is what the
    /// version in force closes.
    async fn fixes(&self, patch: &PatchState) -> Vec<FixReport> {
        let in_force = self.manifest_of(patch.in_force()).await;
        let newest = self.manifest_of(patch.newest()).await;
        let is_patched = |fix: &Fix| {
            let closed = in_force.iter().flat_map(|manifest| &manifest.fixes);
            closed.into_iter().any(|closed| closed.cve == fix.cve)
        };
        let shown = newest.as_ref().or(in_force.as_ref());
        let fixes = shown.iter().flat_map(|manifest| &manifest.fixes);
        fixes.map(|fix| fix_report(fix, is_patched(fix))).collect()
    }

    async fn manifest_of(&self, version: Option<PatchVersion>) -> Option<Manifest> {
        let version = version?;
        if let Some(manifest) = self.manifests.get(version) {
            return Some(manifest);
        }
        let settings = config::load(&self.paths).ok()?;
        let patches = Patches::new(&settings.root, &self.dir);
        let manifest = patches.manifest(&self.facts.kernel, version).await;
        let manifest = manifest
            .inspect_err(|error| tracing::debug!(%error, "no manifest of patch {version}"))
            .ok()?;
        self.manifests.keep(manifest.clone());
        Some(manifest)
    }
}

fn check(state: &State) -> CheckReport {
    let last_success = state.last_success.as_ref().map(|check| check.at);
    match (&state.last_failure, last_success) {
        (Some(failure), last_success) => CheckReport::Failed {
            at: failure.at,
            message: failure.message.clone(),
            last_success,
        },
        (None, Some(at)) => CheckReport::Succeeded { at },
        (None, None) => CheckReport::Never,
    }
}

/// What a manifest says is shown on terminals: no control characters.
fn fix_report(fix: &Fix, patched: bool) -> FixReport {
    FixReport {
        cve: fix.cve.to_string(),
        title: text::lines(&fix.title),
        description: text::lines(&fix.description),
        patched,
    }
}
