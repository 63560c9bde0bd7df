//! Calls of a machine: enrol, check in, release.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::{InvalidName, KernelBuild, text_type};
use suture_rollout::{ChannelName, Offer};
use utoipa::ToSchema;

use crate::schema::{KernelBuildSchema, OfferSchema};
use crate::{KernelNotice, MachineEvent, MachineEvents};

/// Identifies an installed system without naming it: SHA-256 of an application-specific prefix
/// and `/etc/machine-id`, first 32 lowercase hex digits (machine-id(5) asks programs not to send
/// the id itself). Never all zeroes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "5f2b6c0e9d8a47c1b3e4f5061728394a")]
pub struct MachineId(String);

impl MachineId {
    /// For a machine whose disk is a copy: 122 random bits (source: RFC 9562, version 4).
    pub fn from_random_bytes(bytes: [u8; 16]) -> Self {
        let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
        Self(id.simple().to_string())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MachineId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        of_32_digits("machine id", text).map(Self)
    }
}

fn of_32_digits(kind: &'static str, text: &str) -> Result<String, InvalidName> {
    let lower_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let zero = text.bytes().all(|byte| byte == b'0');
    if text.len() == 32 && !zero && text.bytes().all(lower_hex) {
        Ok(text.to_owned())
    } else {
        let expected = "expected 32 lowercase hex digits";
        Err(InvalidName::new(kind, text, expected))
    }
}

text_type!(MachineId);

/// Identifies the hardware, or what a hypervisor gives for it, whatever system is installed there:
/// SHA-256 of an application-specific prefix and the firmware's UUID of the system (source: SMBIOS
/// 3.7, 7.2), first 32 lowercase hex digits. Firmware exists that gives many machines the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "0c9d8a47c1b3e4f5061728394a5f2b6e")]
pub struct HardwareId(String);

impl HardwareId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HardwareId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        of_32_digits("hardware id", text).map(Self)
    }
}

text_type!(HardwareId);

/// `POST /v1/machines`, with the account's token as bearer. Enrolling an already enrolled
/// machine of the same account again gives it a new secret and does not count it twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EnrolRequest {
    pub machine_id: MachineId,
    /// `uname -n`, for the account's owner to recognise the machine; at most 253 characters.
    pub hostname: String,
    #[schema(value_type = KernelBuildSchema)]
    pub kernel: KernelBuild,
    pub agent_version: String,
    /// Where the firmware tells one. Another machine of the account with the same is taken for
    /// what was installed there before, and gives its place to this one until it is heard of.
    #[serde(default)]
    pub hardware: Option<HardwareId>,
}

/// The answer to [`EnrolRequest`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrolResponse {
    /// Bearer of all later calls of this machine. Shown once, kept hashed.
    pub machine_secret: String,
    /// Name of the plan, e.g. `free`.
    pub plan: String,
}

impl fmt::Debug for EnrolResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EnrolResponse")
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

/// `POST /v1/check-in`, with the machine's secret as bearer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckInRequest {
    #[schema(value_type = KernelBuildSchema)]
    pub kernel: KernelBuild,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    #[schema(value_type = String)]
    pub boot_time: Timestamp,
    pub agent_version: String,
    pub state: MachineState,
    /// The version in force in the running kernel, if any.
    #[schema(value_type = Option<String>)]
    pub applied: Option<PatchVersion>,
    /// What went wrong, in a sentence of at most 1,000 characters; only with a failed state.
    pub failure: Option<String>,
    /// What happened since the last answered check-in, oldest first, at most
    /// [`crate::EventKind::MAX_EVENTS`]. The answer says that they are kept.
    #[serde(default)]
    #[schema(value_type = Vec<MachineEvent>)]
    pub events: MachineEvents,
}

/// What a machine says of itself at check-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MachineState {
    /// No live patch is in force.
    Unapplied,
    /// A patch is loaded and the kernel still moves tasks to it.
    Applying,
    Applied,
    /// The last try to apply failed; what was in force before still is.
    ApplyFailed,
}

impl MachineState {
    pub const ALL: [Self; 4] = [
        Self::Unapplied,
        Self::Applying,
        Self::Applied,
        Self::ApplyFailed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unapplied => "unapplied",
            Self::Applying => "applying",
            Self::Applied => "applied",
            Self::ApplyFailed => "apply-failed",
        }
    }
}

impl FromStr for MachineState {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| {
            InvalidName::new(
                "state of a machine",
                text,
                "expected `unapplied`, `applying`, `applied` or `apply-failed`",
            )
        })
    }
}

/// The answer to [`CheckInRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CheckInResponse {
    #[schema(value_type = OfferSchema)]
    pub offer: Offer,
    /// Seconds until the next check-in is wanted.
    pub next_check_in_secs: u64,
    /// The version of whose early group this machine is: the one that it is offered or has.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub early_group: Option<PatchVersion>,
    /// A later version is on its way to others; this machine's turn comes.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub coming: Option<PatchVersion>,
    /// The version in force was withdrawn. It stays until a later one replaces it.
    #[serde(default)]
    pub withdrawn: Option<Withdrawal>,
    /// What the vendor tells of the machine's kernel.
    #[serde(default)]
    pub notice: Option<KernelNotice>,
    /// Something other than a rollout keeps the machine from new versions.
    #[serde(default)]
    pub held: Option<Held>,
    /// The channel that the machine's group follows.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub channel: Option<ChannelName>,
    /// Several machines check in with this machine's secret: a disk was copied. The one that is
    /// told so is to become one of its own by `POST /v1/machines/self/split`.
    #[serde(default)]
    pub copied: bool,
}

/// `POST /v1/machines/self/split`, with the shared secret as bearer. It is answered like an
/// enrolment. Sent again with the same id it gives a new secret and counts once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SplitRequest {
    /// Random; not the shared one.
    pub machine_id: MachineId,
}

/// Why a machine is not offered what its rollouts would bring to it. What it has stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Held {
    pub by: HeldBy,
    /// What it is and what to do, in at most 1,000 characters.
    pub detail: String,
}

/// What keeps a machine from new versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HeldBy {
    /// The account's plan covers fewer machines than it has.
    MachineLimit,
    /// The policy of the machine's group.
    Policy,
    /// A reason that this program does not know.
    #[serde(other)]
    Other,
}

impl HeldBy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MachineLimit => "machine-limit",
            Self::Policy => "policy",
            Self::Other => "other",
        }
    }
}

/// A version that is offered no more, for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Withdrawal {
    #[schema(value_type = String)]
    pub version: PatchVersion,
    /// A sentence of at most 1,000 characters.
    pub reason: String,
}
