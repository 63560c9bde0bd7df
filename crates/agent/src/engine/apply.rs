//! Hands a verified patch to the kernel and follows its transition.

use std::time::Duration;

use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_protocol::EventKind;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Engine;
use crate::failure::Failure;
use crate::lifecycle::{Load, Subject};
use crate::livepatch_sysfs::unpatched_tasks;
use crate::module_loader;
use crate::patches::VerifiedPatch;
use crate::state::Refusal;
use crate::text;

/// Between two looks at sysfs. The kernel does not notify watchers of `transition`.
const POLL: Duration = Duration::from_millis(100);
/// Tasks that are named to the server.
const MOST_TASKS_TOLD: usize = 8;

impl Engine {
    /// Loads `patch` and waits until every task runs it, or until the transition is overdue.
    /// The journal is ahead of each step.
    pub(super) async fn apply(&self, patch: VerifiedPatch) -> Result<(), Failure> {
        let version = patch.manifest.version;
        if self.is_stopping() {
            return Err(Failure::new(format!(
                "patch {version} is not applied, the agent stops"
            )));
        }
        let load = Load::begin(self.subject(version), self.clock.now());
        self.memory.record(&self.dir, load.clone())?;
        if let Err(failure) = self.load(version, patch.module).await {
            self.tell_apply_failed(version, &failure);
            self.refused(version, &failure)?;
            self.memory.forget_record(&self.dir)?;
            return Err(failure);
        }
        self.tell_applied(&load);
        self.memory
            .change(&self.dir, |state| state.refusal = None)?;
        let now = self.clock.now();
        self.memory
            .step(&self.dir, |load| load.clone().loaded(now).unwrap_or(load))?;
        info!(patch.version = %version, "the kernel took patch {version}");
        self.note_running()?;
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
        };
        self.memory
            .change(&self.dir, |state| state.refusal = Some(refusal))
    }

    async fn load(&self, version: PatchVersion, module: Vec<u8>) -> Result<(), Failure> {
        let name = version.module_name();
        let loader = self.loader.clone();
        let answer = tokio::task::spawn_blocking(move || loader.load(&module))
            .await
            .map_err(|error| Failure::from_error(&error))?;
        answer.map_err(|error| module_loader::explain(&name, &error))?;
        let running = self.running()?;
        if running.in_transition == Some(version) || running.in_force == Some(version) {
            return Ok(());
        }
        Err(Failure::new(format!(
            "the kernel took the module `{name}`, but lists no patch of it"
        ))
        .hint("the kernel's reason is in its log: `dmesg | tail`"))
    }

    async fn wait(&self, version: PatchVersion) -> Result<(), Failure> {
        let deadline = Instant::now() + self.transition_timeout;
        loop {
            self.watch()?;
            let Some(Load::InTransition { .. }) = self.memory.journal() else {
                return Ok(());
            };
            if self.is_stopping() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.stalled(version)?);
            }
            sleep(POLL).await;
        }
    }

    fn stalled(&self, version: PatchVersion) -> Result<Failure, Failure> {
        self.memory
            .step(&self.dir, |load| load.clone().stall().unwrap_or(load))?;
        let seconds = self.transition_timeout.as_secs();
        let message = format!("patch {version} is still in transition after {seconds} seconds");
        let mut failure = Failure::new(message).hint(
            "the transition goes on by itself and does no harm; `livepatch status --verbose` \
             lists the tasks that hold it open",
        );
        for task in unpatched_tasks(&self.paths) {
            failure = failure.because(format!(
                "task {} ({}) still runs the old code",
                task.id, task.name
            ));
        }
        warn!(patch.version = %version, "{}", failure.one_line());
        self.tell_stalled(version);
        Ok(failure)
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

    fn tell_stalled(&self, version: PatchVersion) {
        let tasks = unpatched_tasks(&self.paths).into_iter();
        let tasks = tasks
            .take(MOST_TASKS_TOLD)
            .map(|task| text::one_line(&task.name, 64))
            .collect();
        if let Some(load) = self.memory.journal() {
            self.tell_of(&load, EventKind::TransitionStalled { version, tasks });
        }
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

    /// Takes the journal's record on, by what the kernel says now. Cheap; called often.
    pub fn watch(&self) -> Result<(), Failure> {
        if self.is_stopping() {
            return Ok(());
        }
        self.note_running()?;
        let now = self.clock.now();
        let Some(record) = self.memory.journal() else {
            return Ok(());
        };
        let version = record.subject().version;
        match &record {
            Load::Settling { .. } => self.memory.step(&self.dir, |load| load.settle(now)),
            Load::InTransition { .. } => {
                let running = self.running()?;
                if running.in_transition == Some(version) {
                    return Ok(());
                }
                if running.in_force != Some(version) {
                    warn!(patch.version = %version, "patch {version} was taken out by hand");
                    return self.memory.forget_record(&self.dir);
                }
                info!(patch.version = %version, "patch {version} is in force");
                self.tell_finished(&record, now);
                self.memory
                    .step(&self.dir, |load| load.clone().finish(now).unwrap_or(load))
            }
            Load::Begun { .. } | Load::Settled { .. } => Ok(()),
        }
    }
}
