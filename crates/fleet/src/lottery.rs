//! The rollout's real draw, worked out once for all machines.

use jiff::Timestamp;
use rayon::prelude::*;
use suture_rollout::cohort::{Draw, Seed, UnitDigest};
use suture_rollout::{EarlyPreference, Plan, RolloutId, Unit, is_eligible};

use crate::population::Population;

/// Who is in the early group, and each machine's lot. [`suture_rollout::choose`] would work the
/// same out at every check-in anew.
#[derive(Debug)]
pub struct Lottery {
    pub id: RolloutId,
    pub seed: Seed,
    pub draw: Draw,
    early: Vec<bool>,
    lots: Vec<f64>,
}

/// Names of the simulated accounts and machines.
pub fn account_name(account: u32) -> String {
    format!("account-{account}")
}

pub fn machine_name(machine: u32) -> String {
    format!("machine-{machine}")
}

impl Lottery {
    /// Draws by a plan's early group. The rollout's id and secret follow from `number`.
    pub fn new(population: &Population, plan: &Plan, number: u64, at: Timestamp) -> Self {
        let mut rng = fastrand::Rng::with_seed(population.seed ^ number.wrapping_mul(0x5EED));
        let mut secret = [0; 32];
        rng.fill(&mut secret);
        let mut id = [0; 16];
        rng.fill(&mut id);
        let (id, seed) = (
            RolloutId::from_random_bytes(id),
            Seed::from_random_bytes(secret),
        );
        let lots = machine_ranks(population, id, &seed);
        let units = unit_digests(population, plan, id);
        let eligible = |account: u32| {
            let paid = population.accounts[account as usize].paid;
            is_eligible(plan, paid, EarlyPreference::Drawn)
        };
        let list = units.iter().filter(|(account, _)| eligible(*account));
        let list = list.map(|(_, unit)| *unit).collect();
        let draw = Draw::new(&seed, list, plan.early_group.share, at);
        let drawn: Vec<bool> = units
            .par_iter()
            .map(|(account, unit)| eligible(*account) && draw.includes(seed.rank(*unit)))
            .collect();
        let early = (0..population.len() as usize)
            .map(|machine| match plan.early_group.unit {
                Unit::Account => drawn[population.machines[machine].account as usize],
                Unit::Machine => drawn[machine],
            })
            .collect();
        Self {
            id,
            seed,
            draw,
            early,
            lots,
        }
    }

    pub fn is_early(&self, machine: u32) -> bool {
        self.early[machine as usize]
    }

    /// The machine's place in the order of all, from 0 to less than 1.
    pub fn lot(&self, machine: u32) -> f64 {
        self.lots[machine as usize]
    }
}

fn machine_ranks(population: &Population, id: RolloutId, seed: &Seed) -> Vec<f64> {
    (0..population.len())
        .into_par_iter()
        .map(|machine| {
            let unit = UnitDigest::new(id, &machine_unit(population, machine));
            seed.rank(unit).fraction()
        })
        .collect()
}

/// As [`suture_rollout::Candidate::unit`] names it.
fn machine_unit(population: &Population, machine: u32) -> String {
    let account = population.machines[machine as usize].account;
    format!("{}/{}", account_name(account), machine_name(machine))
}

/// Every unit with the account that it belongs to.
fn unit_digests(population: &Population, plan: &Plan, id: RolloutId) -> Vec<(u32, UnitDigest)> {
    match plan.early_group.unit {
        Unit::Account => (0..population.accounts.len() as u32)
            .into_par_iter()
            .map(|account| (account, UnitDigest::new(id, &account_name(account))))
            .collect(),
        Unit::Machine => (0..population.len())
            .into_par_iter()
            .map(|machine| {
                let account = population.machines[machine as usize].account;
                let unit = machine_unit(population, machine);
                (account, UnitDigest::new(id, &unit))
            })
            .collect(),
    }
}
