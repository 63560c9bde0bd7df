//! One machine with an agent, without IO.

use std::sync::Arc;

use fastrand::Rng;
use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_protocol::{
    CheckInRequest, CheckInResponse, EnrolRequest, EventId, EventKind, MachineEvent, MachineId,
    MachineState,
};
use suture_rollout::Offer;

use super::flaw::Flaw;

/// Who a machine is.
#[derive(Debug, Clone)]
pub struct Identity {
    pub machine: MachineId,
    pub hostname: String,
    /// The token of its account.
    pub token: String,
    /// Number of its account; machines with the same one are of the same owner.
    pub account: usize,
    pub kernel: KernelBuild,
}

/// What a machine does after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Checks in again when the server wants it to.
    Rest,
    /// Has applied a version and tells of it soon.
    Tell,
    /// Went down over the version that it applied.
    Down,
}

/// A machine with an agent. It keeps what it has to tell until a check-in that carried it was
/// answered, as the real one does on its disk.
#[derive(Debug)]
pub struct Agent {
    identity: Identity,
    /// What may bring it down.
    flaw: Option<Arc<Flaw>>,
    secret: Option<String>,
    boot_id: String,
    boot_time: Timestamp,
    applied: Option<PatchVersion>,
    /// It went down over this one and does not load it again.
    quarantined: Option<PatchVersion>,
    outbox: Vec<MachineEvent>,
    rng: Rng,
}

impl Agent {
    pub fn new(identity: Identity, flaw: Option<Arc<Flaw>>, seed: u64, now: Timestamp) -> Self {
        let mut rng = Rng::with_seed(seed);
        Self {
            identity,
            flaw,
            secret: None,
            boot_id: uuid_text(&mut rng),
            boot_time: now,
            applied: None,
            quarantined: None,
            outbox: Vec::new(),
            rng,
        }
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// None: not enrolled yet.
    pub fn secret(&self) -> Option<&str> {
        self.secret.as_deref()
    }

    /// The version in force.
    pub fn applied(&self) -> Option<PatchVersion> {
        self.applied
    }

    /// What is not known to have arrived.
    pub fn outbox(&self) -> &[MachineEvent] {
        &self.outbox
    }

    pub fn enrolment(&self) -> EnrolRequest {
        EnrolRequest {
            machine_id: self.identity.machine.clone(),
            hostname: self.identity.hostname.clone(),
            kernel: self.identity.kernel.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            hardware: None,
        }
    }

    pub fn enrolled(&mut self, secret: String) {
        self.secret = Some(secret);
    }

    /// What it says at its next check-in. Out of order it tells a part of what it has to tell,
    /// the latest first.
    pub fn check_in(&mut self, in_order: bool) -> CheckInRequest {
        let mut events = self.outbox.clone();
        if !in_order && events.len() > 1 {
            events.reverse();
            events.truncate(self.rng.usize(1..=events.len()));
        }
        events.truncate(EventKind::MAX_EVENTS);
        CheckInRequest {
            kernel: self.identity.kernel.clone(),
            boot_id: self.boot_id.clone(),
            boot_time: self.boot_time,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            state: match self.applied {
                Some(_) => MachineState::Applied,
                None => MachineState::Unapplied,
            },
            applied: self.applied,
            failure: None,
            events: events.into(),
        }
    }

    /// Takes in the answer to `request`: what that carried has arrived.
    pub fn answered(
        &mut self,
        request: &CheckInRequest,
        answer: &CheckInResponse,
        now: Timestamp,
    ) -> Next {
        let arrived =
            |event: &MachineEvent| request.events.known.iter().any(|sent| sent.id == event.id);
        self.outbox.retain(|event| !arrived(event));
        match answer.offer {
            Offer::Version { version } if self.takes(version) => self.apply(version, now),
            Offer::Version { .. } | Offer::UpToDate | Offer::NotYet | Offer::NotCovered
                if !self.outbox.is_empty() =>
            {
                Next::Tell
            }
            Offer::Version { .. } | Offer::UpToDate | Offer::NotYet | Offer::NotCovered => {
                Next::Rest
            }
        }
    }

    fn takes(&self, version: PatchVersion) -> bool {
        self.applied != Some(version) && self.quarantined != Some(version)
    }

    fn apply(&mut self, version: PatchVersion, now: Timestamp) -> Next {
        self.tell(EventKind::Fetched { version }, now);
        self.tell(EventKind::Verified { version }, now);
        self.tell(EventKind::Applied { version }, now);
        let millis = self.rng.u64(5..900);
        self.tell(EventKind::TransitionFinished { version, millis }, now);
        self.applied = Some(version);
        if self.flaw.as_ref().is_some_and(|flaw| flaw.strikes(version)) {
            Next::Down
        } else {
            Next::Tell
        }
    }

    /// Starts again after it went down.
    pub fn come_back(&mut self, now: Timestamp) {
        let previous_boot_id = std::mem::replace(&mut self.boot_id, uuid_text(&mut self.rng));
        self.boot_time = now;
        // What was loaded is gone with the memory.
        let applied = self.applied.take();
        self.quarantined = applied;
        let kind = EventKind::Restarted {
            clean: false,
            previous_boot_id,
            applied,
        };
        self.tell(kind, now);
    }

    fn tell(&mut self, kind: EventKind, now: Timestamp) {
        let id = EventId::from_random_bytes(self.rng.u128(..).to_le_bytes());
        self.outbox.push(MachineEvent {
            id,
            at: now,
            boot_id: self.boot_id.clone(),
            kind,
        });
    }
}

/// A random UUID as text.
fn uuid_text(rng: &mut Rng) -> String {
    EventId::from_random_bytes(rng.u128(..).to_le_bytes()).to_string()
}

#[cfg(test)]
mod tests {
    use suture_kernel::BuildId;

