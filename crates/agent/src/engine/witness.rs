//! Notes what happens here, so that the next check-in tells it, and soon if it is harm.

use std::io;

use rustix::rand::GetRandomFlags;
use suture_advisory::PatchVersion;
use suture_protocol::{EventId, EventKind, KernelTrouble, MachineEvent};
use tracing::warn;

use super::Engine;
use crate::evidence::{Noted, is_harm};
use crate::failure::Failure;
use crate::kernel_log::{KernelLog, Trouble};
use crate::state::Quarantined;
use crate::taint;
use crate::text;

impl Engine {
    /// Notes what happens once: nothing is told under the same `name` again. Evidence that cannot
    /// be kept is no reason to leave the kernel unpatched, so a failure is only logged.
    pub(super) fn tell_once(&self, name: String, kind: EventKind) {
        if !self.is_enabled() || self.memory.evidence().is_marked(&name) {
            return;
        }
        let is_harm = is_harm(&kind);
        let noted = self.memory.witness(&self.dir, |evidence| {
            evidence.add(self.event(kind)?);
            evidence.mark(name);
            Ok(())
        });
        if let Err(failure) = noted {
            warn!("an event is not kept: {}", failure.one_line());
        } else if is_harm {
            self.harm.notify_one();
        }
    }

    /// As [`Self::tell_once`], once for each version in each boot.
    pub(super) fn tell_once_a_boot(&self, version: PatchVersion, kind: EventKind) {
        let name = format!("{} {version} {}", kind.as_str(), self.facts.boot_id);
        self.tell_once(name, kind);
    }

    /// The patch, and not this machine's network or clock, is why it is not in force. The same
    /// reason is told once a boot, however often the version is tried.
    pub(super) fn tell_apply_failed(&self, version: PatchVersion, failure: &Failure) {
        let reason = shortened(&failure.one_line());
        let kind = EventKind::ApplyFailed { version, reason };
        let name = format!(
            "{} {version} {} {}",
            kind.as_str(),
            self.facts.boot_id,
            text::one_line(&failure.message, 200)
        );
        self.tell_once(name, kind);
    }

    fn event(&self, kind: EventKind) -> Result<MachineEvent, Failure> {
        Ok(MachineEvent {
            id: EventId::from_random_bytes(random_bytes()?),
            at: self.clock.now(),
            boot_id: self.facts.boot_id.clone(),
            kind,
        })
    }

    /// Compares this boot with the one that was seen last. To be called once, at the start.
    pub(super) fn look_back(&self) -> Result<(), Failure> {
        let enabled = self.is_enabled();
        let harm = self.memory.witness(&self.dir, |evidence| {
            let restarted = evidence.start(&self.facts.boot_id);
            let Some(kind) = restarted.filter(|_| enabled) else {
                return Ok(false);
            };
            let harm = is_harm(&kind);
            evidence.add(self.event(kind)?);
            Ok(harm)
        })?;
        if harm {
            self.harm.notify_one();
        }
        self.note_running()
    }

    /// Keeps in mind what the kernel runs, in case the machine goes down.
    pub(super) fn note_running(&self) -> Result<(), Failure> {
        let applied = self.on_trial()?;
        self.memory.witness(&self.dir, |evidence| {
            evidence.runs(applied);
            Ok(())
        })
    }

    /// The version that what happens now may be due to: one in transition runs already.
    fn on_trial(&self) -> Result<Option<PatchVersion>, Failure> {
        let running = self.running()?;
        Ok(running.in_transition.max(running.in_force))
    }

    /// The daemon ends because it was told to.
    pub fn note_regular_stop(&self) {
        let noted = self.memory.witness(&self.dir, |evidence| {
            evidence.stop();
            Ok(())
        });
        if let Err(failure) = noted {
            warn!("cannot note the stop: {}", failure.one_line());
        }
    }

    /// The kernel's message of this boot up to which everything was told.
    pub fn heard(&self) -> Option<u64> {
        self.memory.evidence().heard()
    }

