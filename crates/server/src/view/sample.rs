//! Rollouts made by hand for tests: their looks and numbers come from the real ledger and
//! decisions.

use jiff::{SignedDuration, Timestamp};
use suture_protocol::{EventId, EventKind, KernelTrouble};
use suture_rollout::cohort::{Draw, Seed, UnitDigest};
use suture_rollout::{
    Applications, Comparison, Decision, Fleet, Harm, Ledger, Phase, Plan, RolloutId, Scope,
    Stratum, Tick, decide,
};
use suture_store::{AccountId, ExposedMachine, KeptEvent, PastLook, Rollout};

/// A rollout with what a store keeps of it.
pub struct Sample {
    pub rollout: Rollout,
    pub looks: Vec<PastLook>,
}

/// Machines that the rollout covers.
const POPULATION: u64 = 120_000;

/// Seconds between two looks.
const EVERY: i64 = 600;

pub fn begin() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

impl Sample {
    /// Drawn, not begun.
    pub fn planned() -> Self {
        let id = RolloutId::from_random_bytes([7; 16]);
        let seed = Seed::from_random_bytes([9; 32]);
        let units = (0..500).map(|unit| UnitDigest::new(id, &unit.to_string()));
        let plan = Plan::standard();
        let draw = Draw::new(&seed, units.collect(), plan.early_group.share, begin());
        let rollout = Rollout {
            id,
            scope: Scope {
                version: "105.1".parse().unwrap(),
                kernel: None,
            },
            phase: Phase::Planned { starts: begin() },
            commitment: seed.commitment(id),
            seed,
            draw,
            cap: 0,
            exposed: 0,
            ledger: Ledger::default(),
            decision: None,
            created: begin(),
            looked_at: None,
            looks: 0,
            revision: 0,
            plan,
        };
        Self {
            rollout,
            looks: Vec::new(),
        }
    }

    /// Took this many looks, while of its exposed machines `crashes` fell at each look of its
    /// last hour.
    pub fn after(looks: u32, crashes: u64) -> Self {
        let mut sample = Self::planned();
        for number in 1..=looks {
            let lately = number + 6 > looks;
            sample.look(if lately { crashes } else { 0 });
        }
        sample
    }

    pub fn now(&self) -> Timestamp {
        begin() + SignedDuration::from_secs(EVERY * i64::from(self.rollout.looks))
    }

    fn look(&mut self, crashes: u64) {
        let rollout = &mut self.rollout;
        rollout.looks += 1;
        let at = begin() + SignedDuration::from_secs(EVERY * i64::from(rollout.looks));
        let took = (rollout.cap.min(POPULATION) - rollout.exposed).div_ceil(2);
        rollout.exposed += took;
        let exposed = rollout.exposed;
        let fleet = Fleet {
            population: POPULATION,
            early: 1300,
            exposed,
            due: exposed * 9 / 10,
            heard: exposed * 9 / 10,
            applied: exposed - exposed / 50,
        };
        let tick = tick(at, exposed, took, crashes.min(exposed));
        rollout.ledger.absorb(&tick, &rollout.plan);
        let decision: Decision = decide(&rollout.plan, &rollout.phase, &rollout.ledger, fleet, at);
        rollout.phase = decision.phase.clone();
        rollout.cap = decision.cap;
        rollout.looked_at = Some(at);
        rollout.decision = Some(decision.clone());
        self.looks.push(PastLook {
            number: rollout.looks,
            tick,
            fleet,
            decision,
        });
    }

    /// An oops of a machine that had been exposed.
    pub fn event(&self) -> KeptEvent {
        KeptEvent {
            number: 1,
            id: EventId::from_random_bytes([1; 16]),
            account: AccountId::random(),
            machine: "0000000000000000000000000000004d".parse().unwrap(),
            hostname: "secret-host".to_owned(),
            received: self.now() - SignedDuration::from_secs(120),
            at: self.now(),
            kind: EventKind::KernelTrouble {
                trouble: KernelTrouble::Oops,
                names_patch: Some(self.rollout.scope.version),
                applied: Some(self.rollout.scope.version),
                text: "BUG: unable to handle page fault on secret-host".to_owned(),
            },
            exposed: true,
        }
    }

    pub fn machine(&self) -> ExposedMachine {
        ExposedMachine {
            account: AccountId::random(),
            machine: "0000000000000000000000000000004d".parse().unwrap(),
            hostname: Some("secret-host".to_owned()),
            early: true,
            exposed: begin(),
            last_check_in: Some(self.now()),
            applied: Some(self.rollout.scope.version),
        }
    }
}

fn tick(at: Timestamp, exposed: u64, took: u64, crashes: u64) -> Tick {
    let stratum = Stratum {
        paid: false,
        steady: true,
    };
    let control = POPULATION - exposed;
    let row = |harm, exposed_fell, control_fell| Comparison {
        harm,
        stratum,
        exposed_at_risk: exposed,
        control_at_risk: control,
        exposed_fell,
        control_fell,
    };
    Tick {
        at,
        elapsed_secs: EVERY as f64,
        compared: vec![
            row(Harm::Crash, crashes, control / 20_000),
            row(Harm::Silence, exposed / 2000, control / 2000),
            row(Harm::KernelTrouble, exposed / 30_000, control / 30_000),
        ],
        applications: Applications {
            finished: took - took / 300,
            failed: took / 300,
            stalled: 0,
        },
        patch_trouble: 0,
        under_patch: exposed,
    }
}
