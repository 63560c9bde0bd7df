use suture_rollout::{Day, Plan, Window};

use crate::support::monday;

fn named() -> [Plan; 3] {
    Plan::NAMES.map(|name| Plan::named(name).unwrap())
}

#[test]
fn the_plans_that_need_no_file_can_be_followed() {
    for plan in named() {
        assert_eq!(plan.check(), Ok(()), "{}", plan.name);
    }
}

#[test]
fn plans_read_back_from_json_and_toml() {
    for mut plan in named() {
        plan.windows = vec![office_hours()];
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
        let text = toml::to_string(&plan).unwrap();
        assert_eq!(toml::from_str::<Plan>(&text).unwrap(), plan);
    }
}

#[test]
fn an_operator_writes_a_plan_by_hand() {
    let plan: Plan = toml::from_str(
        r#"
        name = "our servers"
        signal_secs = 1800
        silence_secs = 7200
        settled_share = 0.8
        heard_share = 0.9
        alpha = 0.01
        hold_at = 4

        [early_group]
        share = 0.05
        unit = "machine"
        eligible = "everyone"
        always = ["canary"]
        never = ["database"]

        [[steps]]
        share = 0.05
        early_only = true
        soak_secs = 7200

        [[steps]]
        share = 1
        soak_secs = 7200

        [tolerated]
        apply_failure = 0.01
        stall = 0.02
        patch_trouble_per_hour = 1e-6

        [[windows]]
        days = ["monday", "tuesday"]
        from = "22:00"
        to = "04:00"
        time_zone = "Europe/Berlin"
        "#,
    )
    .unwrap();
    assert_eq!(plan.check(), Ok(()));
    assert_eq!(plan.cap(0, 990), 50);
}

/// A change that spoils a plan, and the field that the refusal names.
type Spoiler = (fn(&mut Plan), &'static str);

#[test]
fn each_field_is_checked() {
    let spoilers: &[Spoiler] = &[
        (|plan| plan.name = " ".into(), "name"),
        (|plan| plan.early_group.share = 1.1, "early_group.share"),
        (
            |plan| plan.early_group.share = f64::NAN,
            "early_group.share",
        ),
        (|plan| plan.steps.clear(), "steps"),
        (|plan| plan.steps[0].share = 0.0, "steps[0].share"),
        (|plan| plan.steps[0].share = f64::NAN, "steps[0].share"),
        (|plan| plan.steps[4].share = 0.0126, "steps[5].share"),
        (|plan| plan.steps[6].share = 0.99, "steps[6].share"),
        (
            |plan| plan.steps[1].early_only = false,
            "steps[2].early_only",
        ),
        (|plan| plan.steps[2].soak_secs = 0, "steps[2].soak_secs"),
        (
            |plan| plan.steps[2].soak_secs = u64::MAX,
            "steps[2].soak_secs",
        ),
        (|plan| plan.signal_secs = 0, "signal_secs"),
        (|plan| plan.silence_secs = 0, "silence_secs"),
        (|plan| plan.settled_share = 0.0, "settled_share"),
        (|plan| plan.heard_share = 1.5, "heard_share"),
        (|plan| plan.alpha = 0.0, "alpha"),
        (|plan| plan.alpha = 0.6, "alpha"),
        (|plan| plan.alpha = f64::NAN, "alpha"),
        (|plan| plan.hold_at = 1.0, "hold_at"),
        (|plan| plan.hold_at = 100.0, "hold_at"),
        (
            |plan| plan.tolerated.apply_failure = 0.0,
            "tolerated.apply_failure",
        ),
        (|plan| plan.tolerated.stall = 1.0, "tolerated.stall"),
        (
            |plan| plan.tolerated.patch_trouble_per_hour = f64::INFINITY,
            "tolerated.patch_trouble_per_hour",
        ),
        (|plan| plan.windows[0].days.clear(), "windows[0].days"),
        (
            |plan| plan.windows[0].time_zone = "Europe/Atlantis".into(),
            "windows[0].time_zone",
        ),
    ];
    for (spoil, field) in spoilers {
        let mut plan = Plan::standard();
        plan.windows = vec![office_hours()];
        // So that the step after it is what is wrong.
        if *field == "steps[5].share" {
            plan.steps[5].share = 0.0125;
        }
        spoil(&mut plan);
        let refusal = plan.check().unwrap_err();
        assert_eq!(refusal.field, *field, "{refusal}");
    }
}

#[test]
fn whoever_checks_in_as_often_as_told_is_never_silent() {
    let plan = Plan::standard();
    assert_eq!(plan.check_for(3_600), Ok(()));
    let refusal = plan.check_for(3_601).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "plan `standard` cannot be followed: silence_secs: expected at least 10803, 3 times the \
         3601 seconds between two check-ins"
    );
    assert_eq!(plan.check_for(u64::MAX).unwrap_err().field, "silence_secs");
}

