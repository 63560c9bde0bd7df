use suture_rollout::evalue::Mixture;
use suture_rollout::{Applications, Comparison, Harm, Ledger, Plan, Stratum};

use crate::support::{fell, monday, quiet};

fn choose(of: u64, picked: u64) -> f64 {
    (0..picked)
        .map(|i| (of - i) as f64 / (picked - i) as f64)
        .product()
}

/// Mean e-value of one comparison, when exposure multiplies the odds to fall by `odds` (Fisher's
/// noncentral hypergeometric distribution; 1 is a harmless patch).
fn mean(exposed: u64, control: u64, fall: u64, odds: f64) -> f64 {
    let possible = fall.saturating_sub(control)..=fall.min(exposed);
    let weight = |hit: u64| {
        choose(exposed, hit) * choose(control, fall - hit) * odds.powi(i32::try_from(hit).unwrap())
    };
    let all: f64 = possible.clone().map(weight).sum();
    possible
        .map(|hit| {
            let mut mixture = Mixture::against_control();
            mixture.compare(exposed, control, hit, fall - hit);
            weight(hit) / all * mixture.log().exp()
        })
        .sum()
}

#[test]
fn a_comparison_has_mean_one_or_less_without_harm() {
    for exposed in 0..=6 {
        for control in 0..=7 {
            for fall in 0..=(exposed + control) {
                for odds in [0.1, 0.5, 1.0] {
                    let mean = mean(exposed, control, fall, odds);
                    assert!(
                        mean <= 1.0 + 1e-9,
                        "{exposed} {control} {fall} {odds}: {mean}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_comparison_has_a_mean_above_one_under_harm() {
    assert!(mean(5, 50, 4, 8.0) > 5.0);
}

#[test]
fn a_share_has_mean_one_or_less_up_to_what_is_tolerated() {
    for (tolerated, share) in [(0.02, 0.02), (0.02, 0.005), (0.3, 0.3), (0.3, 0.0)] {
        let value = |well, badly| {
            let mut mixture = Mixture::against_share();
            mixture.count(well, badly, tolerated);
            mixture.log().exp()
        };
        let mean = share * value(0, 1) + (1.0 - share) * value(1, 0);
        assert!(mean <= 1.0 + 1e-9, "{tolerated} {share}: {mean}");
    }
}

#[test]
fn a_rate_has_mean_one_or_less_up_to_what_is_tolerated() {
    for (rate, time) in [(1e-3_f64, 1.0_f64), (1e-3, 30.0), (1e-4, 30.0)] {
        let mut poisson = (-rate * time).exp();
        let mut mean = 0.0;
        for events in 0..60 {
            let mut mixture = Mixture::against_rate();
            mixture.time(events, time, 1e-3);
            mean += poisson * mixture.log().exp();
            poisson *= rate * time / (events + 1) as f64;
        }
        assert!(mean <= 1.0 + 1e-9, "{rate} {time}: {mean}");
    }
}

#[test]
fn without_a_control_group_a_crash_tells_nothing() {
    let mut ledger = Ledger::default();
    ledger.absorb(&fell(Harm::Crash, (100, 0), (30, 0)), &Plan::standard());
    assert_eq!(ledger.evidence().total, Ledger::default().evidence().total);
}

#[test]
fn crashes_of_others_excuse_crashes_of_exposed_machines() {
    let plan = Plan::standard();
    let mut alone = Ledger::default();
    alone.absorb(&fell(Harm::Crash, (100, 9_900), (3, 0)), &plan);
    let mut among_many = Ledger::default();
    among_many.absorb(&fell(Harm::Crash, (100, 9_900), (3, 297)), &plan);
    assert!(alone.evidence().total > 100.0);
    assert!(among_many.evidence().total < 1.0);
    assert!((among_many.harm(Harm::Crash).expected - 3.0).abs() < 1e-9);
}

#[test]
fn evidence_that_faded_has_been_there() {
    let plan = Plan::standard();
    let mut ledger = Ledger::default();
    ledger.absorb(&fell(Harm::Crash, (100, 9_900), (3, 0)), &plan);
    let before = ledger.evidence();
    ledger.absorb(&fell(Harm::Crash, (97, 9_900), (0, 500)), &plan);
    let after = ledger.evidence();
    assert!(after.total < before.total);
    assert_eq!(after.peak, before.peak);
}

#[test]
fn a_warning_that_names_the_patch_among_few_machines_is_proof() {
    let mut ledger = Ledger::default();
    let look = suture_rollout::Tick {
        elapsed_secs: 3600.0,
        under_patch: 100,
        patch_trouble: 1,
        ..quiet(monday())
    };
    ledger.absorb(&look, &Plan::standard());
    assert!(ledger.evidence().total >= 100.0);
}

#[test]
fn no_number_becomes_one_that_json_lacks() {
    let mut ledger = Ledger::default();
    let mut nonsense = fell(Harm::Crash, (0, 0), (u64::MAX, u64::MAX));
    nonsense.compared.push(Comparison {
        harm: Harm::Stall,
        ..nonsense.compared[0]
    });
    nonsense.compared.push(Comparison {
        harm: Harm::Silence,
        stratum: Stratum::ALL[0],
        exposed_at_risk: 100,
        control_at_risk: 1_000_000,
        exposed_fell: 100,
        control_fell: 0,
    });
    nonsense.applications = Applications {
        finished: u64::MAX,
        failed: u64::MAX,
        stalled: u64::MAX,
    };
    (nonsense.patch_trouble, nonsense.under_patch) = (u64::MAX, u64::MAX);
    for elapsed in [f64::INFINITY, f64::NAN, -1.0, 60.0] {
        nonsense.elapsed_secs = elapsed;
        ledger.absorb(&nonsense, &Plan::standard());
        let json = serde_json::to_string(&(&ledger, ledger.evidence())).unwrap();
        assert!(!json.contains("null"), "{json}");
        assert!(!ledger.evidence().total.is_nan());
        let _: (Ledger, suture_rollout::Evidence) = serde_json::from_str(&json).unwrap();
    }
}

#[test]
fn a_ledger_reads_back_and_goes_on_the_same() {
    let plan = Plan::standard();
    let look = fell(Harm::Silence, (60, 4_000), (1, 9));
    let mut ledger = Ledger::default();
    ledger.absorb(&look, &plan);
    let json = serde_json::to_string(&ledger).unwrap();
    let mut read: Ledger = serde_json::from_str(&json).unwrap();
    read.absorb(&look, &plan);
    ledger.absorb(&look, &plan);
    let difference = read.evidence().total - ledger.evidence().total;
    assert!(difference.abs() < 1e-9);
}

#[test]
fn a_ledger_that_lacks_a_kind_is_refused() {
    let mut json = serde_json::to_value(Ledger::default()).unwrap();
    json["harms"].as_object_mut().unwrap().remove("stall");
    let refusal = serde_json::from_value::<Ledger>(json).unwrap_err();
    assert!(refusal.to_string().contains("`stall`"), "{refusal}");
}

#[test]
fn weights_sum_to_one() {
    let sum: f64 = Harm::ALL.into_iter().map(Harm::weight).sum();
    assert!((sum - 1.0).abs() < 1e-12);
}

/// A small fleet under a patch, machine by machine.
struct World {
    random: fastrand::Rng,
    /// Per look: chance of kernel trouble, of a crash, of silence.
    chances: [f64; 3],
    /// Times by which exposure multiplies the chance to crash.
    factor: f64,
    machines: Vec<Machine>,
}

#[derive(Clone, Copy, Default)]
struct Machine {
    exposed: bool,
    fell: [bool; 3],
}

const COMPARED: [Harm; 3] = [Harm::KernelTrouble, Harm::Crash, Harm::Silence];
const LOOKS: usize = 40;

impl World {
    fn new(seed: u64, factor: f64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            chances: [0.002, 0.002, 0.004],
            factor,
            machines: vec![Machine::default(); 300],
        }
    }

    fn happens(&mut self, chance: f64) -> bool {
        self.random.f64() < chance
    }

    /// Exposes machines that are drawn, runs until the next look, and counts.
    fn look(&mut self, expose: usize, plan: &Plan) -> suture_rollout::Tick {
        let mut look = quiet(monday());
        look.elapsed_secs = 3600.0;
        for _ in 0..expose {
            let drawn = self.random.usize(..self.machines.len());
            if std::mem::replace(&mut self.machines[drawn].exposed, true) {
                continue;
            }
            let failed = self.happens(plan.tolerated.apply_failure);
            let stalled = !failed && self.happens(plan.tolerated.stall);
            look.applications.failed += u64::from(failed);
            look.applications.stalled += u64::from(stalled);
            look.applications.finished += u64::from(!failed && !stalled);
        }
        look.under_patch = self.machines.iter().filter(|it| it.exposed).count() as u64;
        for _ in 0..look.under_patch {
            look.patch_trouble += u64::from(self.happens(plan.tolerated.patch_trouble_per_hour));
        }
        look.compared = COMPARED.map(|harm| self.row(harm)).to_vec();
        look
    }

    /// Lets machines fall by one harm. Trouble makes a crash likely, so the kinds hang together.
    fn row(&mut self, harm: Harm) -> Comparison {
        let mut row = fell(harm, (0, 0), (0, 0)).compared[0];
        let kind = COMPARED.iter().position(|known| *known == harm).unwrap();
        for number in 0..self.machines.len() {
            let Machine { exposed, fell } = self.machines[number];
            if fell[kind] {
                continue;
            }
            let mut chance = self.chances[kind];
            if kind == 1 {
                chance *= if fell[0] { 5.0 } else { 1.0 };
                chance *= if exposed { self.factor } else { 1.0 };
            }
            let falls = self.happens(chance);
            self.machines[number].fell[kind] = falls;
            if exposed {
                row.exposed_at_risk += 1;
                row.exposed_fell += u64::from(falls);
            } else {
                row.control_at_risk += 1;
                row.control_fell += u64::from(falls);
            }
        }
        row
    }
}

/// Whether any look of one rollout halts it.
fn halts(seed: u64, factor: f64, plan: &Plan) -> bool {
    let mut world = World::new(seed, factor);
    let mut ledger = Ledger::default();
    (0..LOOKS).any(|look| {
        let tick = world.look(1 + look / 5, plan);
        ledger.absorb(&tick, plan);
        ledger.evidence().peak >= plan.halt_at()
    })
}

fn lenient() -> Plan {
    let mut plan = Plan::standard();
    plan.alpha = 0.05;
    plan.tolerated.patch_trouble_per_hour = 1e-4;
    plan
}

#[test]
fn harmless_patches_are_halted_no_more_often_than_alpha() {
    let rollouts = 4_000;
    let plan = lenient();
    let halted = (0..rollouts)
        .filter(|seed| halts(*seed, 1.0, &plan))
        .count();
    // Three standard deviations above five in a hundred.
    let most = 0.05 * 4_000.0 + 3.0 * (4_000.0_f64 * 0.05 * 0.95).sqrt();
    assert!((halted as f64) < most, "{halted} of {rollouts}");
    assert!(halted > 0, "a test that never halts shows nothing");
}

#[test]
fn harmful_patches_are_halted_in_the_same_world() {
    let plan = lenient();
    let halted = (0..200).filter(|seed| halts(*seed, 40.0, &plan)).count();
    assert!(halted >= 190, "{halted} of 200");
}
