use proptest::prelude::*;
use suture_advisory::PatchVersion;
use suture_kernel::{BuildId, KernelBuild};
use suture_rollout::cohort::{Draw, Seed, UnitDigest};
use suture_rollout::{
    Candidate, ChannelName, Choice, Course, EarlyPreference, Eligible, GroupPolicy, GroupRules,
    HaltedBy, Offer, Phase, Plan, Published, RolloutId, Rule, Scope, Unit, Withheld, choose,
};

use crate::support::{hours, monday, rollout};

fn kernel(id: u8) -> KernelBuild {
    KernelBuild {
        release: "6.1.0-53-amd64".parse().unwrap(),
        architecture: "amd64".parse().unwrap(),
        build_id: BuildId::from_bytes(&[id; 20]).unwrap(),
    }
}

fn version(batch: u32) -> PatchVersion {
    format!("{batch}.1").parse().unwrap()
}

fn published(batches: &[u32]) -> Vec<Published> {
    let patch = |batch: &u32| Published {
        kernel: kernel(1),
        version: version(*batch),
    };
    batches.iter().map(patch).collect()
}

fn complete() -> Phase {
    Phase::Complete { at: monday() }
}

fn running(step: usize) -> Phase {
    Phase::Running {
        step,
        since: monday(),
    }
}

fn halted() -> Phase {
    Phase::Halted {
        step: 2,
        at: monday(),
        by: HaltedBy::Evidence,
        reason: "it crashes".to_owned(),
    }
}

fn withdrawn() -> Phase {
    Phase::Withdrawn {
        at: monday(),
        reason: "it crashes".to_owned(),
    }
}

/// A rollout of a version in whose list are a hundred accounts, a tenth of which are drawn.
fn course(batch: u32, phase: Phase) -> Course {
    let id = rollout(u8::try_from(batch).unwrap());
    let mut plan = Plan::standard();
    plan.early_group.share = 0.1;
    let seed = Seed::from_random_bytes([9; 32]);
    let list = (0..100).map(|number| UnitDigest::new(id, &account(number)));
    let draw = Draw::new(&seed, list.collect(), 0.1, monday());
    Course {
        id,
        scope: Scope {
            version: version(batch),
            kernel: None,
        },
        plan,
        phase,
        seed,
        draw,
        cap: 1_000,
        exposed: 0,
    }
}

fn account(number: usize) -> String {
    format!("account-{number}")
}

const KERNEL_ID: u8 = 1;

struct Owner {
    kernel: KernelBuild,
    account: String,
    exposed_by: Vec<RolloutId>,
}

impl Owner {
    fn new(number: usize) -> Self {
        Self {
            kernel: kernel(KERNEL_ID),
            account: account(number),
            exposed_by: Vec::new(),
        }
    }

    fn machine(&self) -> Candidate<'_> {
        Candidate {
            kernel: &self.kernel,
            applied: None,
            account: &self.account,
            account_created: hours(-100),
            paid: false,
            preference: EarlyPreference::Drawn,
            machine: "f00d",
            machine_created: hours(-100),
            group: None,
            exposed_by: &self.exposed_by,
            over_limit: false,
            rules: GroupRules::NONE,
            now: monday(),
        }
    }
}

/// An owner whose account is drawn, or not.
fn owner(course: &Course, drawn: bool) -> Owner {
    (0..100)
        .map(Owner::new)
        .find(|owner| course.is_early(&owner.machine()) == drawn)
        .unwrap()
}

fn offered(batch: u32) -> Offer {
    Offer::Version {
        version: version(batch),
    }
}

#[test]
fn an_early_step_is_for_the_drawn_alone() {
    let courses = [course(5, running(0))];
    let drawn = owner(&courses[0], true);
    let choice = choose(&drawn.machine(), &published(&[5]), &courses);
    assert_eq!(
        choice,
        Choice {
            offer: offered(5),
            exposes: Some(rollout(5)),
            early: true,
            coming: None,
            withdrawn: None,
            withheld: None,
        }
    );
    let other = owner(&courses[0], false);
    let choice = choose(&other.machine(), &published(&[5]), &courses);
    assert_eq!(choice.offer, Offer::NotYet);
    assert_eq!((choice.exposes, choice.early), (None, false));
    assert_eq!(choice.coming, Some(version(5)));
}

#[test]
fn a_tenth_of_the_accounts_is_drawn() {
    let course = course(5, running(0));
    let early = (0..100).filter(|number| course.is_early(&Owner::new(*number).machine()));
    assert_eq!(early.count(), 10);
}

