//! A machine and its enrolment.

use jiff::Timestamp;
use suture_kernel::KernelBuild;
use suture_protocol::{EnrolRequest, HardwareId, MachineId};

use crate::{
    AccountId, AgentVersion, Boots, CheckIn, GroupName, Hostname, InvalidText, LastCheckIn,
    MachineSecret, Plan, TokenId,
};

/// An enrolled machine. Its id is unique within its account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    pub account: AccountId,
    pub id: MachineId,
    pub hostname: Hostname,
    /// What it ran when it was last heard of.
    pub kernel: KernelBuild,
    pub agent_version: AgentVersion,
    /// The token of its latest enrolment.
    pub token: TokenId,
    /// Its first enrolment with this account since it was released last, if ever.
    pub created: Timestamp,
    /// Its latest enrolment.
    pub enrolled: Timestamp,
    /// The operator's group that it is in.
    pub group: Option<GroupName>,
    /// The account's plan became smaller than its machines are many, and this is one of those
    /// that came last: it keeps what it has and gets nothing new.
    pub over_limit: bool,
    /// Since when it has not been silent for longer than [`Machine::SILENCE_SECS`].
    pub steady_since: Timestamp,
    /// None: not heard of since its enrolment.
    pub last_check_in: Option<LastCheckIn>,
    /// Where it checked in from lately.
    pub boots: Boots,
    /// A system that was installed on the same hardware later: this one has no place of its own
    /// until it is heard of, and goes after [`Machine::REPLACED_SECS`].
    pub replaced_by: Option<MachineId>,
}

impl Machine {
    /// Seconds between two check-ins that end a machine's steady time: three hours.
    pub const SILENCE_SECS: i64 = 3 * 3600;

    /// Seconds without a check-in after which a machine goes whose hardware another took: a week,
    /// in which one that only shares the firmware's id with others is heard of.
    pub const REPLACED_SECS: i64 = 7 * 24 * 3600;

    /// The machine as it is known from a check-in on; times to the millisecond, as they are kept.
    #[must_use]
    pub fn after(&self, check_in: &CheckIn, now: Timestamp) -> Self {
        let now = whole_milliseconds(now);
        let last = self.last_check_in.as_ref();
        let heard = last.map_or(self.enrolled, |last| last.at);
        let steady = now.duration_since(heard).as_secs() <= Self::SILENCE_SECS;
        Self {
            kernel: check_in.kernel.clone(),
            agent_version: check_in.agent_version.clone(),
            steady_since: if steady { self.steady_since } else { now },
            last_check_in: Some(LastCheckIn {
                at: now,
                boot_id: check_in.boot_id.clone(),
                boot_time: whole_milliseconds(check_in.boot_time),
                state: check_in.state.clone(),
                applied: check_in.applied,
            }),
            boots: self.boots.seen(&check_in.boot_id),
            // It lives.
            replaced_by: None,
            ..self.clone()
        }
    }
}

fn whole_milliseconds(at: Timestamp) -> Timestamp {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at)
}

/// What a machine says of itself when it enrols.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMachine {
    pub id: MachineId,
    pub hostname: Hostname,
    pub kernel: KernelBuild,
    pub agent_version: AgentVersion,
    pub hardware: Option<HardwareId>,
}

impl TryFrom<EnrolRequest> for NewMachine {
    type Error = InvalidText;

    fn try_from(request: EnrolRequest) -> Result<Self, InvalidText> {
        Ok(Self {
            id: request.machine_id,
            hostname: request.hostname.parse()?,
            kernel: request.kernel,
            agent_version: request.agent_version.parse()?,
            hardware: request.hardware,
        })
    }
}

/// A machine that was just enrolled, with its secret: the only moment at which it can be sent.
#[derive(Debug)]
pub struct Enrolment {
    pub machine: Machine,
    pub secret: MachineSecret,
    pub plan: Plan,
    /// It was enrolled before; its earlier secret is void.
    pub renewed: bool,
}
