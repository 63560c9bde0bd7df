//! What happened here and is not told yet, with what keeps it from being told twice.
//!
//! Event and mark are one record, written in one piece: a machine that goes down at any moment
//! has told both or neither.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_protocol::{EventId, EventKind, KernelTrouble, MachineEvent};

use crate::taint;

/// Events that wait at most.
const MOST_WAITING: usize = 256;
/// Marks of what was told once; each load leaves four at most.
const MOST_MARKS: usize = 64;
/// Troubles that are kept for the status.
const MOST_TROUBLES: usize = 8;

/// The record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Evidence {
    /// Events that no answered check-in carried, oldest first.
    waiting: Vec<MachineEvent>,
    /// Names of things that happen once and were told, oldest first.
    marks: Vec<String>,
    /// None: the agent never ran here.
    boot: Option<Boot>,
}

/// What is known of the boot in which the agent ran last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Boot {
    id: String,
    /// The version in force, or in transition, when the kernel was looked at last.
    applied: Option<PatchVersion>,
    /// The agent was stopped in a regular way and not started since.
    stopped: bool,
    /// The kernel's messages up to this one were told of.
    heard: Option<u64>,
    /// `/proc/sys/kernel/tainted` when it was looked at last.
    tainted: Option<u64>,
    /// What the kernel reported, for the status; the last few, oldest first.
    #[serde(default)]
    troubles: Vec<Noted>,
}

/// Trouble of the kernel, as the status tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Noted {
    pub at: Timestamp,
    pub kind: KernelTrouble,
    pub names_patch: Option<PatchVersion>,
    /// Its first line.
    pub text: String,
}

/// The name of a kind of trouble, as on the wire.
pub fn trouble_name(kind: KernelTrouble) -> &'static str {
    match kind {
        KernelTrouble::Warning => "warning",
        KernelTrouble::Oops => "oops",
        KernelTrouble::Lockup => "lockup",
    }
}

/// Whether an event speaks against a version, so that the server should hear of it soon.
pub fn is_harm(kind: &EventKind) -> bool {
    match kind {
        EventKind::TransitionStalled { .. }
        | EventKind::ApplyFailed { .. }
        | EventKind::Quarantined { .. }
        | EventKind::KernelTrouble { .. }
        | EventKind::TaintChanged { .. } => true,
        EventKind::Restarted { clean, .. } => !clean,
        EventKind::Fetched { .. }
        | EventKind::Verified { .. }
        | EventKind::Applied { .. }
        | EventKind::TransitionFinished { .. } => false,
    }
}

impl Evidence {
    /// Adds an event. Where there is no room the oldest that is no harm goes, and only where all
    /// are harm the oldest of all.
    pub fn add(&mut self, event: MachineEvent) {
        self.waiting.push(event);
        if self.waiting.len() > MOST_WAITING {
            let harmless = self.waiting.iter().position(|event| !is_harm(&event.kind));
            self.waiting.remove(harmless.unwrap_or(0));
        }
    }

    /// Whether [`Self::mark`] was called with this name.
    pub fn is_marked(&self, name: &str) -> bool {
        self.marks.iter().any(|mark| mark == name)
    }

    /// Remembers that something was told.
    pub fn mark(&mut self, name: String) {
        self.marks.push(name);
        let surplus = self.marks.len().saturating_sub(MOST_MARKS);
        self.marks.drain(..surplus);
    }

    /// The events for the next check-in.
    pub fn next(&self) -> Vec<MachineEvent> {
        let next = self.waiting.iter().take(EventKind::MAX_EVENTS);
        next.cloned().collect()
    }

    /// The server has these.
    pub fn told(&mut self, ids: &HashSet<EventId>) {
        self.waiting.retain(|event| !ids.contains(&event.id));
    }

    /// Whether harm waits to be told.
    pub fn has_harm(&self) -> bool {
        self.waiting.iter().any(|event| is_harm(&event.kind))
    }

    /// Nobody is to be told any more.
    pub fn forget_events(&mut self) {
        self.waiting.clear();
    }

    /// The agent starts in boot `id`. Returns what is to be told of the boot before, if this is
    /// another one.
    pub fn start(&mut self, id: &str) -> Option<EventKind> {
        if let Some(boot) = self.boot.as_mut().filter(|boot| boot.id == id) {
            boot.stopped = false;
            return None;
        }
        let boot = Boot {
            id: id.to_owned(),
            ..Boot::default()
        };
        let before = self.boot.replace(boot)?;
        Some(EventKind::Restarted {
            clean: before.stopped,
            previous_boot_id: before.id,
            applied: before.applied,
        })
    }

    /// The agent is stopped in a regular way.
    pub fn stop(&mut self) {
        if let Some(boot) = &mut self.boot {
            boot.stopped = true;
        }
    }

    /// Notes what the kernel runs.
    pub fn runs(&mut self, applied: Option<PatchVersion>) {
        if let Some(boot) = &mut self.boot {
            boot.applied = applied;
        }
    }

