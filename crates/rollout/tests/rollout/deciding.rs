use jiff::Timestamp;
use proptest::prelude::*;
use suture_rollout::{
    Day, Decision, Fleet, HaltedBy, Harm, Hold, Ledger, Phase, Plan, Tick, Verdict, Window, decide,
};

use crate::support::{after, fell, hours, monday, quiet};

fn running(step: usize) -> Phase {
    Phase::Running {
        step,
        since: monday(),
    }
}

/// A hundred exposed machines of a million; all had time, and nearly all were heard of.
fn good_news() -> Fleet {
    Fleet {
        population: 1_000_000,
        early: 6_000,
        exposed: 100,
        due: 100,
        heard: 97,
        applied: 95,
    }
}

fn ask(phase: &Phase, fleet: Fleet, now: Timestamp) -> Decision {
    decide(&Plan::standard(), phase, &Ledger::default(), fleet, now)
}

fn because(decision: &Decision) -> Option<Hold> {
    match decision.verdict {
        Verdict::Hold { because } => Some(because),
        Verdict::Continue | Verdict::Halt { .. } => None,
    }
}

fn step(decision: &Decision) -> Option<usize> {
    match decision.phase {
        Phase::Running { step, .. } => Some(step),
        _ => None,
    }
}

#[test]
fn a_planned_rollout_starts_when_its_time_has_come() {
    let planned = Phase::Planned { starts: hours(1) };
    let early = ask(&planned, Fleet::default(), monday());
    assert_eq!((early.phase, early.cap), (planned.clone(), 0));
    let started = ask(&planned, good_news(), hours(1));
    assert_eq!(step(&started), Some(0));
    assert_eq!(started.cap, 100);
}

#[test]
fn good_news_after_the_soak_time_widens() {
    assert_eq!(step(&ask(&running(0), good_news(), after(7199))), Some(0));
    let widened = ask(&running(0), good_news(), hours(2));
    assert_eq!(step(&widened), Some(1));
    assert_eq!(widened.cap, 500);
}

#[test]
fn no_news_widens_nothing_however_long_it_lasts() {
    let silent = Fleet {
        heard: 59,
        ..good_news()
    };
    for time in [2, 24, 24 * 30] {
        let held = ask(&running(0), silent, hours(time));
        assert_eq!(because(&held), Some(Hold::NoNews));
        assert_eq!(held.phase, running(0));
    }
}

#[test]
fn machines_that_had_no_time_to_report_widen_nothing() {
    let fresh = Fleet {
        due: 79,
        heard: 79,
        ..good_news()
    };
    assert_eq!(
        because(&ask(&running(0), fresh, hours(2))),
        Some(Hold::TooEarly)
    );
}

/// The early machines that are not exposed sleep, perhaps; they have the time of a silence.
#[test]
fn a_step_in_which_hardly_anyone_was_exposed_waits() {
    let asleep = Fleet {
        exposed: 40,
        due: 40,
        heard: 40,
        ..good_news()
    };
    let waiting = ask(&running(0), asleep, hours(2));
    assert_eq!(because(&waiting), Some(Hold::TooEarly));
    assert_eq!(step(&ask(&running(0), asleep, hours(5))), Some(1));
}

#[test]
fn an_empty_early_group_is_skipped_after_the_soak_time() {
    let paid_only = Fleet {
        population: 40,
        early: 0,
        ..Fleet::default()
    };
    assert_eq!(step(&ask(&running(0), paid_only, hours(1))), Some(0));
    let skipped = ask(&running(0), paid_only, hours(2));
    assert_eq!((step(&skipped), skipped.cap), (Some(4), 2));
}

#[test]
fn a_fleet_of_which_nothing_is_heard_has_no_empty_early_group() {
    let after_an_outage = Fleet::default();
    let waiting = ask(&running(0), after_an_outage, hours(48));
    assert_eq!(waiting.phase, running(0));
}

