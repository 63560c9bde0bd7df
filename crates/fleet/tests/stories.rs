//! Short rollouts, watched closely.

use std::sync::Arc;

use suture_fleet::policy::Suture;
use suture_fleet::{
    Background, Defect, Delay, Enrolment, Limits, Lottery, Minute, Observer, Outcome, Policy,
    Population, START, Told, run, timestamp,
};
use suture_rollout::{Fleet, Harm, Hold, Phase, Plan, Tick, Verdict};

const DAY: Minute = 24 * 60;

fn draw(population: &Population, plan: &Plan) -> Arc<Lottery> {
    Arc::new(Lottery::new(population, plan, 1, timestamp(START)))
}

fn roll_out(seed: u64, machines: u32, defect: Defect) -> Outcome {
    let plan = Plan::standard();
    let population = Arc::new(Population::new(seed, machines));
    let lottery = draw(&population, &plan);
    let mut policy = Suture::new(plan.clone(), lottery.clone());
    let limits = Limits {
        at_most: DAY,
        at_least: 0,
    };
    let background = Background::default();
    run(
        &population,
        &lottery,
        defect,
        &background,
        &plan,
        &mut policy,
        limits,
    )
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let defect = Defect::crash(Delay::Hours, 0.05);
    let first = roll_out(7, 20_000, defect);
    assert_eq!(first, roll_out(7, 20_000, defect));
    assert_ne!(first, roll_out(8, 20_000, defect));
}

#[test]
fn a_crash_in_one_of_a_hundred_is_halted() {
    let outcome = roll_out(1, 100_000, Defect::crash(Delay::AtOnce, 0.01));
    assert!(outcome.halted.is_some(), "{outcome:?}");
    assert!(outcome.exposed < 2_000, "{outcome:?}");
    assert!(outcome.hurt >= 2 && outcome.hurt < 40, "{outcome:?}");
}

#[test]
fn a_healthy_patch_reaches_everyone_within_a_day() {
    let outcome = roll_out(1, 100_000, Defect::NONE);
    assert_eq!(outcome.halted, None);
    assert_eq!(outcome.hurt, 0);
    let everyone = outcome.reached[3].expect("it did not reach everyone");
    assert!(everyone <= DAY, "{outcome:?}");
}

/// Keeps on for hours after a halt and checks each look.
struct Watched {
    inner: Suture,
    cap: u64,
    exposed_at_halt: Option<u64>,
    exposed: u64,
    crashed: [u64; 2],
}

impl Policy for Watched {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn admits(&self, machine: u32, exposed: u64) -> bool {
        self.inner.admits(machine, exposed)
    }

    fn look(&mut self, now: Minute, tick: &Tick, fleet: Fleet) {
        assert!(
            fleet.exposed <= self.cap,
            "{} of {}",
            fleet.exposed,
            self.cap
        );
        assert!(fleet.heard <= fleet.due && fleet.due <= fleet.exposed);
        assert!(fleet.exposed <= fleet.population);
        if let Some(exposed) = self.exposed_at_halt {
            assert_eq!(fleet.exposed, exposed, "offered after the halt");
        }
        for row in tick.compared.iter().filter(|row| row.harm == Harm::Crash) {
            assert!(row.exposed_fell <= row.exposed_at_risk);
            assert!(row.control_fell <= row.control_at_risk);
            self.crashed[0] += row.exposed_fell;
            self.crashed[1] += row.control_fell;
        }
        self.inner.look(now, tick, fleet);
        if self.inner.stopped().is_some() {
            self.exposed_at_halt.get_or_insert(fleet.exposed);
        }
        self.cap = self.inner.cap;
        self.exposed = fleet.exposed;
    }

    fn stopped(&self) -> Option<(Minute, String)> {
        None
    }
}

#[test]
fn the_bound_holds_at_every_look_and_nobody_is_offered_a_halted_version() {
    let plan = Plan::standard();
    let population = Arc::new(Population::new(3, 50_000));
    let lottery = draw(&population, &plan);
    let mut policy = Watched {
        inner: Suture::new(plan.clone(), lottery.clone()),
        cap: 0,
        exposed_at_halt: None,
        exposed: 0,
        crashed: [0; 2],
    };
    let limits = Limits {
        at_most: DAY,
        at_least: 0,
    };
    let defect = Defect::crash(Delay::Minutes, 0.05);
    let background = Background::default().without_power_cuts();
    let outcome = run(
        &population,
        &lottery,
        defect,
        &background,
        &plan,
        &mut policy,
        limits,
    );
    let at_halt = policy.exposed_at_halt.expect("it was not halted");
    assert_eq!(outcome.exposed, at_halt);
    // Each that was hurt fell once; a few crash by themselves, or are asleep and tell it later.
    let [exposed_fell, control_fell] = policy.crashed;
    assert!(
        exposed_fell <= outcome.hurt + 2,
        "{exposed_fell} of {}",
        outcome.hurt
    );
    assert!(
        outcome.hurt <= exposed_fell + 3,
        "{exposed_fell} of {}",
        outcome.hurt
    );
    // One in a year and machine.
    assert!((80..250).contains(&control_fell), "{control_fell}");
}

/// Machines of a free account, never silent, of which the first `early` are to go first.
fn enrol(observer: &mut Observer, machines: u32, early: u32, now: u32) {
    for machine in 0..machines {
        observer.enrol(Enrolment {
            paid: false,
            early: machine < early,
            last_check_in: now - 60,
            silence_end: 0,
        });
    }
}

const NOON: u32 = 40 * 24 * 3600;
const HOUR: u32 = 3600;

