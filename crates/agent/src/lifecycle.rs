//! The life of one load: from asking the kernel to a patch that has proven harmless.
//!
//! ```text
//! Begun ──► InTransition ──► Settling ──► Settled
//!   │         │  │               │
//!   │         │  └─► Reversing ──┼── the kernel took it back ──► no record
//!   │         │        │         │
//!   └─────────┴────────┴─────────┴── went down meanwhile ──► quarantine, on the next start
//! ```
//!
//! The journal keeps exactly one record, written before the next step is taken. So a machine that
//! a patch brings down finds out after the restart, and never loads that version again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use thiserror::Error;

use crate::livepatch_sysfs::Running;

/// How long a patch is watched of which an older agent's record does not say it, in seconds.
const SETTLE_SECS: u64 = 300;

fn settle_secs() -> u64 {
    SETTLE_SECS
}

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
    /// The kernel was asked to take the unfinished transition back.
    Reversing {
        subject: Subject,
        since: Timestamp,
        stopped: Option<Timestamp>,
    },
    /// Every task runs the new code, and the machine is watched. If it goes down in this time
    /// without a regular stop, it is taken to have been brought down by the patch.
    Settling {
        subject: Subject,
        since: Timestamp,
        stopped: Option<Timestamp>,
        /// How long it is watched, in seconds.
        #[serde(default = "settle_secs")]
        watch_secs: u64,
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
            | Self::Reversing { subject, .. }
            | Self::Settling { subject, .. }
            | Self::Settled { subject, .. } => subject,
        }
    }

    /// When its phase began.
    pub fn since(&self) -> Timestamp {
        match self {
            Self::Begun { since, .. }
            | Self::InTransition { since, .. }
            | Self::Reversing { since, .. }
            | Self::Settling { since, .. } => *since,
            Self::Settled { at, .. } => *at,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Begun { .. } => "begun",
            Self::InTransition { .. } => "in transition",
            Self::Reversing { .. } => "being reversed",
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

    /// The transition is to be taken back.
    pub fn reverse(self, now: Timestamp) -> Result<Self, InvalidStep> {
        match self {
            Self::InTransition { subject, .. } => Ok(Self::Reversing {
                subject,
                since: now,
                stopped: None,
            }),
            other => Err(other.invalid("being reversed")),
        }
    }

    /// The kernel reset `transition` to 0: every task runs the new code. From now on the machine
    /// is watched for `watch`. A transition may also end while it is to be reversed, before the
    /// kernel heard of that.
    pub fn finish(self, now: Timestamp, watch: Duration) -> Result<Self, InvalidStep> {
        match self {
            Self::InTransition { subject, .. } | Self::Reversing { subject, .. } => {
                Ok(Self::Settling {
                    subject,
                    since: now,
                    stopped: None,
                    watch_secs: watch.as_secs(),
                })
            }
            other => Err(other.invalid("settling")),
        }
    }

    /// Closes the watch once its time is over; before that, nothing changes.
    pub fn settle(self, now: Timestamp) -> Self {
        match self {
            Self::Settling {
                subject,
                since,
                watch_secs,
                ..
            } if is_over(since, watch_secs, now) => Self::Settled { subject, at: now },
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
            Self::Reversing { subject, since, .. } => Self::Reversing {
                subject,
                since,
                stopped: Some(now),
            },
            Self::Settling {
                subject,
                since,
                watch_secs,
                ..
            } => Self::Settling {
                subject,
                since,
                stopped: Some(now),
                watch_secs,
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
        let reversing = running.reversing == version;
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
            Self::Reversing { subject, since, .. } if in_transition || reversing => {
                AfterStart::Watch(Self::Reversing {
                    subject,
                    since,
                    stopped: None,
                })
            }
            Self::Begun { subject, .. }
            | Self::InTransition { subject, .. }
            | Self::Reversing { subject, .. }
                if in_force =>
            {
                AfterStart::Watch(Self::Settling {
                    subject,
                    since: now,
                    stopped: None,
                    watch_secs: SETTLE_SECS,
                })
            }
            Self::Settling {
                subject,
                since,
                watch_secs,
                ..
            } if in_force => AfterStart::Watch(Self::Settling {
                subject,
                since,
                stopped: None,
                watch_secs,
            }),
            Self::Begun { subject, .. } => AfterStart::Quarantine {
                subject,
                reason: "the agent died while the kernel loaded it".to_owned(),
            },
            // Somebody took the patch out by hand, or we did.
            Self::InTransition { .. } | Self::Reversing { .. } | Self::Settling { .. } => {
                AfterStart::Forget
            }
        }
    }

    fn in_later_boot(self) -> AfterStart {
        let (subject, when) = match self {
            Self::Settled { .. } => return AfterStart::Closed,
            Self::InTransition {
                stopped: Some(_), ..
            }
            | Self::Reversing {
                stopped: Some(_), ..
            }
            | Self::Settling {
                stopped: Some(_), ..
            } => {
                return AfterStart::Forget;
            }
            Self::Begun { subject, .. } => (subject, "while the kernel loaded it".to_owned()),
            Self::InTransition { subject, .. } => {
                (subject, "while it was in transition".to_owned())
            }
            Self::Reversing { subject, .. } => {
                (subject, "while its transition was reversed".to_owned())
            }
            Self::Settling {
                subject,
                watch_secs,
                ..
            } => {
                let time = in_words(watch_secs);
                (subject, format!("within {time} after it was applied"))
            }
        };
        AfterStart::Quarantine {
            subject,
            reason: format!("the machine went down {when}"),
        }
    }
}

fn is_over(since: Timestamp, watch_secs: u64, now: Timestamp) -> bool {
    let watch = i64::try_from(watch_secs).unwrap_or(i64::MAX);
    now.duration_since(since) >= SignedDuration::from_secs(watch)
}

fn in_words(seconds: u64) -> String {
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..7200 => (seconds / 60, "minute"),
        _ => (seconds / 3600, "hour"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeTree, time, version};

    const WATCH: Duration = Duration::from_secs(300);

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
        begun()
            .loaded(time(1))
            .unwrap()
            .finish(time(2), WATCH)
            .unwrap()
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
        let error = begun().finish(time(1), WATCH).unwrap_err();
        assert_eq!(
            error.to_string(),
            "a load that is begun cannot become settling"
        );
        assert!(settling().loaded(time(3)).is_err());
        assert!(settling().reverse(time(3)).is_err());
    }

    #[test]
    fn a_record_of_an_older_agent_is_watched_as_it_was() {
        let mut record = serde_json::to_value(settling()).unwrap();
        assert!(
            record
                .as_object_mut()
                .unwrap()
                .remove("watch_secs")
                .is_some()
        );
        let record: Load = serde_json::from_value(record).unwrap();
        assert_eq!(record, settling());
    }

    #[test]
    fn a_reversal_ends_without_a_record_and_is_watched_meanwhile() {
        let patch = Some(version("104.1"));
        let reversing = || begun().loaded(time(1)).unwrap().reverse(time(9)).unwrap();
        let kernel = |running: Running| reversing().after_start("boot-1", &running, time(20));
        let going_back = Running {
            reversing: patch,
            ..Running::default()
        };
        let not_heard_yet = Running {
            in_transition: patch,
            ..Running::default()
        };
        for running in [going_back, not_heard_yet] {
            assert_eq!(kernel(running), AfterStart::Watch(reversing()));
        }
        assert_eq!(kernel(Running::default()), AfterStart::Forget);
        let too_late = Running {
            in_force: patch,
            ..Running::default()
        };
        assert!(matches!(
            kernel(too_late),
            AfterStart::Watch(Load::Settling { .. })
        ));
        let later = |load: Load| load.after_start("boot-2", &Running::default(), time(20));
        assert!(matches!(later(reversing()), AfterStart::Quarantine { .. }));
        assert_eq!(later(reversing().stop(time(10))), AfterStart::Forget);
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