#[test]
fn one_machine_is_a_fleet() {
    let mut phase = running(0);
    let mut fleet = Fleet {
        population: 1,
        early: 1,
        ..Fleet::default()
    };
    let mut now = monday();
    for _ in 0..200 {
        let decision = ask(&phase, fleet, now);
        assert!(decision.cap >= 1);
        phase = decision.phase;
        fleet = Fleet {
            exposed: 1,
            due: u64::from(now >= after(5400)),
            heard: u64::from(now >= after(5400)),
            applied: 1,
            ..fleet
        };
        now += jiff::SignedDuration::from_mins(10);
    }
    assert!(matches!(phase, Phase::Complete { .. }), "{phase:?}");
}

#[test]
fn crashes_of_exposed_machines_halt_and_say_so() {
    let mut ledger = Ledger::default();
    let look = fell(Harm::Crash, (100, 599_900), (4, 60));
    ledger.absorb(&look, &Plan::standard());
    let halted = decide(
        &Plan::standard(),
        &running(0),
        &ledger,
        good_news(),
        after(1800),
    );
    assert_eq!(halted.verdict, Verdict::Halt { harm: Harm::Crash });
    let Phase::Halted {
        step, by, reason, ..
    } = &halted.phase
    else {
        panic!("{:?}", halted.phase);
    };
    assert_eq!((*step, *by), (0, HaltedBy::Evidence));
    assert_eq!(*reason, halted.sentence);
    assert!(
        reason.starts_with(
            "Halted: 4 exposed machines went down uncleanly, where 0.01 were to be expected \
             from the 60 that fell among the others"
        ),
        "{reason}"
    );
    assert_eq!(halted.cap, 100, "nobody else is exposed");
}

/// Evidence between the two lines.
fn suspicion() -> Ledger {
    let mut ledger = Ledger::default();
    ledger.absorb(&fell(Harm::Crash, (1, 99), (1, 0)), &Plan::standard());
    let total = ledger.evidence().total;
    assert!((4.0..100.0).contains(&total), "{total}");
    ledger
}

#[test]
fn a_suspicion_holds_for_a_day() {
    let asked = |time| {
        decide(
            &Plan::standard(),
            &running(0),
            &suspicion(),
            good_news(),
            hours(time),
        )
    };
    assert_eq!(because(&asked(2)), Some(Hold::Suspicion));
    assert_eq!(because(&asked(23)), Some(Hold::Suspicion));
    assert_eq!(step(&asked(24)), Some(1));
}

#[test]
fn a_suspicion_exposes_nobody_new_after_the_early_steps() {
    let cap = |step, time| {
        let fleet = Fleet {
            exposed: 6_000,
            ..good_news()
        };
        let plan = Plan::standard();
        decide(&plan, &running(step), &suspicion(), fleet, hours(time)).cap
    };
    assert_eq!(cap(0, 1), 6_000);
    assert_eq!(cap(4, 1), 6_000);
    assert!(cap(4, 25) > 6_000, "not for ever");
}

#[test]
fn a_suspicion_that_grows_is_a_new_one() {
    let plan = Plan::standard();
    let mut ledger = suspicion();
    let quiet_look = quiet(hours(20));
    ledger.absorb(&quiet_look, &plan);
    assert!(!ledger.is_suspicious(hours(24)));
    let crash = Tick {
        at: hours(20),
        ..fell(Harm::Crash, (1, 3), (1, 0))
    };
    ledger.absorb(&crash, &plan);
    assert!(ledger.evidence().total < 100.0);
    assert!(ledger.is_suspicious(hours(43)) && !ledger.is_suspicious(hours(44)));
    // Fades: the same number of falls among the others says that it was the weather.
    let weather = Tick {
        at: hours(30),
        ..fell(Harm::Crash, (50, 50), (0, 20))
    };
    ledger.absorb(&weather, &plan);
    assert!(!ledger.is_suspicious(hours(30)));
}

