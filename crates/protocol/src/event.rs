//! What happens on a machine, told to the server at the next check-in.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::InvalidName;
use utoipa::ToSchema;
use uuid::Uuid;

/// Something that happened on a machine. It is told until a check-in that carried it was
/// answered, and counted once: the server knows it by its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MachineEvent {
    #[schema(value_type = String)]
    pub id: EventId,
    /// By the machine's clock, which may be wrong; nothing is decided by it.
    #[schema(value_type = String)]
    pub at: Timestamp,
    /// The boot in which it happened or was found out.
    pub boot_id: String,
    #[serde(flatten)]
    pub kind: EventKind,
}

/// The events of a check-in: a list. An event that can't be read, of a newer agent say, must not
/// keep a machine from its patch, so it is counted and left out, and its neighbours are taken.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct MachineEvents {
    pub known: Vec<MachineEvent>,
    /// What was sent beside them.
    #[serde(skip)]
    pub unread: usize,
}

impl From<Vec<MachineEvent>> for MachineEvents {
    fn from(known: Vec<MachineEvent>) -> Self {
        Self { known, unread: 0 }
    }
}

impl<'de> Deserialize<'de> for MachineEvents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Told {
            Event(Box<MachineEvent>),
            Unread(IgnoredAny),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Sent {
            List(Vec<Told>),
            Unread(IgnoredAny),
        }
        let mut events = Self::default();
        match Option::deserialize(deserializer)? {
            None => {}
            Some(Sent::Unread(_)) => events.unread = 1,
            Some(Sent::List(list)) => {
                for told in list {
                    match told {
                        Told::Event(event) => events.known.push(*event),
                        Told::Unread(_) => events.unread += 1,
                    }
                }
            }
        }
        Ok(events)
    }
}

/// A random UUID, made by the machine before it first tells of the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(Uuid);

impl EventId {
    /// A UUID of version 4 (RFC 9562) from 16 random bytes.
    pub fn from_random_bytes(bytes: [u8; 16]) -> Self {
        Self(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(formatter)
    }
}

impl FromStr for EventId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| InvalidName::new("event id", text, "expected a UUID"))
    }
}

/// What happened. Texts have at most [`EventKind::MAX_TEXT_CHARS`] characters; the server
/// shortens longer ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum EventKind {
    /// The files of a version are here.
    Fetched {
        #[schema(value_type = String)]
        version: PatchVersion,
    },
    /// Metadata, manifest and module are what they should be.
    Verified {
        #[schema(value_type = String)]
        version: PatchVersion,
    },
    /// The kernel took the module and moves tasks to it.
    Applied {
        #[schema(value_type = String)]
        version: PatchVersion,
    },
    /// Every task runs the new code.
    TransitionFinished {
        #[schema(value_type = String)]
        version: PatchVersion,
        /// Milliseconds since the kernel took the module.
        millis: u64,
    },
    /// The transition outlived its deadline; it goes on.
    TransitionStalled {
        #[schema(value_type = String)]
        version: PatchVersion,
        /// Names of tasks that hold it open, at most eight.
        tasks: Vec<String>,
    },
    /// The machine or its kernel refused the version.
    ApplyFailed {
        #[schema(value_type = String)]
        version: PatchVersion,
        reason: String,
    },
    /// The machine went down over this version and will not load it again.
    Quarantined {
        #[schema(value_type = String)]
        version: PatchVersion,
        reason: String,
    },
    /// The kernel printed a warning, an oops or the report of a lockup.
    KernelTrouble {
        trouble: KernelTrouble,
        /// The live patch that its text names, if any.
        #[schema(value_type = Option<String>)]
        names_patch: Option<PatchVersion>,
        /// The version in force then.
        #[schema(value_type = Option<String>)]
        applied: Option<PatchVersion>,
        /// Its first lines.
        text: String,
    },
    /// `/proc/sys/kernel/tainted` has new bits, other than those that live patching itself sets.
    TaintChanged {
        before: u64,
        after: u64,
        #[schema(value_type = Option<String>)]
        applied: Option<PatchVersion>,
    },
    /// The machine was started again.
    Restarted {
        /// The agent was stopped in a regular way before.
        clean: bool,
        /// The boot before this one.
        previous_boot_id: String,
        /// The version in force when the boot before was last looked at.
        #[schema(value_type = Option<String>)]
        applied: Option<PatchVersion>,
    },
}

/// What kind of trouble the kernel reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KernelTrouble {
    /// `WARN` and the like; the kernel goes on.
    Warning,
    /// An oops, a `BUG`, a general protection fault, a bad page fault in the kernel.
    Oops,
    /// A soft or hard lockup, an RCU stall, a hung task.
    Lockup,
}

impl EventKind {
    pub const MAX_TEXT_CHARS: usize = 1000;

    /// Events in one check-in at most; the rest comes with the next.
    pub const MAX_EVENTS: usize = 32;

    /// The name on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Fetched { .. } => "fetched",
            Self::Verified { .. } => "verified",
            Self::Applied { .. } => "applied",
            Self::TransitionFinished { .. } => "transition-finished",
            Self::TransitionStalled { .. } => "transition-stalled",
            Self::ApplyFailed { .. } => "apply-failed",
            Self::Quarantined { .. } => "quarantined",
            Self::KernelTrouble { .. } => "kernel-trouble",
            Self::TaintChanged { .. } => "taint-changed",
            Self::Restarted { .. } => "restarted",
        }
    }

    /// The version that it is about or that was in force.
    pub fn version(&self) -> Option<PatchVersion> {
        match self {
            Self::Fetched { version }
            | Self::Verified { version }
            | Self::Applied { version }
            | Self::TransitionFinished { version, .. }
            | Self::TransitionStalled { version, .. }
            | Self::ApplyFailed { version, .. }
            | Self::Quarantined { version, .. } => Some(*version),
            Self::KernelTrouble {
                names_patch,
                applied,
                ..
            } => names_patch.or(*applied),
            Self::TaintChanged { applied, .. } | Self::Restarted { applied, .. } => *applied,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_counted_and_the_rest_is_taken() {
        let event = |number: u8, kind: &str| {
            json!({
                "id": Uuid::from_bytes([number; 16]),
                "at": "2026-11-23T12:00:00Z",
                "boot_id": "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1",
                "kind": kind,
                "version": "104.1",
            })
        };
        let sent = json!([
            event(1, "fetched"),
            event(2, "teleported"),
            "nonsense",
            event(3, "applied"),
        ]);
        let read = |sent| serde_json::from_value::<MachineEvents>(sent).unwrap();
        let events = read(sent.clone());
        let kinds: Vec<_> = events
            .known
            .iter()
            .map(|event| event.kind.as_str())
            .collect();
        assert_eq!((kinds, events.unread), (vec!["fetched", "applied"], 2));
        let again = serde_json::to_value(&events).unwrap();
        assert_eq!(again, json!([sent[0], sent[3]]));
        assert_eq!(read(json!("nonsense")).unread, 1);
        assert_eq!(read(json!(null)), MachineEvents::default());
    }
}