    /// The kernel's message up to which was told.
    pub fn heard(&self) -> Option<u64> {
        self.boot.as_ref().and_then(|boot| boot.heard)
    }

    /// The kernel's messages up to `sequence` are told of.
    pub fn hear(&mut self, sequence: u64) {
        if let Some(boot) = &mut self.boot {
            boot.heard = boot.heard.max(Some(sequence));
        }
    }

    /// Keeps a trouble for the status. Where there is no room, the oldest that names no patch of
    /// ours goes first.
    pub fn note(&mut self, noted: Noted) {
        let Some(boot) = &mut self.boot else {
            return;
        };
        boot.troubles.push(noted);
        if boot.troubles.len() > MOST_TROUBLES {
            let other = boot.troubles.iter().position(|it| it.names_patch.is_none());
            boot.troubles.remove(other.unwrap_or(0));
        }
    }

    /// What was kept for the status in this boot.
    pub fn troubles(&self) -> &[Noted] {
        self.boot.as_ref().map_or(&[], |boot| &boot.troubles)
    }

    /// Notes the kernel's taint. Returns what it was, if it grew worse in this boot; the first
    /// look at a boot is none to compare with.
    pub fn taint(&mut self, now: u64) -> Option<u64> {
        let before = self.boot.as_mut()?.tainted.replace(now)?;
        taint::is_worse(before, now).then_some(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeTree, time, version};

    fn event(n: u8, kind: EventKind) -> MachineEvent {
        MachineEvent {
            id: EventId::from_random_bytes([n; 16]),
            at: time(i64::from(n)),
            boot_id: FakeTree::BOOT_ID.to_owned(),
            kind,
        }
    }

    fn progress(n: u8) -> MachineEvent {
        let version = version("104.1");
        event(n, EventKind::Fetched { version })
    }

    fn harm(n: u8) -> MachineEvent {
        let (version, reason) = (version("104.1"), "no".to_owned());
        event(n, EventKind::ApplyFailed { version, reason })
    }

    #[test]
    fn harm_outlives_progress_where_there_is_no_room() {
        let mut evidence = Evidence::default();
        evidence.add(harm(0));
        for n in 0..=255 {
            evidence.add(progress(n));
        }
        assert_eq!(evidence.waiting.len(), MOST_WAITING);
        assert_eq!(evidence.waiting[..2], [harm(0), progress(1)]);
        for _ in 0..300 {
            evidence.add(harm(1));
        }
        assert_eq!(evidence.waiting, vec![harm(1); MOST_WAITING]);
    }

    #[test]
    fn the_oldest_are_told_first_and_stay_until_they_are_told() {
        let mut evidence = Evidence::default();
        for n in 0..40 {
            evidence.add(progress(n));
        }
        let first = evidence.next();
        assert_eq!(
            (first.len(), first[0].clone()),
            (EventKind::MAX_EVENTS, progress(0))
        );
        assert_eq!(evidence.next(), first);
        evidence.told(&first.iter().map(|event| event.id).collect());
        assert_eq!(evidence.next().len(), 40 - EventKind::MAX_EVENTS);
    }

    #[test]
    fn a_restart_is_told_once_with_what_was_in_force() {
        let mut evidence = Evidence::default();
        assert_eq!(
            evidence.start("one"),
            None,
            "nothing is known of earlier boots"
        );
        evidence.runs(Some(version("104.1")));
        assert_eq!(
            evidence.start("one"),
            None,
            "the agent alone was started again"
        );
        let restarted = |clean, previous: &str, applied| EventKind::Restarted {
            clean,
            previous_boot_id: previous.to_owned(),
            applied,
        };
        let applied = Some(version("104.1"));
        assert_eq!(
            evidence.start("two"),
            Some(restarted(false, "one", applied))
        );
        assert_eq!(evidence.start("two"), None);
        evidence.stop();
        assert_eq!(evidence.start("three"), Some(restarted(true, "two", None)));
        evidence.stop();
        evidence.start("three");
        let unclean = restarted(false, "three", None);
        assert_eq!(
            evidence.start("four"),
            Some(unclean),
            "it ran again after the stop"
        );
    }

    #[test]
    fn each_boot_has_its_own_messages_and_taint() {
        let mut evidence = Evidence::default();
        evidence.start("one");
        evidence.hear(9);
        evidence.hear(3);
        assert_eq!(evidence.heard(), Some(9));
        assert_eq!(evidence.taint(0), None);
        assert_eq!(evidence.taint(512), Some(0));
        assert_eq!(evidence.taint(512), None);
        evidence.start("two");
        assert_eq!(evidence.heard(), None);
        assert_eq!(evidence.taint(1), None);
    }

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        let mut evidence = Evidence::default();
        evidence.start("one");
        evidence.add(harm(1));
        evidence.add(event(2, evidence.clone().start("two").unwrap()));
        evidence.mark("applied 104.1".to_owned());
        let kept = serde_json::to_vec(&evidence).unwrap();
        assert_eq!(serde_json::from_slice::<Evidence>(&kept).unwrap(), evidence);
    }
}
