//! The life of one load: from asking the kernel to a patch that has proven harmless.
//!
//! ```text
//! Begun ──► InTransition ──► Settling ──► Settled
//!   │            │               │
//!   └────────────┴───────────────┴── went down meanwhile ──► quarantine, on the next start
//! ```
//!
//! The journal keeps exactly one record, written before the next step is taken. So a machine that
//! a patch brings down finds out after the restart, and never loads that version again.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use thiserror::Error;

use crate::livepatch_sysfs::Running;

/// How long a patch is watched after it came into force. A machine that goes down in this time
/// without a regular stop is taken to have been brought down by the patch.
pub const SETTLE_TIME: SignedDuration = SignedDuration::from_mins(5);

/// Which patch, on which kernel, in which boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    pub version: PatchVersion,
    pub kernel: KernelBuild,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// The journal's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
pub enum Load {
    /// The kernel is asked; its answer is not known yet.
    Begun { subject: Subject, since: Timestamp },
    /// The module is loaded and the kernel moves tasks to it.
    InTransition {
        subject: Subject,
        since: Timestamp,
        /// The transition outlived its deadline; it goes on.
        stalled: bool,
        /// The agent was stopped in a regular way at this time.
        stopped: Option<Timestamp>,
    },
    /// Every task runs the new code, and the machine is watched for [`SETTLE_TIME`].
    Settling {
        subject: Subject,
        since: Timestamp,
        stopped: Option<Timestamp>,
    },
    /// The patch is in force and did no harm.
    Settled { subject: Subject, at: Timestamp },
}

/// A step that is none from here.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("a load that is {from} cannot become {to}")]
pub struct InvalidStep {
    from: &'static str,
    to: &'static str,
}

/// What a started agent makes of the record that it finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AfterStart {
    /// The record tells of something that ended; it may stay.
    Closed,
    /// The load was cut off without blame; the record goes.
    Forget,
    /// The patch is there, in this boot: keep watching it.
    Watch(Load),
    /// Something died over it: never load this version here again.
    Quarantine { subject: Subject, reason: String },
}

impl Load {
    pub fn begin(subject: Subject, now: Timestamp) -> Self {
        Self::Begun {
            subject,
            since: now,
        }
    }

    pub fn subject(&self) -> &Subject {
        match self {
            Self::Begun { subject, .. }
            | Self::InTransition { subject, .. }
            | Self::Settling { subject, .. }
            | Self::Settled { subject, .. } => subject,
        }
    }

    /// When its phase began.
    pub fn since(&self) -> Timestamp {
        match self {
            Self::Begun { since, .. }
            | Self::InTransition { since, .. }
            | Self::Settling { since, .. } => *since,
            Self::Settled { at, .. } => *at,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Begun { .. } => "begun",
            Self::InTransition { .. } => "in transition",
            Self::Settling { .. } => "settling",
            Self::Settled { .. } => "settled",
        }
    }

    fn invalid(&self, to: &'static str) -> InvalidStep {
        InvalidStep {
            from: self.name(),
            to,
        }
    }

    /// The kernel took the module.
    pub fn loaded(self, now: Timestamp) -> Result<Self, InvalidStep> {
        match self {
            Self::Begun { subject, .. } => Ok(Self::InTransition {
                subject,
                since: now,
                stalled: false,
                stopped: None,
            }),
            other => Err(other.invalid("in transition")),
        }
    }

    /// The transition outlived its deadline.
    pub fn stall(self) -> Result<Self, InvalidStep> {
        match self {
            Self::InTransition {
                subject,
                since,
                stopped,
                ..
            } => Ok(Self::InTransition {
                subject,
                since,
                stalled: true,
                stopped,
            }),
            other => Err(other.invalid("stalled")),
        }
    }

    /// The kernel reset `transition` to 0: every task runs the new code.
    pub fn finish(self, now: Timestamp) -> Result<Self, InvalidStep> {
        match self {
            Self::InTransition { subject, .. } => Ok(Self::Settling {
                subject,
                since: now,
                stopped: None,
            }),
            other => Err(other.invalid("settling")),
        }
    }

    /// Closes the watch once [`SETTLE_TIME`] is over; before that, nothing changes.
    pub fn settle(self, now: Timestamp) -> Self {
        match self {
            Self::Settling { subject, since, .. } if now.duration_since(since) >= SETTLE_TIME => {
                Self::Settled { subject, at: now }
            }
            other => other,
        }
    }

    /// The agent is stopped in a regular way, by an administrator or a shutdown: what happens to
    /// the machine until the next start is not blamed on the patch.
    pub fn stop(self, now: Timestamp) -> Self {
        match self {
            Self::InTransition {
                subject,
                since,
                stalled,
                ..
            } => Self::InTransition {
                subject,
                since,
                stalled,
                stopped: Some(now),
            },
            Self::Settling { subject, since, .. } => Self::Settling {
                subject,
                since,
                stopped: Some(now),
            },
            other => other,
        }
    }

    /// Judges the record when the agent starts in the boot `boot_id`.
    pub fn after_start(self, boot_id: &str, running: &Running, now: Timestamp) -> AfterStart {
        if self.subject().boot_id == boot_id {
            self.in_same_boot(running, now)
        } else {
            self.in_later_boot()
        }
    }