#[test]
fn outside_of_its_windows_a_rollout_exposes_nobody() {
    let mut plan = Plan::standard();
    plan.windows = vec![Window {
        days: vec![Day::Monday],
        from: "06:00".parse().unwrap(),
        to: "07:00".parse().unwrap(),
        time_zone: "UTC".to_owned(),
    }];
    let asked = |phase: &Phase, now| decide(&plan, phase, &Ledger::default(), good_news(), now);
    let closed = asked(&running(0), hours(3));
    assert_eq!((because(&closed), closed.cap), (Some(Hold::Window), 100));
    assert_eq!(step(&asked(&running(0), hours(24 * 7))), Some(1));
    let planned = Phase::Planned { starts: monday() };
    assert_eq!(asked(&planned, hours(3)).phase, planned);
}

/// Half of the early machines have the version already, so that they cannot be exposed; and no
/// window is as long as the time of a silence.
#[test]
fn short_windows_keep_no_step_for_ever() {
    let mut plan = Plan::standard();
    plan.windows = vec![Window {
        days: vec![Day::Monday],
        from: "06:00".parse().unwrap(),
        to: "07:00".parse().unwrap(),
        time_zone: "UTC".to_owned(),
    }];
    let few = Fleet {
        exposed: 30,
        due: 30,
        heard: 30,
        ..good_news()
    };
    let asked = |time| decide(&plan, &running(0), &Ledger::default(), few, hours(time));
    assert_eq!(because(&asked(24 * 7)), Some(Hold::TooEarly));
    assert_eq!(step(&asked(24 * 14)), Some(1));
}

#[test]
fn a_decision_reads_back_from_json() {
    let decision = ask(&running(0), good_news(), hours(2));
    let json = serde_json::to_string(&decision).unwrap();
    assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), decision);
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        (-100_000_i64..1_000_000).prop_map(after),
        Just(Timestamp::MIN),
        Just(Timestamp::MAX),
    ]
}

fn any_phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        any_time().prop_map(|starts| Phase::Planned { starts }),
        (prop_oneof![0_usize..9, Just(usize::MAX)], any_time())
            .prop_map(|(step, since)| Phase::Running { step, since }),
        (any::<usize>(), any_time()).prop_map(|(step, at)| Phase::Halted {
            step,
            at,
            by: HaltedBy::Evidence,
            reason: "a customer called".to_owned(),
        }),
        any_time().prop_map(|at| Phase::Withdrawn {
            at,
            reason: "a customer called".to_owned()
        }),
        any_time().prop_map(|at| Phase::Complete { at }),
    ]
}

fn any_count() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..20, 0_u64..2_000_000, any::<u64>()]
}

prop_compose! {
    fn any_fleet()(
        population in any_count(),
        early in any_count(),
        exposed in any_count(),
        due in any_count(),
        heard in any_count(),
        applied in any_count(),
    ) -> Fleet {
        Fleet { population, early, exposed, due, heard, applied }
    }
}

prop_compose! {
    fn any_look()(
        row in (any_count(), any_count(), 0_u64..4, 0_u64..4),
        harm in proptest::sample::select(Harm::ALL.to_vec()),
        elapsed_secs in any::<f64>(),
        counts in (0_u64..2, any_count()),
    ) -> Tick {
        Tick {
            elapsed_secs,
            patch_trouble: counts.0,
            under_patch: counts.1,
            ..fell(harm, (row.0, row.1), (row.2, row.3))
        }
    }
}

fn any_ledger() -> impl Strategy<Value = Ledger> {
    proptest::collection::vec(any_look(), 0..4).prop_map(|looks| {
        let mut ledger = Ledger::default();
        for look in looks {
            ledger.absorb(&look, &Plan::standard());
        }
        ledger
    })
}