#[test]
fn who_was_not_in_the_list_is_not_drawn() {
    let course = course(5, running(0));
    let drawn = owner(&course, true);
    let is_early = |change: &dyn Fn(&mut Candidate)| {
        let mut machine = drawn.machine();
        change(&mut machine);
        course.is_early(&machine)
    };
    assert!(is_early(&|_| ()));
    assert!(!is_early(&|machine| machine.account_created = hours(1)));
    assert!(!is_early(&|machine| machine.paid = true));
    assert!(!is_early(
        &|machine| machine.preference = EarlyPreference::Never
    ));
}

#[test]
fn wishes_and_groups_go_before_the_draw() {
    let mut course = course(5, running(0));
    course.plan.early_group.always = vec!["canary".to_owned()];
    course.plan.early_group.never = vec!["database".to_owned()];
    let other = owner(&course, false);
    let is_early = |paid, preference, group| {
        let machine = Candidate {
            paid,
            preference,
            group,
            ..other.machine()
        };
        course.is_early(&machine)
    };
    assert!(is_early(true, EarlyPreference::Always, None));
    assert!(is_early(true, EarlyPreference::Drawn, Some("canary")));
    assert!(!is_early(false, EarlyPreference::Always, Some("database")));
    assert!(!is_early(false, EarlyPreference::Never, Some("canary")));
    assert!(!is_early(false, EarlyPreference::Drawn, Some("web")));
}

#[test]
fn an_operator_with_one_account_draws_machines() {
    let mut course = course(5, running(0));
    course.plan.early_group.unit = Unit::Machine;
    course.plan.early_group.eligible = Eligible::Everyone;
    let owner = Owner::new(0);
    let names: Vec<String> = (0..200).map(|number| format!("machine-{number}")).collect();
    let machine = |name| Candidate {
        machine: name,
        paid: true,
        ..owner.machine()
    };
    let list = names
        .iter()
        .map(|name| UnitDigest::new(course.id, &machine(name).unit(Unit::Machine)));
    course.draw = Draw::new(&course.seed, list.collect(), 0.1, monday());
    let early = names.iter().filter(|name| course.is_early(&machine(name)));
    assert_eq!(early.count(), 20);
    let young = Candidate {
        machine_created: hours(1),
        ..machine(&names[0])
    };
    assert!(!course.is_early(&young));
}

#[test]
fn a_full_step_exposes_nobody_more() {
    let mut full = course(5, running(0));
    (full.cap, full.exposed) = (10, 10);
    let mut drawn = owner(&full, true);
    let courses = [full];
    let choice = choose(&drawn.machine(), &published(&[5]), &courses);
    assert_eq!(choice.offer, Offer::NotYet);
    drawn.exposed_by.push(rollout(5));
    let again = choose(&drawn.machine(), &published(&[5]), &courses);
    assert_eq!((again.offer, again.exposes), (offered(5), None));
}

#[test]
fn a_wide_step_takes_its_share_by_lot() {
    let course = course(5, running(4));
    let others = (0..100).map(Owner::new);
    let machines: Vec<String> = (0..50).map(|number| format!("machine-{number}")).collect();
    let mut reached = 0;
    for owner in others.filter(|owner| !course.is_early(&owner.machine())) {
        for machine in &machines {
            let candidate = Candidate {
                machine,
                ..owner.machine()
            };
            let choice = choose(&candidate, &published(&[5]), std::slice::from_ref(&course));
            reached += u64::from(choice.exposes.is_some());
        }
    }
    // 3 % of 4,500 machines are 135, give or take four standard deviations.
    assert!((89..181).contains(&reached), "{reached}");
}

#[test]
fn in_a_small_fleet_whoever_comes_first_is_taken() {
    let mut course = course(5, running(4));
    course.cap = 1;
    let other = owner(&course, false);
    let choice = choose(&other.machine(), &published(&[5]), &[course]);
    assert_eq!(choice.offer, offered(5));
}

#[test]
fn what_is_halted_or_withdrawn_goes_to_nobody() {
    for phase in [halted(), withdrawn(), Phase::Planned { starts: hours(1) }] {
        let courses = [course(4, complete()), course(5, phase)];
        let mut owner = owner(&courses[1], true);
        owner.exposed_by.push(rollout(5));
        let choice = choose(&owner.machine(), &published(&[4, 5]), &courses);
        assert_eq!(choice.offer, offered(4));
    }
}