    fn in_same_boot(self, running: &Running, now: Timestamp) -> AfterStart {
        let version = Some(self.subject().version);
        let in_transition = running.in_transition == version;
        let in_force = running.in_force == version;
        match self {
            Self::Settled { .. } => AfterStart::Closed,
            Self::Begun { subject, since } | Self::InTransition { subject, since, .. }
                if in_transition =>
            {
                AfterStart::Watch(Self::InTransition {
                    subject,
                    since,
                    stalled: false,
                    stopped: None,
                })
            }
            Self::Begun { subject, .. } | Self::InTransition { subject, .. } if in_force => {
                AfterStart::Watch(Self::Settling {
                    subject,
                    since: now,
                    stopped: None,
                })
            }
            Self::Settling { subject, since, .. } if in_force => {
                AfterStart::Watch(Self::Settling {
                    subject,
                    since,
                    stopped: None,
                })
            }
            Self::Begun { subject, .. } => AfterStart::Quarantine {
                subject,
                reason: "the agent died while the kernel loaded it".to_owned(),
            },
            // Somebody took the patch out by hand.
            Self::InTransition { .. } | Self::Settling { .. } => AfterStart::Forget,
        }
    }

    fn in_later_boot(self) -> AfterStart {
        let (subject, when) = match self {
            Self::Settled { .. } => return AfterStart::Closed,
            Self::InTransition {
                stopped: Some(_), ..
            }
            | Self::Settling {
                stopped: Some(_), ..
            } => {
                return AfterStart::Forget;
            }
            Self::Begun { subject, .. } => (subject, "while the kernel loaded it"),
            Self::InTransition { subject, .. } => (subject, "while it was in transition"),
            Self::Settling { subject, .. } => (subject, "within 5 minutes after it was applied"),
        };
        AfterStart::Quarantine {
            subject,
            reason: format!("the machine went down {when}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeTree, time, version};

    fn subject(boot_id: &str) -> Subject {
        Subject {
            version: version("104.1"),
            kernel: FakeTree::kernel(),
            boot_id: boot_id.to_owned(),
        }
    }

    fn begun() -> Load {
        Load::begin(subject("boot-1"), time(0))
    }

    fn settling() -> Load {
        begun().loaded(time(1)).unwrap().finish(time(2)).unwrap()
    }

    #[test]
    fn a_load_settles_after_its_time() {
        assert!(matches!(
            settling().settle(time(2 + 299)),
            Load::Settling { .. }
        ));
        assert!(matches!(
            settling().settle(time(2 + 300)),
            Load::Settled { .. }
        ));
    }

    #[test]
    fn a_step_that_is_none_is_an_error() {
        let error = begun().finish(time(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a load that is begun cannot become settling"
        );
        assert!(settling().loaded(time(3)).is_err());
    }

    #[test]
    fn what_went_down_with_the_machine_is_quarantined() {
        let nothing = Running::default();
        let in_transition = begun().loaded(time(1)).unwrap();
        let reason = |load: Load| match load.after_start("boot-2", &nothing, time(9)) {
            AfterStart::Quarantine { reason, .. } => reason,
            other => format!("{other:?}"),
        };
        assert_eq!(
            reason(begun()),
            "the machine went down while the kernel loaded it"
        );
        assert_eq!(
            reason(in_transition),
            "the machine went down while it was in transition"
        );
        assert_eq!(
            reason(settling()),
            "the machine went down within 5 minutes after it was applied"
        );
    }

    #[test]
    fn a_regular_restart_blames_nothing() {
        let nothing = Running::default();
        let in_transition = begun().loaded(time(1)).unwrap().stop(time(3));
        assert_eq!(
            in_transition.after_start("boot-2", &nothing, time(9)),
            AfterStart::Forget
        );
        assert_eq!(
            settling()
                .stop(time(3))
                .after_start("boot-2", &nothing, time(9)),
            AfterStart::Forget
        );
        let settled = settling().settle(time(1000));
        assert_eq!(
            settled.after_start("boot-2", &nothing, time(2000)),
            AfterStart::Closed
        );
        // A stop in the middle of the system call proves nothing.
        assert!(matches!(
            begun()
                .stop(time(1))
                .after_start("boot-2", &nothing, time(9)),
            AfterStart::Quarantine { .. }
        ));
    }

    #[test]
    fn in_the_same_boot_the_kernel_is_asked() {
        let patch = Some(version("104.1"));
        let moving = Running {
            in_transition: patch,
            ..Running::default()
        };
        let in_force = Running {
            in_force: patch,
            ..Running::default()
        };
        assert!(matches!(
            begun().after_start("boot-1", &moving, time(9)),
            AfterStart::Watch(Load::InTransition { .. })
        ));
        assert!(matches!(
            begun().after_start("boot-1", &in_force, time(9)),
            AfterStart::Watch(Load::Settling { .. })
        ));
        assert!(matches!(
            begun().after_start("boot-1", &Running::default(), time(9)),
            AfterStart::Quarantine { .. }
        ));
        assert_eq!(
            settling().after_start("boot-1", &Running::default(), time(9)),
            AfterStart::Forget
        );
    }
}