fn any_plan() -> impl Strategy<Value = Plan> {
    let nonsense = Just(Plan {
        steps: Vec::new(),
        alpha: f64::NAN,
        hold_at: f64::NAN,
        heard_share: f64::NAN,
        signal_secs: u64::MAX,
        silence_secs: u64::MAX,
        ..Plan::standard()
    });
    prop_oneof![
        4 => Just(Plan::standard()),
        4 => Just(Plan::urgent()),
        2 => Just(Plan::immediate()),
        1 => nonsense,
    ]
}

/// How far a rollout is.
fn progress(phase: &Phase) -> Option<usize> {
    match phase {
        Phase::Running { step, .. } => Some(*step),
        Phase::Complete { .. } => Some(usize::MAX),
        Phase::Planned { .. } | Phase::Halted { .. } | Phase::Withdrawn { .. } => None,
    }
}

proptest! {
    #[test]
    fn whatever_the_facts_there_is_an_answer(
        plan in any_plan(), phase in any_phase(), ledger in any_ledger(),
        fleet in any_fleet(), now in any_time(),
    ) {
        let decision = decide(&plan, &phase, &ledger, fleet, now);
        prop_assert_eq!(&decision, &decide(&plan, &phase, &ledger, fleet, now));
        prop_assert!(!decision.sentence.is_empty());
        prop_assert!(!serde_json::to_string(&decision).unwrap().contains(":null"));
    }

    #[test]
    fn what_was_decided_is_decided_no_further(
        plan in any_plan(), step in 0_usize..8, since in any_time(), ledger in any_ledger(),
        fleet in any_fleet(), now in any_time(),
    ) {
        let phase = Phase::Running { step, since };
        let once = decide(&plan, &phase, &ledger, fleet, now);
        let twice = decide(&plan, &once.phase, &ledger, fleet, now);
        prop_assert_eq!(once.phase, twice.phase);
        prop_assert_eq!(once.cap, twice.cap);
    }

    #[test]
    fn nothing_widens_without_good_news(
        plan in prop_oneof![Just(Plan::standard()), Just(Plan::urgent())],
        step in 0_usize..7, since in any_time(), ledger in any_ledger(),
        fleet in any_fleet(), now in any_time(),
    ) {
        let before = Phase::Running { step, since };
        let decision = decide(&plan, &before, &ledger, fleet, now);
        if progress(&decision.phase) > progress(&before) {
            let nobody = fleet.exposed == 0 && plan.step(step).unwrap().early_only;
            let news = fleet.exposed > 0
                && fleet.due as f64 >= plan.settled_share * fleet.exposed as f64
                && fleet.heard as f64 >= plan.heard_share * fleet.due as f64;
            prop_assert!(nobody || news);
            prop_assert!(ledger.evidence().peak < plan.halt_at());
        }
    }

    #[test]
    fn the_cap_is_that_of_the_step(
        plan in any_plan(), phase in any_phase(), ledger in any_ledger(),
        fleet in any_fleet(), now in any_time(),
    ) {
        let decision = decide(&plan, &phase, &ledger, fleet, now);
        let bound = match &decision.phase {
            Phase::Running { step, .. } => plan.cap(*step, fleet.population).max(fleet.exposed),
            Phase::Complete { .. } => u64::MAX,
            Phase::Planned { .. } | Phase::Halted { .. } | Phase::Withdrawn { .. } => fleet.exposed,
        };
        prop_assert!(decision.cap <= bound);
    }

    #[test]
    fn proof_halts_in_every_step(step in 0_usize..7, fleet in any_fleet(), now in any_time()) {
        let mut ledger = Ledger::default();
        ledger.absorb(&fell(Harm::Crash, (100, 599_900), (4, 60)), &Plan::standard());
        ledger.absorb(&quiet(monday()), &Plan::standard());
        let decision = decide(&Plan::standard(), &running(step), &ledger, fleet, now);
        prop_assert!(
            matches!(decision.phase, Phase::Halted { .. }),
            "{:?}",
            decision.phase
        );
    }
}
