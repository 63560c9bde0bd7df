//! What the command line returns to its caller.

use std::process;

/// Exit codes of `livepatch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitCode {
    Success,
    /// It did not work, or (for `status`) the machine is not enabled.
    Failure,
    /// The command line is wrong.
    Usage,
}

impl From<ExitCode> for process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(match code {
            ExitCode::Success => 0,
            ExitCode::Failure => 1,
            ExitCode::Usage => 2,
        })
    }
}
