//! The simulation admits whom the server's choice would.

use std::sync::Arc;

use suture_advisory::PatchVersion;
use suture_fleet::policy::Suture;
use suture_fleet::{Lottery, Policy, Population, START, timestamp};
use suture_kernel::KernelBuild;
use suture_rollout::{
    Candidate, Course, EarlyPreference, GroupRules, Offer, Phase, Plan, Published, Scope, choose,
};

fn kernel() -> KernelBuild {
    KernelBuild {
        release: "6.1.0-53-amd64".parse().expect("a release"),
        architecture: "amd64".parse().expect("an architecture"),
        build_id: "5a".repeat(20).parse().expect("a build id"),
    }
}

/// Asks the real choice for every machine, with the names that the simulation gives.
fn compare(population: &Population, lottery: &Arc<Lottery>, step: usize, cap: u64) -> u64 {
    let plan = Plan::standard();
    let phase = Phase::Running {
        step,
        since: timestamp(START),
    };
    let mut policy = Suture::new(plan.clone(), lottery.clone());
    policy.phase = phase.clone();
    policy.cap = cap;
    let kernel = kernel();
    let version: PatchVersion = "1.1".parse().expect("a version");
    let course = Course {
        id: lottery.id,
        scope: Scope {
            version,
            kernel: None,
        },
        plan,
        phase,
        seed: lottery.seed.clone(),
        draw: lottery.draw.clone(),
        cap,
        exposed: 0,
    };
    let published = [Published {
        kernel: kernel.clone(),
        version,
    }];
    let mut admitted = 0;
    for machine in 0..population.len() {
        let account = population.machines[machine as usize].account;
        let candidate = Candidate {
            kernel: &kernel,
            applied: None,
            account: &format!("account-{account}"),
            account_created: lottery.draw.at,
            paid: population.is_paid(machine),
            preference: EarlyPreference::Drawn,
            machine: &format!("machine-{machine}"),
            machine_created: lottery.draw.at,
            group: None,
            exposed_by: &[],
            over_limit: false,
            rules: GroupRules::NONE,
            now: lottery.draw.at,
        };
        let choice = choose(&candidate, &published, std::slice::from_ref(&course));
        let offered = choice.offer == Offer::Version { version };
        assert_eq!(offered, policy.admits(machine, 0), "machine {machine}");
        assert!(!policy.admits(machine, cap), "machine {machine}");
        admitted += u64::from(offered);
    }
    admitted
}

#[test]
fn who_is_admitted_is_who_the_choice_admits() {
    let population = Population::new(5, 3000);
    let plan = Plan::standard();
    let lottery = Arc::new(Lottery::new(&population, &plan, 1, timestamp(START)));
    let early = compare(&population, &lottery, 0, 60);
    assert!(early > 5 && early < 60, "{early} admitted");
    let some = compare(&population, &lottery, 4, 90);
    assert!((55..130).contains(&some), "{some} admitted");
    // With so small a cap, those who ask first are taken.
    assert_eq!(compare(&population, &lottery, 4, 40), 3000);
    assert_eq!(compare(&population, &lottery, 6, u64::MAX), 3000);
}
