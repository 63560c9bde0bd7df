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

    /// Takes a check-in, times to the millisecond, as they are kept. Whether it said anything that
    /// was not known: most say nothing new, and then only the times move.
    pub fn hear(&mut self, check_in: &CheckIn, now: Timestamp) -> bool {
        let now = whole_milliseconds(now);
        let last = self.last_check_in.as_ref();
        let heard = last.map_or(self.enrolled, |last| last.at);
        if now.duration_since(heard).as_secs() > Self::SILENCE_SECS {
            self.steady_since = now;
        }
        let is_news = self.is_news(check_in);
        match &mut self.last_check_in {
            Some(last) if !is_news => last.at = now,
            _ => self.learn(check_in, now),
        }
        is_news
    }

    /// Whether [`Machine::learn`] would change anything but the time.
    fn is_news(&self, check_in: &CheckIn) -> bool {
        let CheckIn {
            kernel,
            boot_id,
            boot_time,
            agent_version,
            state,
            applied,
        } = check_in;
        let as_last = self.last_check_in.as_ref().is_some_and(|last| {
            last.boot_id == *boot_id
                && last.boot_time == whole_milliseconds(*boot_time)
                && last.state == *state
                && last.applied == *applied
        });
        !as_last
            || self.kernel != *kernel
            || self.agent_version != *agent_version
            || self.boots.latest() != Some(boot_id)
            || self.replaced_by.is_some()
    }

    fn learn(&mut self, check_in: &CheckIn, now: Timestamp) {
        self.kernel = check_in.kernel.clone();
        self.agent_version = check_in.agent_version.clone();
        self.last_check_in = Some(LastCheckIn {
            at: now,
            boot_id: check_in.boot_id.clone(),
            boot_time: whole_milliseconds(check_in.boot_time),
            state: check_in.state.clone(),
            applied: check_in.applied,
        });
        self.boots = self.boots.seen(&check_in.boot_id);
        // It lives.
        self.replaced_by = None;
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

#[cfg(test)]
mod tests {
    use suture_kernel::{BuildId, KernelBuild};

    use super::*;
    use crate::{AccountId, ReportedState, TokenId};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn check_in() -> CheckIn {
        CheckIn {
            kernel: KernelBuild {
                release: "6.12.117+deb13-amd64".parse().unwrap(),
                architecture: "amd64".parse().unwrap(),
                build_id: BuildId::from_bytes(&[0xab; 20]).unwrap(),
            },
            boot_id: "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1".parse().unwrap(),
            boot_time: at(-60),
            agent_version: "0.1.0".parse().unwrap(),
            state: ReportedState::Unapplied,
            applied: None,
        }
    }

    fn enrolled() -> Machine {
        Machine {
            account: AccountId::random(),
            id: MachineId::from_random_bytes([1; 16]),
            hostname: "web-1".parse().unwrap(),
            kernel: check_in().kernel,
            agent_version: "0.1.0".parse().unwrap(),
            token: TokenId::random(),
            created: at(0),
            enrolled: at(0),
            group: None,
            over_limit: false,
            steady_since: at(0),
            last_check_in: None,
            boots: Boots::default(),
            replaced_by: None,
        }
    }

    #[test]
    fn what_was_said_before_moves_the_times_alone() {
        let mut machine = enrolled();
        assert!(machine.hear(&check_in(), at(60)), "the first is news");
        let mut expected = machine.clone();
        assert!(!machine.hear(&check_in(), at(120)));
        expected.last_check_in.as_mut().unwrap().at = at(120);
        assert_eq!(machine, expected);
        let late = 120 + Machine::SILENCE_SECS + 1;
        assert!(!machine.hear(&check_in(), at(late)));
        assert_eq!(machine.steady_since, at(late));
    }

    #[test]
    fn whatever_is_new_is_learned() {
        let old = check_in();
        let other_kernel = KernelBuild {
            build_id: BuildId::from_bytes(&[0xcd; 20]).unwrap(),
            ..old.kernel.clone()
        };
        let news = [
            CheckIn {
                kernel: other_kernel,
                ..old.clone()
            },
            CheckIn {
                boot_id: "0e9c4b6e-58f0-4b39-8c35-0a1f1a3f3c11".parse().unwrap(),
                ..old.clone()
            },
            CheckIn {
                boot_time: at(-30),
                ..old.clone()
            },
            CheckIn {
                agent_version: "0.2.0".parse().unwrap(),
                ..old.clone()
            },
            CheckIn {
                state: ReportedState::Applied,
                ..old.clone()
            },
            CheckIn {
                applied: Some("104.1".parse().unwrap()),
                ..old.clone()
            },
        ];
        for new in news {
            let mut machine = enrolled();
            machine.hear(&old, at(60));
            assert!(machine.hear(&new, at(120)), "{new:?}");
            let last = machine.last_check_in.clone().unwrap();
            let heard = CheckIn {
                kernel: machine.kernel.clone(),
                boot_id: last.boot_id,
                boot_time: last.boot_time,
                agent_version: machine.agent_version.clone(),
                state: last.state,
                applied: last.applied,
            };
            assert_eq!(heard, new);
            assert!(!machine.hear(&new, at(180)), "{new:?}");
        }
    }

    #[test]
    fn a_machine_that_was_thought_to_be_replaced_lives() {
        let mut machine = enrolled();
        machine.hear(&check_in(), at(60));
        machine.replaced_by = Some(MachineId::from_random_bytes([2; 16]));
        assert!(machine.hear(&check_in(), at(120)));
        assert_eq!(machine.replaced_by, None);
    }
}