#[test]
fn a_machine_with_a_withdrawn_version_is_told_and_stays() {
    let courses = [course(4, complete()), course(5, withdrawn())];
    let owner = Owner::new(0);
    let machine = Candidate {
        applied: Some(version(5)),
        ..owner.machine()
    };
    let choice = choose(&machine, &published(&[4, 5]), &courses);
    assert_eq!(choice.offer, Offer::UpToDate);
    assert_eq!(choice.withdrawn.as_deref(), Some("it crashes"));

    let next = [
        courses[0].clone(),
        courses[1].clone(),
        course(6, complete()),
    ];
    let choice = choose(&machine, &published(&[4, 5, 6]), &next);
    assert_eq!(choice.offer, offered(6));
}

#[test]
fn a_version_that_was_withdrawn_once_stays_withdrawn() {
    for courses in [
        [course(5, withdrawn()), course(5, complete())],
        [course(5, complete()), course(5, withdrawn())],
    ] {
        let choice = choose(&Owner::new(0).machine(), &published(&[5]), &courses);
        assert_eq!(choice.offer, Offer::NotYet);
    }
}

#[test]
fn a_rollout_of_one_kernel_build_is_not_for_another() {
    let mut other_build = course(5, complete());
    other_build.scope.kernel = Some(kernel(2));
    let choice = choose(&Owner::new(0).machine(), &published(&[5]), &[other_build]);
    assert_eq!(choice.offer, Offer::NotYet, "no rollout brings it here");
    let uncovered = choose(&Owner::new(0).machine(), &[], &[]);
    assert_eq!(uncovered.offer, Offer::NotCovered);
}

fn any_phase() -> impl Strategy<Value = Phase> {
    prop_oneof![
        (0_usize..9).prop_map(running),
        Just(complete()),
        Just(halted()),
        Just(withdrawn()),
        Just(Phase::Planned { starts: hours(1) }),
    ]
}

prop_compose! {
    fn any_course()(
        batch in 1_u32..5,
        phase in any_phase(),
        cap in 0_u64..100,
        exposed in 0_u64..100,
    ) -> Course {
        Course { cap, exposed, ..course(batch, phase) }
    }
}

proptest! {
    #[test]
    fn whatever_runs_the_rules_hold(
        courses in proptest::collection::vec(any_course(), 0..5),
        applied in proptest::option::of(1_u32..6),
        number in 0_usize..100,
        paid in any::<bool>(),
        exposed_by in proptest::collection::vec(1_u8..5, 0..3),
    ) {
        let mut owner = Owner::new(number);
        owner.exposed_by = exposed_by.into_iter().map(rollout).collect();
        let machine = Candidate {
            applied: applied.map(version),
            paid,
            ..owner.machine()
        };
        let choice = choose(&machine, &published(&[1, 2, 3, 4]), &courses);
        if let Offer::Version { version } = choice.offer {
            prop_assert!(machine.applied.is_none_or(|applied| version > applied), "never back");
            let of_version = || courses.iter().filter(|it| it.scope.version == version);
            let withdrawn = |course: &Course| matches!(course.phase, Phase::Withdrawn { .. });
            let offers = |course: &Course| {
                matches!(course.phase, Phase::Running { .. } | Phase::Complete { .. })
            };
            prop_assert!(!of_version().any(withdrawn), "withdrawn");
            prop_assert!(of_version().any(offers), "halted or not begun");
        } else {
            prop_assert_eq!(choice.exposes, None);
        }
        if let Some(id) = choice.exposes {
            prop_assert!(!owner.exposed_by.contains(&id));
            let admits = |course: &Course| {
                let reached = match course.phase {
                    Phase::Complete { .. } => true,
                    Phase::Running { step, .. } => step >= 3 || course.is_early(&machine),
                    Phase::Planned { .. } | Phase::Halted { .. } | Phase::Withdrawn { .. } => false,
                };
                course.id == id && course.exposed < course.cap && reached
            };
            prop_assert!(courses.iter().any(admits), "not admitted");
        }
    }
}

/// What a machine without a patch is told of versions 4 and 5, both complete, by its group's
/// policy. Version 4 was promoted to its channel, if it has one.
fn under(policy: GroupPolicy, now: jiff::Timestamp) -> (Offer, Option<Withheld>) {
    let promoted = [version(4)].into();
    under_rules(&GroupRules { policy, promoted }, now)
}