fn row(tick: &Tick, harm: Harm) -> (u64, u64, u64, u64) {
    let rows = tick.compared.iter().filter(|row| row.harm == harm);
    rows.fold((0, 0, 0, 0), |sum, row| {
        (
            sum.0 + row.exposed_at_risk,
            sum.1 + row.control_at_risk,
            sum.2 + row.exposed_fell,
            sum.3 + row.control_fell,
        )
    })
}

#[test]
fn a_server_counts_each_machine_once_and_on_the_side_where_it_was() {
    let mut observer = Observer::new(&Plan::standard(), NOON);
    enrol(&mut observer, 5, 2, NOON);
    let (tick, fleet) = observer.look(NOON, timestamp(START));
    assert_eq!((fleet.population, fleet.early, fleet.exposed), (5, 2, 0));
    assert_eq!(row(&tick, Harm::Crash), (0, 0, 0, 0), "nobody was heard of");

    // All check in. Machine 0 tells of a crash and is exposed by the same check-in; so is 1.
    observer.check_in(0, Told::UNCLEAN_RESTART, NOON + 60);
    for machine in 1..5 {
        observer.check_in(machine, Told::NOTHING, NOON + 60);
    }
    observer.expose(0, NOON + 60);
    observer.expose(1, NOON + 60);
    observer.expose(1, NOON + 60);
    let (tick, fleet) = observer.look(NOON + 60, timestamp(START + 1));
    assert_eq!(fleet.exposed, 2);
    assert_eq!(row(&tick, Harm::Crash), (1, 4, 0, 1));

    // Machine 1 crashes twice and 0 crashes again; only the first of 1 counts.
    let crash = Told::UNCLEAN_RESTART.and(Told::APPLY_FAILED);
    observer.check_in(1, crash, NOON + 600);
    observer.check_in(1, crash, NOON + 660);
    observer.check_in(
        0,
        Told::UNCLEAN_RESTART.and(Told::TRANSITION_FINISHED),
        NOON + 660,
    );
    let (tick, _) = observer.look(NOON + 660, timestamp(START + 11));
    assert_eq!(row(&tick, Harm::Crash), (1, 3, 1, 0));
    assert_eq!(
        (tick.applications.finished, tick.applications.failed),
        (1, 1)
    );
    assert_eq!(tick.elapsed_secs, 600.0);

    let (tick, _) = observer.look(NOON + 720, timestamp(START + 12));
    assert_eq!(row(&tick, Harm::Crash), (0, 3, 0, 0));
    assert_eq!(tick.applications.finished, 0);
}

#[test]
fn who_is_not_heard_of_for_three_hours_falls_silent() {
    let mut observer = Observer::new(&Plan::standard(), NOON);
    enrol(&mut observer, 4, 2, NOON);
    for machine in 0..4 {
        observer.check_in(machine, Told::NOTHING, NOON);
    }
    observer.expose(0, NOON);
    observer.expose(1, NOON);
    let _ = observer.look(NOON, timestamp(START));
    // Machines 0 and 2 go on; 1 and 3 do not.
    for hour in 1..=3 {
        observer.check_in(0, Told::NOTHING, NOON + hour * HOUR - 60);
        observer.check_in(2, Told::NOTHING, NOON + hour * HOUR - 60);
    }
    let (tick, fleet) = observer.look(NOON + 3 * HOUR - 60, timestamp(START + 179));
    assert_eq!(row(&tick, Harm::Silence).2, 0);
    assert_eq!((fleet.due, fleet.heard), (2, 1));
    let (tick, fleet) = observer.look(NOON + 3 * HOUR, timestamp(START + 180));
    assert_eq!(row(&tick, Harm::Silence), (2, 2, 1, 1));
    assert_eq!((fleet.population, fleet.heard), (3, 1));

    // Machine 3 comes back. It fell once already and is at risk of silence no more.
    observer.check_in(3, Told::NOTHING, NOON + 4 * HOUR);
    let (tick, fleet) = observer.look(NOON + 4 * HOUR, timestamp(START + 240));
    assert_eq!(row(&tick, Harm::Silence), (1, 1, 0, 0));
    assert_eq!(row(&tick, Harm::Crash), (1, 2, 0, 0));
    assert_eq!(fleet.population, 4);
}

#[test]
fn no_news_of_the_early_group_stops_the_widening() {
    let plan = Plan::standard();
    let population = Population::new(1, 10);
    let mut policy = Suture::new(plan.clone(), draw(&population, &plan));
    let mut observer = Observer::new(&plan, START * 60);
    enrol(&mut observer, 5000, 40, START * 60);
    let mut holds = Vec::new();
    for minute in 0..2 * 60 + 50 {
        let now = START + minute;
        let (tick, fleet) = observer.look(now * 60, timestamp(now));
        policy.look(now, &tick, fleet);
        let decision = policy.decision.as_ref().expect("it just looked");
        holds.push(decision.verdict.clone());
        // Everyone else checks in each hour; who is exposed is never heard of again.
        for machine in (0..5000).filter(|machine| machine % 60 == minute % 60) {
            if !observer.is_exposed(machine) {
                observer.check_in(machine, Told::NOTHING, now * 60);
                if machine < 40 && observer.exposed() < policy.cap {
                    observer.expose(machine, now * 60);
                }
            }
        }
    }
    let no_news = Verdict::Hold {
        because: Hold::NoNews,
    };
    assert_eq!(holds.last(), Some(&no_news));
    assert!(matches!(policy.phase, Phase::Running { step: 0, .. }));
    assert_eq!(observer.exposed(), 1);
}