    use super::*;

    fn agent() -> Agent {
        let identity = Identity {
            machine: "5f2b6c0e9d8a47c1b3e4f5061728394a".parse().unwrap(),
            hostname: "web-1".to_owned(),
            token: String::new(),
            account: 0,
            kernel: KernelBuild {
                release: "6.1.0-53-amd64".parse().unwrap(),
                architecture: "amd64".parse().unwrap(),
                build_id: BuildId::from_bytes(&[0xab; 20]).unwrap(),
            },
        };
        let flaw = Flaw::new("1.1".parse().unwrap(), 1, 1);
        Agent::new(identity, Some(Arc::new(flaw)), 7, Timestamp::UNIX_EPOCH)
    }

    fn answer(offer: Offer) -> CheckInResponse {
        CheckInResponse {
            offer,
            next_check_in_secs: 10,
            early_group: None,
            coming: None,
            withdrawn: None,
            held: None,
            channel: None,
            copied: false,
            notice: None,
        }
    }

    fn offer_of(version: &str) -> CheckInResponse {
        let version = version.parse().unwrap();
        answer(Offer::Version { version })
    }

    #[test]
    fn what_was_not_answered_is_told_again_under_the_same_ids() {
        let mut agent = agent();
        let now = Timestamp::UNIX_EPOCH;
        let first = agent.check_in(true);
        assert_eq!(agent.answered(&first, &offer_of("1.2"), now), Next::Tell);
        let (lost, again) = (agent.check_in(true), agent.check_in(true));
        assert_eq!(lost.events, again.events);
        assert_eq!(again.events.known.len(), 4);
        let part = agent.check_in(false);
        agent.answered(&part, &answer(Offer::UpToDate), now);
        assert_eq!(agent.outbox().len(), 4 - part.events.known.len());
        let rest = agent.check_in(true);
        assert_eq!(
            agent.answered(&rest, &answer(Offer::UpToDate), now),
            Next::Rest
        );
        assert!(agent.outbox().is_empty());
    }

    #[test]
    fn a_machine_that_went_down_tells_it_once_and_does_not_take_the_version_again() {
        let mut agent = agent();
        let now = Timestamp::UNIX_EPOCH;
        let first = agent.check_in(true);
        assert_eq!(agent.answered(&first, &offer_of("1.1"), now), Next::Down);
        agent.come_back(now);
        let told = agent.check_in(true);
        let is_crash =
            |event: &&MachineEvent| matches!(event.kind, EventKind::Restarted { clean: false, .. });
        assert_eq!(told.events.known.iter().filter(is_crash).count(), 1);
        assert_eq!(agent.answered(&told, &offer_of("1.1"), now), Next::Rest);
        assert_eq!(agent.applied(), None);
    }
}
