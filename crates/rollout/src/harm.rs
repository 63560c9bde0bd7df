//! The kinds of harm that a live patch can do, and the groups that are compared.

use serde::{Deserialize, Serialize};

/// A kind of harm. Each has its own test and its share of the evidence ([`Harm::weight`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Harm {
    /// The machine went down without a clean shutdown.
    Crash,
    /// A live machine missed its check-ins for [`crate::Plan::silence_secs`].
    Silence,
    /// A kernel warning, oops, lockup or new taint that does not name the patch.
    KernelTrouble,
    /// A kernel warning or oops whose trace names the patch.
    PatchTrouble,
    /// The patch was refused by the machine or by its kernel.
    ApplyFailure,
    /// The transition outlived its deadline.
    Stall,
}

/// Against what a kind of harm is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Yardstick {
    /// Machines of the same stratum that were not exposed, at the same time.
    Control,
    /// A share of applications that the plan tolerates, since nothing is applied elsewhere.
    ToleratedShare,
    /// A rate per machine-hour under the patch that the plan tolerates.
    ToleratedRate,
}

impl Harm {
    pub const ALL: [Self; 6] = [
        Self::Crash,
        Self::Silence,
        Self::KernelTrouble,
        Self::PatchTrouble,
        Self::ApplyFailure,
        Self::Stall,
    ];

    /// Kinds that are compared with machines that were not exposed.
    pub const COMPARED: [Self; 3] = [Self::Crash, Self::Silence, Self::KernelTrouble];

    pub fn yardstick(self) -> Yardstick {
        match self {
            Self::Crash | Self::Silence | Self::KernelTrouble => Yardstick::Control,
            Self::ApplyFailure | Self::Stall => Yardstick::ToleratedShare,
            Self::PatchTrouble => Yardstick::ToleratedRate,
        }
    }

    /// Share of the allowed error that the kind has; the six sum to one.
    pub fn weight(self) -> f64 {
        match self {
            Self::Crash => 0.30,
            Self::Silence => 0.20,
            Self::PatchTrouble => 0.20,
            Self::KernelTrouble => 0.10,
            Self::ApplyFailure => 0.10,
            Self::Stall => 0.10,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Silence => "silence",
            Self::KernelTrouble => "kernel-trouble",
            Self::PatchTrouble => "patch-trouble",
            Self::ApplyFailure => "apply-failure",
            Self::Stall => "stall",
        }
    }
}

/// Machines are compared only within a stratum: who is drawn for the early group depends on the
/// plan, and a laptop that sleeps is silent more often than a server, patch or no patch. A
/// machine's stratum is fixed by what was known before its trial began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stratum {
    /// Of an account that pays.
    pub paid: bool,
    /// Not silent for [`Stratum::STEADY_SECS`] before its last check-in.
    pub steady: bool,
}

impl Stratum {
    /// Seconds without a silence that make a machine steady: three days.
    pub const STEADY_SECS: i64 = 3 * 24 * 3600;

    pub const ALL: [Self; 4] = [
        Self {
            paid: false,
            steady: false,
        },
        Self {
            paid: false,
            steady: true,
        },
        Self {
            paid: true,
            steady: false,
        },
        Self {
            paid: true,
            steady: true,
        },
    ];
}