    /// The kernel's log behind the message of this boot up to which everything was told. To be
    /// called within a tokio runtime.
    pub fn kernel_log(&self) -> io::Result<KernelLog> {
        KernelLog::new(self.kernel.kernel_log()?, self.heard())
    }

    /// Notes what the kernel reported.
    pub fn hear(&self, trouble: Trouble) {
        let first = trouble.text.lines().next().unwrap_or_default();
        warn!("the kernel reports trouble: {first}");
        let sequence = trouble.sequence;
        let noted = Noted {
            at: self.clock.now(),
            kind: trouble.kind,
            names_patch: trouble.names_patch,
            text: text::one_line(first, 200),
        };
        self.quarantine_culprit(&noted);
        let enabled = self.is_enabled();
        let noted = self.kernel_trouble(trouble).and_then(|event| {
            self.memory.witness(&self.dir, |evidence| {
                if enabled {
                    evidence.add(event);
                }
                evidence.note(noted);
                evidence.hear(sequence);
                Ok(())
            })
        });
        match noted {
            Ok(()) => self.harm.notify_one(),
            Err(failure) => warn!("the trouble is not kept: {}", failure.one_line()),
        }
        self.look_at_taint();
    }

    /// A version in whose code the kernel met an oops is not loaded again after a restart. The
    /// server hears of the oops itself.
    fn quarantine_culprit(&self, noted: &Noted) {
        let Some(version) = noted
            .names_patch
            .filter(|_| noted.kind == KernelTrouble::Oops)
        else {
            return;
        };
        let entry = Quarantined {
            kernel: self.facts.kernel.clone(),
            version,
            reason: format!("the kernel met an oops in its code: {}", noted.text),
            at: noted.at,
        };
        let known = self.memory.state().quarantine_of(&self.facts.kernel);
        if known.iter().any(|entry| entry.version == version) {
            return;
        }
        warn!(patch.version = %version, "patch {version} is quarantined: {}", entry.reason);
        let kept = self
            .memory
            .change(&self.dir, |state| state.quarantine(entry));
        if let Err(failure) = kept {
            warn!("the quarantine is not kept: {}", failure.one_line());
        }
    }

    fn kernel_trouble(&self, trouble: Trouble) -> Result<MachineEvent, Failure> {
        self.event(EventKind::KernelTrouble {
            trouble: trouble.kind,
            names_patch: trouble.names_patch,
            applied: self.on_trial()?,
            text: trouble.text,
        })
    }

    /// Notes a kernel that became tainted by something else than live patching.
    pub fn look_at_taint(&self) {
        if let Err(failure) = self.compare_taint() {
            warn!("the kernel's taint is not known: {}", failure.one_line());
        }
    }

    fn compare_taint(&self) -> Result<(), Failure> {
        let cannot = |error: std::io::Error| {
            Failure::new("cannot read the kernel's taint").because(error.to_string())
        };
        let Some(after) = taint::read(&self.paths).map_err(cannot)? else {
            return Ok(());
        };
        let (enabled, applied) = (self.is_enabled(), self.on_trial()?);
        let worse = self.memory.witness(&self.dir, |evidence| {
            let Some(before) = evidence.taint(after).filter(|_| enabled) else {
                return Ok(false);
            };
            evidence.add(self.event(EventKind::TaintChanged {
                before,
                after,
                applied,
            })?);
            Ok(true)
        })?;
        if worse {
            self.harm.notify_one();
        }
        Ok(())
    }

    /// Ready when harm was noted since it was last ready.
    pub async fn harm_noted(&self) {
        self.harm.notified().await;
    }

    /// Whether the server is to hear of harm.
    pub fn has_untold_harm(&self) -> bool {
        self.is_enabled() && self.memory.evidence().has_harm()
    }
}

/// At most as long as the protocol asks.
pub(super) fn shortened(text: &str) -> String {
    text::one_line(text, EventKind::MAX_TEXT_CHARS)
}

/// For ids.
pub(super) fn random_bytes() -> Result<[u8; 16], Failure> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty()).map_err(|error| {
        Failure::new("the kernel gives no random number").because(error.to_string())
    })?;
    Ok(bytes)
}
