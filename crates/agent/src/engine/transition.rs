//! Follows a transition to its end: waits, explains, and takes back what does not end.
//!
//! Never forced: `force` in sysfs lets a task run old and new code at once, and keeps the module
//! in the kernel for ever.

use std::sync::PoisonError;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use suture_advisory::PatchVersion;
use suture_protocol::EventKind;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::Engine;
use crate::config::Span;
use crate::failure::Failure;
use crate::lifecycle::Load;
use crate::livepatch_sysfs::{Running, Side, Task};
use crate::mode::Mode;
use crate::stage::{Reason, Stage};
use crate::state::Refusal;
use crate::status::TransitionReport;
use crate::text;

/// Between two looks at sysfs while a command waits. The kernel does not notify watchers of
/// `transition`.
const POLL: Duration = Duration::from_millis(100);
/// Tasks that are named to the server.
const MOST_TASKS_TOLD: usize = 8;
/// A version whose transition was reversed is not tried again by itself for this time: what held
/// it open is likely to be there still.
const REST_AFTER_REVERSAL: SignedDuration = SignedDuration::from_hours(6);

impl Engine {
    /// Waits until every task runs the patch, or until the transition is overdue.
    pub(super) async fn wait(&self, version: PatchVersion) -> Result<(), Failure> {
        let deadline = Instant::now() + self.times().transition_timeout;
        loop {
            self.watch()?;
            match self.memory.journal() {
                Some(Load::InTransition { .. }) => {}
                Some(Load::Reversing { .. }) => {
                    return Err(Failure::new(format!("patch {version} is taken back"))
                        .because("its transition did not end"));
                }
                _ => return Ok(()),
            }
            if self.is_stopping() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(self.stalled(version)?);
            }
            sleep(POLL).await;
        }
    }

    /// How long this transition has been open, as far as this run of the agent saw it.
    fn open_for(&self, version: PatchVersion) -> Duration {
        let mut seen = self
            .transition
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match *seen {
            Some((known, since)) if known == version => since.elapsed(),
            _ => {
                *seen = Some((version, Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// A transition begins or has ended: the next is a new one, also to the same version.
    pub(super) fn forget_transition(&self) {
        *self
            .transition
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
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
        match &record {
            Load::Settling { .. } => self.memory.step(&self.dir, |load| load.settle(now)),
            Load::InTransition { .. } => self.watch_transition(&record, now),
            Load::Reversing { .. } => self.watch_reversal(&record, now),
            Load::Begun { .. } | Load::Settled { .. } => Ok(()),
        }
    }

    fn watch_transition(&self, record: &Load, now: Timestamp) -> Result<(), Failure> {
        let version = record.subject().version;
        let running = self.running()?;
        if running.in_transition == Some(version) {
            return self.bear(version, now);
        }
        if running.in_force != Some(version) {
            warn!(patch.version = %version, "patch {version} was taken out by hand");
            self.memory.forget_record(&self.dir)?;
            self.follow_kernel(Reason::TakenOut);
            return Ok(());
        }
        self.finished(record, now)
    }

    fn finished(&self, record: &Load, now: Timestamp) -> Result<(), Failure> {
        let version = record.subject().version;
        info!(patch.version = %version, "patch {version} is in force");
        self.forget_transition();
        self.tell_finished(record, now);
        let watch = self.times().settle;
        self.memory.step(&self.dir, |load| {
            load.clone().finish(now, watch).unwrap_or(load)
        })?;
        self.follow_kernel(Reason::Ended);
        Ok(())
    }

    /// A transition is open: is it overdue?
    fn bear(&self, version: PatchVersion, now: Timestamp) -> Result<(), Failure> {
        let (open, times) = (self.open_for(version), self.times());
        let told = matches!(
            self.memory.journal(),
            Some(Load::InTransition { stalled: true, .. })
        );
        if open >= times.transition_timeout && !told {
            self.stalled(version)?;
        }
        let overdue = times.reverse_after.is_some_and(|most| open >= most);
        if overdue && self.brake().mode != Mode::Stop {
            self.reverse(version, open, now)?;
        }
        Ok(())
    }

    /// Notes that the transition is overdue, tells it, and says who holds it.
    fn stalled(&self, version: PatchVersion) -> Result<Failure, Failure> {
        self.memory
            .step(&self.dir, |load| load.clone().stall().unwrap_or(load))?;
        let times = self.times();
        let seconds = times.transition_timeout.as_secs();
        let message = format!("patch {version} is still in transition after {seconds} seconds");
        let then = match times.reverse_after {
            Some(time) => {
                let time = Span::from_secs(time.as_secs());
                format!("after {time} it is taken back and tried again later; ")
            }
            None => String::new(),
        };
        let mut failure = Failure::new(message).hint(format!(
            "the transition goes on by itself and does no harm; {then}`livepatch status \
             --verbose` lists the tasks that hold it open"
        ));
        let tasks = self.kernel.tasks(version, Side::Unpatched);
        for task in &tasks {
            failure = failure.because(format!("task {task} still runs the old code"));
        }
        warn!(patch.version = %version, "{}", failure.one_line());
        let names = tasks.into_iter().take(MOST_TASKS_TOLD);
        let tasks = names.map(|task| text::one_line(&task.name, 64)).collect();
        if let Some(load) = self.memory.journal() {
            self.tell_of(&load, EventKind::TransitionStalled { version, tasks });
        }
        match self.kernel.nudge(version) {
            Ok(true) => info!("the kernel was asked to wake the tasks that hold patch {version}"),
            Ok(false) => {}
            Err(error) => warn!(%error, "the kernel cannot be asked to wake tasks"),
        }
        Ok(failure)
    }

    fn reverse(
        &self,
        version: PatchVersion,
        open: Duration,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let seconds = open.as_secs();
        warn!(
            patch.version = %version, seconds,
            "the transition to patch {version} is taken back after {seconds} seconds"
        );
        self.memory
            .step(&self.dir, |load| load.clone().reverse(now).unwrap_or(load))?;
        self.note_why_reversed(version, now)?;
        self.enter(Reason::Overdue, Stage::Reversing { version });
        self.ask_to_reverse(version)
    }

    /// Who held it is known now and not when it is over.
    fn note_why_reversed(&self, version: PatchVersion, now: Timestamp) -> Result<(), Failure> {
        let tasks = self.kernel.tasks(version, Side::Unpatched);
        let mut reason = "its transition did not end and was taken back".to_owned();
        if let Some(task) = tasks.first() {
            reason.push_str(&format!(": task {task} never left the old code"));
        }
        if tasks.len() > 1 {
            reason.push_str(&format!(", nor did {} more", tasks.len() - 1));
        }
        let refusal = Refusal {
            kernel: self.facts.kernel.clone(),
            version,
            reason: text::one_line(&reason, 1000),
            hint: Some(
                "it is tried again by itself after some hours; end or restart what holds it and \
                 `livepatch refresh` tries it at once"
                    .to_owned(),
            ),
            at: now,
            deferred: false,
            not_before: now.checked_add(REST_AFTER_REVERSAL).ok(),
        };
        self.memory
            .change(&self.dir, |state| state.refusal = Some(refusal))
    }

    fn ask_to_reverse(&self, version: PatchVersion) -> Result<(), Failure> {
        self.kernel.reverse(version).map_err(|error| {
            Failure::new(format!("cannot take patch {version} back"))
                .because(error.to_string())
                .hint("may the agent write `/sys/kernel/livepatch`? see its unit")
        })
    }

    fn watch_reversal(&self, record: &Load, now: Timestamp) -> Result<(), Failure> {
        let version = record.subject().version;
        let running = self.running()?;
        if running.reversing == Some(version) {
            return Ok(());
        }
        if running.in_transition == Some(version) {
            return self.ask_to_reverse(version);
        }
        if running.in_force == Some(version) {
            self.memory
                .change(&self.dir, |state| state.refusal = None)?;
            return self.finished(record, now);
        }
        self.taken_back(record, &running)
    }

    /// The kernel runs what it ran before the load. The module stays in its memory until the
    /// version is tried again: a system call that is under way may have kept the address of one of
    /// its constants, and nobody can tell when the last of them has ended.
    fn taken_back(&self, record: &Load, running: &Running) -> Result<(), Failure> {
        let version = record.subject().version;
        if let Some(refusal) = self.memory.state().refusal {
            let reason = text::one_line(&refusal.reason, EventKind::MAX_TEXT_CHARS);
            self.tell_of(record, EventKind::ApplyFailed { version, reason });
        }
        warn!(patch.version = %version, "patch {version} was taken back");
        self.forget_transition();
        self.memory.forget_record(&self.dir)?;
        if let Some(before) = running.in_force {
            info!("patch {before} is still in force");
        }
        self.follow_kernel(Reason::TakenBack);
        Ok(())
    }

    /// What the status says of an open transition, and the tasks that hold it.
    pub(super) fn transition_report(
        &self,
        running: &Running,
    ) -> (Option<TransitionReport>, Vec<Task>) {
        if let Some(version) = running.reversing {
            let report = TransitionReport {
                open_secs: self.open_for(version).as_secs(),
                reverse_in_secs: None,
            };
            return (Some(report), self.kernel.tasks(version, Side::Patched));
        }
        let Some(version) = running.in_transition else {
            return (None, Vec::new());
        };
        let open = self.open_for(version);
        // A transition that somebody else began is left to them.
        let ours = self
            .memory
            .journal()
            .is_some_and(|load| load.subject().version == version);
        let most = self.times().reverse_after.filter(|_| ours);
        let report = TransitionReport {
            open_secs: open.as_secs(),
            reverse_in_secs: most.map(|most| most.saturating_sub(open).as_secs()),
        };
        (Some(report), self.kernel.tasks(version, Side::Unpatched))
    }
}