#[test]
fn the_last_step_is_for_everyone() {
    let mut plan = Plan::immediate();
    plan.steps[0].early_only = true;
    assert_eq!(plan.check().unwrap_err().field, "steps[0].early_only");
}

fn office_hours() -> Window {
    Window {
        days: vec![Day::Monday, Day::Tuesday],
        from: "08:00".parse().unwrap(),
        to: "17:30".parse().unwrap(),
        time_zone: "Europe/Berlin".to_owned(),
    }
}

fn with(window: Window) -> Plan {
    Plan {
        windows: vec![window],
        ..Plan::standard()
    }
}

#[test]
fn a_window_follows_the_wall_clock() {
    let plan = with(office_hours());
    let is_open = |at: &str| plan.is_open(at.parse().unwrap());
    assert!(!is_open("2026-03-02T06:59:59Z"));
    assert!(is_open("2026-03-02T07:00:00Z"));
    assert!(!is_open("2026-03-02T16:30:00Z"));
    // The clocks went forward on 29 March.
    assert!(is_open("2026-03-30T06:00:00Z"));
    assert!(!is_open("2026-03-04T09:00:00Z"), "a Wednesday");
}

#[test]
fn a_window_that_ends_after_midnight_ends_on_the_next_day() {
    let mut night = office_hours();
    (night.from, night.to) = ("22:00".parse().unwrap(), "04:00".parse().unwrap());
    let plan = with(night);
    let is_open = |at: &str| plan.is_open(at.parse().unwrap());
    assert!(is_open("2026-03-02T22:00:00Z"));
    assert!(is_open("2026-03-04T02:59:00Z"), "Tuesday's");
    assert!(!is_open("2026-03-04T22:00:00Z"));
    assert!(!is_open("2026-03-02T02:00:00Z"), "Sunday has none");
}

#[test]
fn the_next_window_is_found() {
    let plan = with(office_hours());
    let next = |at: &str| plan.next_open(at.parse().unwrap()).unwrap().to_string();
    assert_eq!(next("2026-03-02T10:00:00Z"), "2026-03-02T10:00:00Z");
    assert_eq!(next("2026-03-02T20:00:00Z"), "2026-03-03T07:00:00Z");
    assert_eq!(next("2026-03-03T20:00:00Z"), "2026-03-09T07:00:00Z");
    assert_eq!(
        Plan::standard().next_open(monday()),
        Some(monday()),
        "no window: at any time"
    );
}

#[test]
fn a_cap_is_never_less_than_one_machine_before_the_last_step() {
    let plan = Plan::standard();
    assert_eq!(plan.cap(0, 0), 1);
    assert_eq!(plan.cap(0, 7), 1);
    assert_eq!(plan.cap(0, 1_000_000), 100);
    assert_eq!(plan.cap(6, 7), u64::MAX);
    let mut nonsense = plan;
    nonsense.steps[0].share = f64::NAN;
    assert_eq!(nonsense.cap(0, 1_000_000), 1);
    nonsense.steps.clear();
    assert_eq!(nonsense.cap(0, 1_000_000), 0);
}
