//! The report that travels from the daemon to the command line.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::{KernelBuild, KernelRelease};
use suture_protocol::{KernelTrouble, MachineId};
use suture_rollout::ChannelName;
use url::Url;

use super::PatchState;
use crate::failure::Failure;
use crate::livepatch_sysfs::Task;
use crate::mode::Brake;
use crate::regular_update::RegularUpdate;
use crate::stage::Stage;
use crate::state::Notice;

/// All that is known of a machine at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StatusReport {
    pub now: Timestamp,
    pub agent_version: String,
    pub machine_id: MachineId,
    pub cpu_model: String,
    pub boot_time: Timestamp,
    pub uptime_secs: u64,
    pub kernel: KernelBuild,
    /// None: the machine is not enabled.
    pub enrolment: Option<EnrolmentReport>,
    /// Where `enable` would enrol it.
    pub remote_server: Option<Url>,
    pub check: CheckReport,
    pub coverage: Coverage,
    pub patch: PatchState,
    /// What the patch in force, in transition or on offer closes; from its verified manifest.
    pub fixes: Vec<FixReport>,
    /// Tasks that hold an open transition, or keep one from being taken back.
    pub unpatched_tasks: Vec<Task>,
    /// The transition that is open.
    #[serde(default)]
    pub transition: Option<TransitionReport>,
    /// What the agent does, or came to.
    #[serde(default)]
    pub stage: Stage,
    #[serde(default)]
    pub brake: Brake,
    /// What the kernel reported in this boot, the last few, oldest first.
    #[serde(default)]
    pub trouble: Vec<TroubleReport>,
    /// What the vendor tells of the running kernel.
    #[serde(default)]
    pub notice: Notice,
    /// Newer kernels, installed or offered.
    #[serde(default)]
    pub regular_update: RegularUpdate,
    /// Why the agent cannot keep its state now.
    #[serde(default)]
    pub unwritten: Option<Failure>,
    /// Kernels like this one for which live patches are made, where it has none.
    #[serde(default)]
    pub covered_releases: Vec<KernelRelease>,
    /// For the running kernel.
    pub quarantine: Vec<QuarantineReport>,
    #[serde(default)]
    pub rollout: RolloutReport,
}

/// An open transition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TransitionReport {
    /// Seconds since the kernel took the module, or since the agent first saw it.
    pub open_secs: u64,
    /// Seconds until it is reversed; none: it never is, or it is being reversed.
    pub reverse_in_secs: Option<u64>,
}

/// A warning, an oops or a lockup of this boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TroubleReport {
    pub at: Timestamp,
    pub kind: KernelTrouble,
    /// The live patch that its text names.
    pub names_patch: Option<PatchVersion>,
    /// Its first line.
    pub text: String,
}

/// How this machine stands in the rollouts that concern it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RolloutReport {
    /// The version in force or on offer that this machine was drawn to get before others.
    pub early_group: Option<PatchVersion>,
    /// A later version that others get already; this machine's turn comes.
    pub coming: Option<PatchVersion>,
    /// The version in force was withdrawn.
    pub withdrawn: Option<WithdrawalReport>,
    /// What keeps the machine from new versions, beside the rollouts: the account's plan or the
    /// group's policy, in the service's words.
    pub held: Option<String>,
    /// The channel that the machine's group follows.
    pub channel: Option<ChannelName>,
}

/// A version in force that is offered to nobody any more. It stays until a later one replaces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WithdrawalReport {
    pub version: PatchVersion,
    pub reason: String,
}

/// Where the machine is enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentReport {
    pub server: Url,
    pub plan: String,
}

/// How the last check-in went; it says nothing of the patch state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum CheckReport {
    Never,
    Succeeded {
        at: Timestamp,
    },
    Failed {
        at: Timestamp,
        message: String,
        last_success: Option<Timestamp>,
    },
}

impl CheckReport {
    /// The time of the last answered check-in.
    pub fn last_success(&self) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::Succeeded { at } => Some(*at),
            Self::Failed { last_success, .. } => *last_success,
        }
    }
}

/// Whether live patches are made for the running kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// The server was not asked yet.
    Unknown,
    Covered,
    NotCovered,
    /// They were, and no longer are.
    Ended,
    /// They are for kernels like this one, and not yet for it.
    NotBuiltYet,
    /// The kernel was built without live patching.
    NoLivepatch,
}

/// A hole that a patch closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixReport {
    pub cve: String,
    pub title: String,
    pub description: String,
    /// Whether every task of the running kernel is safe from it.
    pub patched: bool,
}

/// A version that this machine does not load again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuarantineReport {
    pub version: PatchVersion,
    pub reason: String,
    pub at: Timestamp,
}
