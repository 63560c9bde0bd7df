use suture_rollout::evalue::Mixture;
use suture_rollout::preview::{Circumstances, Preview};
use suture_rollout::{Harm, Ledger, Plan};

use crate::support::{fell, hours, monday};

fn million() -> Circumstances {
    Circumstances {
        free_accounts: 300_000,
        paid_accounts: 2_000,
        free_machines: 600_000,
        paid_machines: 400_000,
        check_in_secs: 3600,
        crashes_per_hour: Circumstances::USUAL_CRASHES_PER_HOUR,
        starts: monday(),
    }
}

#[test]
fn the_standard_plan_reaches_a_million_machines_within_a_day() {
    let preview = Preview::new(&Plan::standard(), &million()).unwrap();
    let caps: Vec<u64> = preview
        .steps
        .iter()
        .map(|step| step.exposed_at_most)
        .collect();
    assert_eq!(caps, [100, 500, 1_000, 5_000, 30_000, 200_000, 1_000_000]);
    assert_eq!((preview.drawn, preview.early_machines), (3_000, 6_000));
    assert!(preview.everyone_at <= hours(24), "{}", preview.everyone_at);
    assert!(preview.everyone_at < preview.complete_at);
}

#[test]
fn the_urgent_plan_reaches_them_within_six_hours() {
    let preview = Preview::new(&Plan::urgent(), &million()).unwrap();
    assert!(preview.everyone_at <= hours(6), "{}", preview.everyone_at);
}

#[test]
fn a_crash_in_a_hundred_is_stopped_below_a_twentieth_percent() {
    let preview = Preview::new(&Plan::standard(), &million()).unwrap();
    let [tenth, hundredth, thousandth] =
        [0, 1, 2].map(|index| preview.defects[index].halt.unwrap());
    assert!(tenth.exposed < hundredth.exposed && hundredth.exposed < thousandth.exposed);
    assert!(hundredth.exposed_share <= 0.0005, "{hundredth:?}");
    assert_eq!(tenth.step, 1);
}

#[test]
fn fewer_falls_than_the_preview_says_would_not_halt() {
    let preview = Preview::new(&Plan::standard(), &million()).unwrap();
    let halt = preview.defects[0].halt.unwrap();
    let evidence = |crashed| {
        let mut mixture = Mixture::against_control();
        // The crashes of others in the time to signal.
        mixture.compare(halt.exposed, 600_000 - halt.exposed, 0, 90);
        mixture.compare(halt.exposed, 600_000 - halt.exposed, crashed, 0);
        mixture.log().exp() * Harm::Crash.weight()
    };
    assert!(evidence(halt.crashed) >= 100.0);
    assert!(evidence(halt.crashed - 1) < 100.0);
}

/// Machines are exposed one by one, each crashes by chance, and no other does.
#[test]
fn a_defect_is_halted_after_about_as_many_machines_as_the_preview_says() {
    let plan = Plan::standard();
    let preview = Preview::new(&plan, &million()).unwrap();
    let expected = preview.defects[1].halt.unwrap().exposed;
    let mut random = fastrand::Rng::with_seed(1);
    let mut exposed_until_halt = || {
        let mut ledger = Ledger::default();
        (1..).find(|exposed| {
            if random.f64() < 0.01 {
                ledger.absorb(
                    &fell(Harm::Crash, (*exposed, 600_000 - exposed), (1, 0)),
                    &plan,
                );
            }
            ledger.evidence().peak >= plan.halt_at()
        })
    };
    let rollouts = 200;
    let mean = (0..rollouts)
        .filter_map(|_| exposed_until_halt())
        .sum::<u64>()
        / rollouts;
    assert!(mean <= expected, "{mean}, not {expected}");
}

#[test]
fn windows_move_the_steps() {
    let mut plan = Plan::standard();
    plan.windows = vec![suture_rollout::Window {
        days: vec![suture_rollout::Day::Monday, suture_rollout::Day::Tuesday],
        from: "08:00".parse().unwrap(),
        to: "12:00".parse().unwrap(),
        time_zone: "UTC".to_owned(),
    }];
    let preview = Preview::new(&plan, &million()).unwrap();
    let starts: Vec<String> = preview.steps[..3]
        .iter()
        .map(|step| step.starts.to_string())
        .collect();
    assert_eq!(
        starts,
        [
            "2026-03-02T08:00:00Z",
            "2026-03-02T10:00:00Z",
            "2026-03-03T08:00:00Z"
        ]
    );
}

#[test]
fn without_free_accounts_the_steps_of_the_early_group_are_skipped() {
    let fleet = Circumstances {
        free_accounts: 0,
        free_machines: 0,
        paid_machines: 40,
        ..million()
    };
    let preview = Preview::new(&Plan::standard(), &fleet).unwrap();
    let skipped: Vec<bool> = preview.steps.iter().map(|step| step.skipped).collect();
    assert_eq!(skipped, [true, true, true, true, false, false, false]);
    assert_eq!(preview.steps[4].exposed_at_most, 2);
    assert_eq!(preview.steps[4].starts, hours(2));
}

#[test]
fn an_empty_fleet_has_a_preview() {
    let fleet = Circumstances {
        free_accounts: 0,
        paid_accounts: 0,
        free_machines: 0,
        paid_machines: 0,
        ..million()
    };
    let preview = Preview::new(&Plan::standard(), &fleet).unwrap();
    assert!(preview.defects.iter().all(|defect| defect.halt.is_none()));
}

#[test]
fn a_plan_that_cannot_be_followed_has_none() {
    let mut plan = Plan::standard();
    plan.steps.clear();
    assert_eq!(Preview::new(&plan, &million()).unwrap_err().field, "steps");
}

#[test]
fn people_read_the_summary_and_programs_the_json() {
    let preview = Preview::new(&Plan::standard(), &million()).unwrap();
    let json = serde_json::to_string(&preview).unwrap();
    assert_eq!(
        serde_json::from_str::<Preview>(&json).unwrap().steps,
        preview.steps
    );
    let lines = preview.summary();
    assert_eq!(
        lines[0],
        "Plan `standard` for 1000000 machines: 3000 of 300000 eligible are drawn, about 6000 machines"
    );
    assert_eq!(
        lines[1],
        "Step 1: from 2026-03-02T06:00:00Z, early group, at most 100 machines exposed (0.01 %)"
    );
    assert_eq!(lines.len(), 1 + 7 + 1 + 3);
}