fn under_rules(rules: &GroupRules, now: jiff::Timestamp) -> (Offer, Option<Withheld>) {
    let mut courses = [course(4, complete()), course(5, complete())];
    courses[0].draw.at = hours(-100);
    let owner = Owner::new(1);
    let machine = Candidate {
        rules,
        now,
        ..owner.machine()
    };
    let choice = choose(&machine, &published(&[4, 5]), &courses);
    (choice.offer, choice.withheld)
}

fn kept(batch: u32, rule: Rule) -> Option<Withheld> {
    Some(Withheld::Policy {
        version: version(batch),
        rule,
    })
}

#[test]
fn a_groups_policy_only_makes_its_machines_wait() {
    assert_eq!(under(GroupPolicy::default(), monday()), (offered(5), None));

    let hold = GroupPolicy {
        hold: true,
        ..GroupPolicy::default()
    };
    let (offer, withheld) = under(hold, monday());
    assert_eq!((offer, withheld), (Offer::NotYet, kept(5, Rule::Hold)));

    let pin = GroupPolicy {
        pin: Some(version(4)),
        ..GroupPolicy::default()
    };
    let at = version(4);
    assert_eq!(
        under(pin, monday()),
        (offered(4), kept(5, Rule::Pin { at }))
    );

    let at = hours(-50);
    let cut_off = GroupPolicy {
        cut_off: Some(at),
        ..GroupPolicy::default()
    };
    assert_eq!(
        under(cut_off, monday()),
        (offered(4), kept(5, Rule::CutOff { at }))
    );
}

#[test]
fn a_channel_lets_through_what_was_promoted_to_it() {
    let name: ChannelName = "stable".parse().unwrap();
    let mut rules = GroupRules {
        policy: GroupPolicy {
            channel: Some(name.clone()),
            ..GroupPolicy::default()
        },
        promoted: [version(4)].into(),
    };
    let kept = kept(5, Rule::Channel { name });
    assert_eq!(under_rules(&rules, monday()), (offered(4), kept.clone()));
    rules.promoted.clear();
    assert_eq!(under_rules(&rules, monday()), (Offer::NotYet, kept));
    rules.promoted.insert(version(5));
    assert_eq!(under_rules(&rules, monday()), (offered(5), None));
}

#[test]
fn a_delay_counts_from_the_begin_of_the_rollout() {
    let begun = course(5, complete()).draw.at;
    let policy = GroupPolicy {
        delay_days: Some(3),
        ..GroupPolicy::default()
    };
    let until = begun + jiff::SignedDuration::from_hours(72);
    let before = until - jiff::SignedDuration::from_secs(1);
    assert_eq!(
        under(policy.clone(), before),
        (offered(4), kept(5, Rule::Delay { until }))
    );
    assert_eq!(under(policy, until), (offered(5), None));
}

#[test]
fn a_machine_beyond_the_plan_keeps_what_it_has_and_gets_nothing_new() {
    let courses = [course(4, complete()), course(5, complete())];
    let owner = Owner {
        exposed_by: vec![courses[0].id],
        ..Owner::new(1)
    };
    let over = Candidate {
        over_limit: true,
        ..owner.machine()
    };
    let choice = choose(&over, &published(&[4, 5]), &courses);
    assert_eq!(choice.offer, offered(4), "it had this version before");
    assert_eq!(
        (choice.exposes, choice.withheld),
        (None, Some(Withheld::MachineLimit))
    );

    let current = Candidate {
        applied: Some(version(5)),
        ..over
    };
    let choice = choose(&current, &published(&[4, 5]), &courses);
    assert_eq!(choice.offer, Offer::UpToDate);
    assert_eq!(
        choice.withheld,
        Some(Withheld::MachineLimit),
        "it is told at once"
    );
}

#[test]
fn nothing_withholds_what_a_machine_was_offered_before() {
    let courses = [course(5, complete())];
    let owner = Owner {
        exposed_by: vec![courses[0].id],
        ..Owner::new(1)
    };
    let rules = GroupRules {
        policy: GroupPolicy {
            hold: true,
            ..GroupPolicy::default()
        },
        ..GroupRules::default()
    };
    let machine = Candidate {
        rules: &rules,
        ..owner.machine()
    };
    let choice = choose(&machine, &published(&[5]), &courses);
    assert_eq!((choice.offer, choice.withheld), (offered(5), None));
}
