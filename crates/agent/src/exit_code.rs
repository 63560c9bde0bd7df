//! What the command line returns to its caller.

use std::process;

/// Exit codes of `livepatch`. The first three are everyone's; the others come from `check` and
/// from `status --exit-code` alone, so that scripts which only know 0 and 1 go on as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    Success,
    /// It did not work, or (for `status`) the machine is not enabled.
    Failure,
    /// The command line is wrong.
    Usage,
    /// A patch is on its way, or held back.
    Pending,
    /// The patch on offer is not in force and does not come by waiting.
    NotApplied,
    /// No live patches are made for this kernel.
    NotCovered,
    /// The kernel has to be upgraded and the machine restarted.
    UpgradeRequired,
    /// A brake is on.
    Stopped,
    /// None is built for this kernel yet.
    NotBuiltYet,
}

impl ExitCode {
    pub fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Pending => 3,
            Self::NotApplied => 4,
            Self::NotCovered => 5,
            Self::UpgradeRequired => 6,
            Self::Stopped => 7,
            Self::NotBuiltYet => 8,
        }
    }
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.code())
    }
}
