//! What rollouts do to a simulated fleet: the real rollout code, and beside it what others do, on
//! the same machines, with the same luck and the same defects, in one run.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use rayon::prelude::*;
use suture_fleet::policy::{Field, Served, Suture};
use suture_fleet::{
    Background, Defect, Delay, Effect, Limits, Lottery, Minute, Outcome, Policy, Population, START,
    run, timestamp,
};
use suture_rollout::Plan;

/// Print how many machines a bad patch reaches before it is halted, and how long a good one takes.
#[derive(Parser)]
struct Arguments {
    /// Machines in the fleet.
    #[arg(long, default_value_t = 1_000_000)]
    machines: u32,
    /// Fewer defects and repetitions: at most a minute.
    #[arg(long)]
    quick: bool,
    /// Number of the first repetition's fleet; the same number gives the same results.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How much is run. Repetitions end early if the time is used up; what was not run is not shown.
struct Extent {
    defects: Vec<Defect>,
    repetitions: u64,
    grid: Duration,
    healthy_repetitions: u64,
    healthy: Duration,
    /// Machines and repetitions of the smaller fleets, and the time for each size.
    small: Vec<(u32, u64)>,
    small_each: Duration,
}

const HOUR: Minute = 60;
const DAY: Minute = 24 * HOUR;

type MakePolicy = fn(&Served) -> Box<dyn Policy>;

/// The policies, in the order of the tables.
const POLICIES: [MakePolicy; 7] = [
    |served| Box::new(Suture::new(Plan::standard(), served.lottery.clone())),
    |served| Box::new(Suture::new(Plan::urgent(), served.lottery.clone())),
    |served| Box::new(Field::everyone(served.clone())),
    |served| Box::new(Field::phases(served.clone())),
    |served| Box::new(Field::waves(served.clone())),
    |served| Box::new(Field::threshold(served.clone())),
    |served| Box::new(Field::fixed_sample(served.clone())),
];

/// Those that judge by themselves, whose false halts are counted.
const BY_EVIDENCE: [usize; 4] = [0, 1, 5, 6];

fn main() {
    let arguments = Arguments::parse();
    let extent = Extent::new(arguments.quick);
    let began = Instant::now();
    println!(
        "{} machines, looks every minute; fleets from number {} on\n",
        arguments.machines, arguments.seed
    );
    grid(&arguments, &extent);
    healthy(&arguments, &extent);
    for (machines, repetitions) in &extent.small {
        false_halts(&arguments, *machines, *repetitions, extent.small_each);
    }
    println!("{:.0} seconds in all", began.elapsed().as_secs_f64());
}

impl Extent {
    fn new(quick: bool) -> Self {
        let crash = Defect::crash;
        let main = vec![
            crash(Delay::AtOnce, 0.1),
            crash(Delay::AtOnce, 0.01),
            crash(Delay::Hours, 0.01),
            Defect::new(Effect::SilentDeath, 0.01),
        ];
        let rest = [
            crash(Delay::AtOnce, 0.001),
            crash(Delay::AtOnce, 0.0001),
            crash(Delay::Minutes, 0.01),
            crash(Delay::Hours, 0.1),
            crash(Delay::Hours, 0.001),
            crash(Delay::AtOnce, 0.01).on_some_hardware(),
            Defect::new(Effect::TransitionCrash, 0.01),
            Defect::new(Effect::SilentDeath, 0.1),
            Defect::new(Effect::ApplyFailure, 0.05),
            Defect::new(Effect::Warning, 0.01),
        ];
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        if quick {
            return Self {
                defects: main,
                repetitions: 1,
                grid: minutes(1),
                healthy_repetitions: 1,
                healthy: minutes(1),
                small: vec![(20_000, 40)],
                small_each: Duration::from_secs(10),
            };
        }
        Self {
            defects: main.into_iter().chain(rest).collect(),
            repetitions: 25,
            grid: minutes(5),
            healthy_repetitions: 20,
            healthy: minutes(2),
            small: vec![(20_000, 1000), (100_000, 200)],
            small_each: minutes(1),
        }
    }
}

/// A fleet with the rollout's draw made.
fn fleet(machines: u32, seed: u64) -> Served {
    let population = Arc::new(Population::new(seed, machines));
    let plan = Plan::standard();
    let lottery = Arc::new(Lottery::new(&population, &plan, seed, timestamp(START)));
    Served {
        population,
        lottery,
    }
}

fn roll_out(
    served: &Served,
    policy: usize,
    defect: Defect,
    background: &Background,
    at_least: Minute,
) -> Outcome {
    let counting = match policy {
        1 => Plan::urgent(),
        _ => Plan::standard(),
    };
    let mut policy = POLICIES[policy](served);
    let limits = Limits {
        at_most: 7 * DAY,
        at_least,
    };
    run(
        &served.population,
        &served.lottery,
        defect,
        background,
        &counting,
        policy.as_mut(),
        limits,
    )
}

/// Repeats until the repetitions or the time are used up.
fn repeat<T>(
    repetitions: u64,
    time: Duration,
    seed: u64,
    mut once: impl FnMut(u64) -> Vec<T>,
) -> Vec<Vec<T>> {
    let began = Instant::now();
    let mut longest = Duration::ZERO;
    let mut all = Vec::new();
    for repetition in 0..repetitions {
        let before = began.elapsed();
        if repetition > 0 && before + longest > time {
            break;
        }
        all.push(once(seed + repetition));
        longest = longest.max(began.elapsed() - before);
    }
    all
}

fn grid(arguments: &Arguments, extent: &Extent) {
    let began = Instant::now();
    let cells: Vec<(Defect, usize)> = extent
        .defects
        .iter()
        .flat_map(|defect| (0..POLICIES.len()).map(|policy| (*defect, policy)))
        .collect();
    let background = Background::default();
    let runs = repeat(extent.repetitions, extent.grid, arguments.seed, |seed| {
        let served = fleet(arguments.machines, seed);
        cells
            .par_iter()
            .with_max_len(1)
            .map(|(defect, policy)| roll_out(&served, *policy, *defect, &background, DAY))
            .collect()
    });
    println!(
        "Bad patches: {} runs of each, {:.0} s. Median (worst); exposed and hurt until the halt,\n\
         or until everyone reachable was offered it and a day was over.\n",
        runs.len(),
        began.elapsed().as_secs_f64()
    );
    println!(
        "{:<36}{:<29}{:>7} {:>21} {:>17} {:>19} {:>17}",
        "defect", "policy", "halted", "exposed", "% of the fleet", "hurt", "time to halt"
    );
    for (place, (defect, policy)) in cells.iter().enumerate() {
        let outcomes: Vec<&Outcome> = runs.iter().map(|run| &run[place]).collect();
        grid_row(*defect, *policy, &outcomes);
    }
    println!();
}

fn grid_row(defect: Defect, policy: usize, outcomes: &[&Outcome]) {
    let halted = outcomes.iter().filter(|run| run.halted.is_some()).count();
    let exposed = sorted(outcomes, |run| run.exposed);
    let hurt = sorted(outcomes, |run| run.hurt);
    let times = sorted(outcomes, |run| run.halted.map_or(u64::MAX, u64::from));
    let share = |exposed: u64| 100.0 * exposed as f64 / f64::from(outcomes[0].machines);
    let (middle, worst) = middle_and_worst(&exposed);
    println!(
        "{:<36}{:<29}{:>7} {:>21} {:>17} {:>19} {:>17}",
        if policy == 0 {
            defect.to_string()
        } else {
            String::new()
        },
        policy_name(policy),
        format!("{halted}/{}", outcomes.len()),
        format!("{middle} ({worst})"),
        format!("{:.3} ({:.3})", share(middle), share(worst)),
        pair(&hurt, |number| number.to_string()),
        pair(&times, duration),
    );
}

fn healthy(arguments: &Arguments, extent: &Extent) {
    let began = Instant::now();
    let time = extent.healthy;
    let runs = repeat(
        extent.healthy_repetitions,
        time,
        arguments.seed + 1000,
        |seed| {
            let served = fleet(arguments.machines, seed);
            let background = Background::default();
            (0..POLICIES.len())
                .into_par_iter()
                .with_max_len(1)
                .map(|policy| roll_out(&served, policy, Defect::NONE, &background, 0))
                .collect::<Vec<Outcome>>()
        },
    );
    println!(
        "A healthy patch: {} runs of each, {:.0} s. Time until a share of the machines heard of in the\n\
         last 66 minutes had been offered it; median (worst).\n",
        runs.len(),
        began.elapsed().as_secs_f64()
    );
    println!(
        "{:<29}{:>12} {:>17} {:>17} {:>17} {:>17}",
        "policy", "false halts", "50%", "95%", "99%", "everyone"
    );
    for policy in 0..POLICIES.len() {
        let outcomes: Vec<&Outcome> = runs.iter().map(|run| &run[policy]).collect();
        let halted = outcomes.iter().filter(|run| run.halted.is_some()).count();
        let times = [0, 1, 2, 3].map(|share| {
            let times = sorted(&outcomes, |run| {
                run.reached[share].map_or(u64::MAX, u64::from)
            });
            pair(&times, duration)
        });
        println!(
            "{:<29}{:>12} {:>17} {:>17} {:>17} {:>17}",
            policy_name(policy),
            format!("{halted}/{}", outcomes.len()),
            times[0],
            times[1],
            times[2],
            times[3],
        );
    }
    println!();
}

/// Many repetitions of a healthy patch in a smaller fleet, with power cuts and without.
fn false_halts(arguments: &Arguments, machines: u32, repetitions: u64, time: Duration) {
    const BATCH: u64 = 20;
    let began = Instant::now();
    let backgrounds = [
        Background::default(),
        Background::default().without_power_cuts(),
    ];
    let batches = repetitions.div_ceil(BATCH);
    let first = arguments.seed + 2000;
    let runs: Vec<Vec<bool>> = repeat(batches, time, 0, |batch| {
        (0..BATCH as usize)
            .into_par_iter()
            .with_max_len(1)
            .map(|place| {
                let served = fleet(machines, first + batch * BATCH + place as u64);
                let halts = |policy: usize, background| {
                    roll_out(&served, policy, Defect::NONE, background, 0)
                        .halted
                        .is_some()
                };
                BY_EVIDENCE
                    .iter()
                    .flat_map(|policy| backgrounds.iter().map(|it| halts(*policy, it)))
                    .collect::<Vec<bool>>()
            })
            .collect()
    })
    .into_iter()
    .flatten()
    .collect();
    println!(
        "False halts of a healthy patch, {machines} machines: {} runs of each, {:.0} s.\n",
        runs.len(),
        began.elapsed().as_secs_f64()
    );
    println!(
        "{:<29}{:>22} {:>22}",
        "policy", "with power cuts", "without"
    );
    for (row, policy) in BY_EVIDENCE.iter().enumerate() {
        let share = |column: usize| {
            let halted = runs.iter().filter(|run| run[row * 2 + column]).count();
            let percent = 100.0 * halted as f64 / runs.len() as f64;
            format!("{halted}/{} ({percent:.1}%)", runs.len())
        };
        println!(
            "{:<29}{:>22} {:>22}",
            policy_name(*policy),
            share(0),
            share(1)
        );
    }
    println!();
}

fn policy_name(policy: usize) -> &'static str {
    [
        "Suture standard",
        "Suture urgent",
        "everyone, stop by hand",
        "phases by hand",
        "waves by host seed",
        "threshold 0.5%",
        "fixed test, looked at often",
    ][policy]
}

fn sorted(outcomes: &[&Outcome], of: impl Fn(&Outcome) -> u64) -> Vec<u64> {
    let mut values: Vec<u64> = outcomes.iter().map(|run| of(run)).collect();
    values.sort_unstable();
    values
}

/// Of sorted values; there is always one.
fn middle_and_worst(sorted: &[u64]) -> (u64, u64) {
    (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() - 1])
}

fn pair(sorted: &[u64], show: impl Fn(u64) -> String) -> String {
    let (middle, worst) = middle_and_worst(sorted);
    format!("{} ({})", show(middle), show(worst))
}

/// Hours and minutes.
fn duration(minutes: u64) -> String {
    match minutes {
        u64::MAX => "never".to_owned(),
        _ => format!("{}:{:02}", minutes / 60, minutes % 60),
    }
}
