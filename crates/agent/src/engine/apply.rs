//! Hands a verified patch to the kernel and follows its transition.

use std::io;

use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_protocol::EventKind;
use tracing::{info, warn};

use super::Engine;
use crate::failure::Failure;
use crate::lifecycle::{Load, Subject};
use crate::patches::VerifiedPatch;
use crate::privileged::{self, LoadError};
use crate::stage::{Reason, Stage};
use crate::state::Refusal;

impl Engine {
    /// Loads `patch` and waits until every task runs it, or until the transition is overdue.
    /// The journal is ahead of each step.
    pub(super) async fn apply(&self, patch: VerifiedPatch) -> Result<(), Failure> {
        let version = patch.manifest.version;
        let brake = self.brake();
        if !brake.mode.may_apply() {
            self.rest(Reason::Refused);
            return Err(brake.refusal(version));
        }
        if self.is_stopping() {
            self.rest(Reason::Refused);
            return Err(Failure::new(format!(
                "patch {version} is not applied, the agent stops"
            )));
        }
        if self.was_taken_back(version)
            && let Err(failure) = self.unload(version).await
        {
            self.rest(Reason::Refused);
            return Err(failure);
        }
        self.enter(Reason::Verified, Stage::Applying { version });
        self.forget_transition();
        let load = Load::begin(self.subject(version), self.clock.now());
        self.memory.record(&self.dir, load.clone())?;
        if let Err(failure) = self.load(version).await {
            self.tell_apply_failed(version, &failure);
            self.refused(version, &failure)?;
            self.memory.forget_record(&self.dir)?;
            self.rest(Reason::Refused);
            return Err(failure);
        }
        self.tell_applied(&load);
        self.memory
            .change(&self.dir, |state| state.refusal = None)?;
        let now = self.clock.now();
        self.memory
            .step(&self.dir, |load| load.clone().loaded(now).unwrap_or(load))?;
        info!(patch.version = %version, "the kernel took patch {version}");
        // Whoever asked for it, the daemon watches it from here on.
        self.wake();
        self.note_running()?;
        self.rest(Reason::Taken);
        self.wait(version).await
    }

    pub(super) fn subject(&self, version: PatchVersion) -> Subject {
        let (kernel, boot_id) = (self.facts.kernel.clone(), self.facts.boot_id.clone());
        Subject {
            version,
            kernel,
            boot_id,
        }
    }

    /// Notes that a patch is not loaded, and why.
    pub(super) fn refused(&self, version: PatchVersion, failure: &Failure) -> Result<(), Failure> {
        let refusal = Refusal {
            kernel: self.facts.kernel.clone(),
            version,
            reason: failure.one_line().chars().take(1000).collect(),
            hint: failure.hint.clone(),
            at: self.clock.now(),
            deferred: false,
            not_before: None,
        };
        self.memory
            .change(&self.dir, |state| state.refusal = Some(refusal))
    }

    /// Notes that the owner lets a version wait, and why.
    pub(super) fn defer(&self, version: PatchVersion, reason: String) -> Result<(), Failure> {
        info!(patch.version = %version, "patch {version} waits: {reason}");
        let refusal = Refusal {
            kernel: self.facts.kernel.clone(),
            version,
            reason,
            hint: None,
            at: self.clock.now(),
            deferred: true,
            not_before: None,
        };
        self.memory
            .change(&self.dir, |state| state.refusal = Some(refusal))?;
        self.rest(Reason::OwnerWaits);
        Ok(())
    }

    async fn load(&self, version: PatchVersion) -> Result<(), Failure> {
        let name = version.module_name();
        let kernel = self.kernel.clone();
        let answer = tokio::task::spawn_blocking(move || kernel.load(version))
            .await
            .map_err(|error| Failure::from_error(&error))?;
        answer.map_err(|error| match error {
            LoadError::Kernel(error) => privileged::explain(&name, &error),
            LoadError::Refused(failure) => failure,
        })?;
        let running = self.running()?;
        if running.in_transition == Some(version) || running.in_force == Some(version) {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the kernel took the module `{name}`, but lists no patch of it"
        ))
        .hint("the kernel's reason is in its log: `dmesg | tail`"))
    }

    /// Takes out what was taken back and stayed in memory. If it is still there afterwards, the
    /// kernel refuses the load, and its refusal says what to do.
    async fn unload(&self, version: PatchVersion) -> Result<(), Failure> {
        let (kernel, name) = (self.kernel.clone(), version.module_name());
        let answer = tokio::task::spawn_blocking(move || kernel.unload(version)).await;
        match answer.map_err(|error| Failure::from_error(&error))? {
            Ok(()) => info!("the module of patch {version}, taken back before, is out of memory"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                let failure = format!("a task is still in `{name}`, which was taken back");
                return Err(Failure::new(failure).hint(format!(
                    "it is loaded anew when no task is; `grep -l {name} /proc/*/task/*/stack` \
                     finds it"
                )));
            }
            Err(error) => warn!(%error, "the module `{name}` stays in the kernel"),
        }
        Ok(())
    }

    /// Its transition did not end the last time, in this boot or before, and its module may still
    /// be in the kernel.
    fn was_taken_back(&self, version: PatchVersion) -> bool {
        let refusal = self.memory.state().refusal;
        refusal.is_some_and(|refusal| refusal.version == version && refusal.not_before.is_some())
    }

    /// The kernel took the module for which the journal has `begun`.
    pub(super) fn tell_applied(&self, begun: &Load) {
        let version = begun.subject().version;
        self.tell_of(begun, EventKind::Applied { version });
    }

    /// Every task runs the new code; `load` is the journal's record from before.
    pub(super) fn tell_finished(&self, load: &Load, now: Timestamp) {
        let version = load.subject().version;
        let millis = now.duration_since(load.since()).as_millis();
        // A clock that was set back tells nothing of the time that it took.
        let millis = u64::try_from(millis).unwrap_or(0);
        self.tell_of(load, EventKind::TransitionFinished { version, millis });
    }

    /// Tells once of a load, which the start of its phase tells from every other.
    pub(super) fn tell_of(&self, load: &Load, kind: EventKind) {
        let subject = load.subject();
        let name = format!(
            "{} {} {} {}",
            kind.as_str(),
            subject.version,
            subject.boot_id,
            load.since()
        );
        self.tell_once(name, kind);
    }
}
