//! What a machine reports, and what is kept of it.

use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_protocol::{CheckInRequest, MachineState};

use crate::{AgentVersion, BootId, FailureText, InvalidText};

/// A report of a machine, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckIn {
    pub kernel: KernelBuild,
    pub boot_id: BootId,
    pub boot_time: Timestamp,
    pub agent_version: AgentVersion,
    pub state: ReportedState,
    /// The version in force in the running kernel.
    pub applied: Option<PatchVersion>,
}

/// [`MachineState`] with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedState {
    Unapplied,
    Applying,
    Applied,
    ApplyFailed {
        /// What went wrong; an agent may fail to say.
        failure: Option<FailureText>,
    },
}

impl ReportedState {
    /// A failure text beside another state than `apply-failed` is dropped: it would be stale.
    pub fn new(state: MachineState, failure: Option<&str>) -> Self {
        match state {
            MachineState::Unapplied => Self::Unapplied,
            MachineState::Applying => Self::Applying,
            MachineState::Applied => Self::Applied,
            MachineState::ApplyFailed => Self::ApplyFailed {
                failure: failure.map(FailureText::shortened),
            },
        }
    }

    pub fn as_str(&self) -> &'static str {
        self.name().as_str()
    }

    /// The state without what belongs to it.
    pub fn name(&self) -> MachineState {
        match self {
            Self::Unapplied => MachineState::Unapplied,
            Self::Applying => MachineState::Applying,
            Self::Applied => MachineState::Applied,
            Self::ApplyFailed { .. } => MachineState::ApplyFailed,
        }
    }

    pub fn failure(&self) -> Option<&FailureText> {
        match self {
            Self::ApplyFailed { failure } => failure.as_ref(),
            Self::Unapplied | Self::Applying | Self::Applied => None,
        }
    }

    /// From the columns of a row; none if there is no such state.
    pub fn from_parts(state: &str, failure: Option<&str>) -> Option<Self> {
        Some(Self::new(state.parse().ok()?, failure))
    }
}

impl TryFrom<CheckInRequest> for CheckIn {
    type Error = InvalidText;

    fn try_from(request: CheckInRequest) -> Result<Self, InvalidText> {
        Ok(Self {
            kernel: request.kernel,
            boot_id: request.boot_id.parse()?,
            boot_time: request.boot_time,
            agent_version: request.agent_version.parse()?,
            state: ReportedState::new(request.state, request.failure.as_deref()),
            applied: request.applied,
        })
    }
}

/// The latest report of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastCheckIn {
    /// When it arrived, by this service's clock.
    pub at: Timestamp,
    pub boot_id: BootId,
    /// By the machine's clock.
    pub boot_time: Timestamp,
    pub state: ReportedState,
    pub applied: Option<PatchVersion>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_survives_the_way_through_its_columns() {
        let failure = Some(FailureText::shortened("EBUSY"));
        for state in [
            ReportedState::Unapplied,
            ReportedState::Applying,
            ReportedState::Applied,
            ReportedState::ApplyFailed { failure: None },
            ReportedState::ApplyFailed { failure },
        ] {
            let failure = state.failure().map(FailureText::as_str);
            assert_eq!(
                ReportedState::from_parts(state.as_str(), failure),
                Some(state.clone())
            );
        }
        assert_eq!(ReportedState::from_parts("fine", None), None);
    }

    #[test]
    fn an_old_failure_beside_a_good_state_is_dropped() {
        let state = ReportedState::new(MachineState::Applied, Some("EBUSY"));
        assert_eq!(state, ReportedState::Applied);
    }
}
