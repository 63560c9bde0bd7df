//! The whole fleet: found in pieces, counted, and its course.

use std::sync::Arc;

use jiff::Timestamp;
use suture_protocol::MachineState;

use super::{account_with_token, at, enrol, operator};
use crate::{
    Account, AccountQuery, Action, Actor, CheckIn, FleetGroup, MachineQuery, Plan, ReportedState,
    Store, hour_of,
};

pub async fn run(store: &dyn Store) {
    let (account, release) = a_small_fleet(store).await;
    machines_are_found(store, &account, release).await;
    machines_are_found_in_pieces(store, &account).await;
    accounts_are_found(store, &account).await;
    the_audit_log_is_read_in_pieces(store, &account).await;
    the_fleet_is_counted(store, release).await;
    samples_are_kept_once_and_forgotten(store).await;
    silent_machines_are_released(store, &account).await;
}

/// Four machines: two in force, one that failed, one that was never heard of.
async fn a_small_fleet(store: &dyn Store) -> (Account, &'static str) {
    let (account, token) = account_with_token(store, "fleet_1@example.org").await;
    let plan = Plan::Subscription;
    let changed = store.set_plan(account.id, plan, &operator(), at(3)).await;
    changed.expect("changed");
    let release = "6.12.99+fleet-amd64";
    for number in 200..204 {
        let made = enrol(store, &token.secret, number).await.expect("enrolled");
        let failed = ReportedState::ApplyFailed { failure: None };
        let (state, seconds) = match number {
            200 => (ReportedState::Applied, 100),
            201 => (ReportedState::Applied, 9_000),
            202 => (failed, 9_000),
            _ => continue,
        };
        let report = CheckIn {
            kernel: super::kernel(release),
            boot_id: "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1"
                .parse()
                .expect("valid"),
            boot_time: at(0),
            agent_version: "0.1.0".parse().expect("valid"),
            applied: (number < 202).then(|| "7.1".parse().expect("valid")),
            state,
        };
        let answer = store
            .check_in(&made.secret, &report, &[], &Arc::default(), at(seconds))
            .await;
        answer.expect("answered");
    }
    (account, release)
}

fn of(account: &Account) -> MachineQuery {
    MachineQuery {
        account: Some(account.id),
        limit: 50,
        ..MachineQuery::default()
    }
}

async fn names(store: &dyn Store, query: &MachineQuery) -> Vec<String> {
    let found = store.find_machines(query).await.expect("found");
    let name = |listed: &crate::ListedMachine| listed.machine.hostname.to_string();
    found.iter().map(name).collect()
}

async fn machines_are_found(store: &dyn Store, account: &Account, release: &str) {
    let all = store.find_machines(&of(account)).await.expect("found");
    assert_eq!(all.len(), 4);
    assert!(all.iter().all(|listed| listed.owner == account.email));
    let with = |change: &dyn Fn(&mut MachineQuery)| {
        let mut query = of(account);
        change(&mut query);
        query
    };
    let by_name = with(&|query| query.text = Some("WEB-20".to_owned()));
    assert_eq!(names(store, &by_name).await.len(), 4);
    let by_id = with(&|query| query.text = Some(format!("{:032x}", 203)));
    assert_eq!(names(store, &by_id).await, ["web-203"]);
    let no_pattern = with(&|query| query.text = Some("web_20".to_owned()));
    assert!(names(store, &no_pattern).await.is_empty());
    let by_kernel = with(&|query| query.kernel = Some("99+fleet".to_owned()));
    assert_eq!(names(store, &by_kernel).await.len(), 3);
    let failed = with(&|query| query.state = Some(MachineState::ApplyFailed));
    assert_eq!(names(store, &failed).await, ["web-202"]);
    let in_force = with(&|query| query.applied = "7.1".parse().ok());
    assert_eq!(names(store, &in_force).await, ["web-200", "web-201"]);
    let silent = with(&|query| query.silent_since = Some(at(5_000)));
    assert_eq!(names(store, &silent).await, ["web-200", "web-203"]);
    let both = with(&|query| {
        query.kernel = Some(release.to_owned());
        query.silent_since = Some(at(5_000));
    });
    assert_eq!(names(store, &both).await, ["web-200"]);
}

async fn machines_are_found_in_pieces(store: &dyn Store, account: &Account) {
    let mut seen = Vec::new();
    let mut query = MachineQuery {
        limit: 3,
        ..of(account)
    };
    loop {
        let piece = store.find_machines(&query).await.expect("found");
        let Some(last) = piece.last() else { break };
        query.after = Some((last.machine.account, last.machine.id.clone()));
        seen.extend(
            piece
                .iter()
                .map(|listed| listed.machine.hostname.to_string()),
        );
    }
    assert_eq!(seen, ["web-200", "web-201", "web-202", "web-203"]);
}

async fn accounts_are_found(store: &dyn Store, account: &Account) {
    let query = AccountQuery {
        text: Some("FLEET_1@".to_owned()),
        limit: 10,
        ..AccountQuery::default()
    };
    let found = store.find_accounts(&query).await.expect("found");
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].account.id, found[0].machines), (account.id, 4));
    let beyond = AccountQuery {
        after: Some(account.id),
        ..query
    };
    assert!(
        store
            .find_accounts(&beyond)
            .await
            .expect("found")
            .is_empty()
    );
}

async fn the_audit_log_is_read_in_pieces(store: &dyn Store, account: &Account) {
    let mut actions = Vec::new();
    let mut before = None;
    loop {
        let piece = store.audit_before(before, Some(account.id), 2).await;
        let piece = piece.expect("read");
        let Some(last) = piece.last() else { break };
        before = Some(last.number);
        actions.extend(piece.iter().map(|numbered| numbered.entry.action));
    }
    let enrolled = [Action::EnrolMachine; 4];
    let first = [
        Action::ChangePlan,
        Action::CreateToken,
        Action::CreateAccount,
    ];
    assert_eq!(actions, [enrolled.as_slice(), first.as_slice()].concat());
}

async fn the_fleet_is_counted(store: &dyn Store, release: &str) {
    let groups = store.fleet_groups(at(9_100)).await.expect("counted");
    let ours: Vec<_> = groups
        .iter()
        .filter(|group| group.release.as_str() == release)
        .map(|group| {
            let version = group.applied.map(|version| version.to_string());
            (group.state, version, group.machines, group.heard)
        })
        .collect();
    assert_eq!(
        ours,
        [
            (Some(MachineState::Applied), Some("7.1".to_owned()), 2, 1),
            (Some(MachineState::ApplyFailed), None, 1, 1),
        ]
    );
    assert!(groups.iter().any(|group| group.state.is_none()));
}

async fn samples_are_kept_once_and_forgotten(store: &dyn Store) {
    let group = |machines| FleetGroup {
        release: "6.1.0-53-amd64".parse().expect("valid"),
        state: None,
        applied: None,
        machines,
        heard: 0,
    };
    let day = 86_400;
    let first = hour_of(at(0));
    let keep = async |hour: Timestamp, machines| {
        let kept = store.keep_fleet_sample(hour, &[group(machines)]).await;
        kept.expect("kept");
    };
    let later = |seconds: i64| {
        let second = first.as_second() / day * day + seconds;
        Timestamp::from_second(second).expect("in range")
    };
    assert!(!store.has_fleet_sample(later(0)).await.expect("looked"));
    keep(later(0), 5).await;
    keep(later(0), 6).await;
    keep(later(3600), 7).await;
    assert!(store.has_fleet_sample(later(0)).await.expect("looked"));
    let course = async || {
        let samples = store.fleet_samples(later(0)).await.expect("read");
        let seen = samples.iter().map(|it| (it.at, it.group.machines));
        seen.collect::<Vec<_>>()
    };
    assert_eq!(course().await, [(later(0), 5), (later(3600), 7)]);
    keep(later(20 * day), 8).await;
    assert_eq!(course().await, [(later(0), 5), (later(20 * day), 8)]);
    keep(later(900 * day), 9).await;
    assert_eq!(course().await, [(later(900 * day), 9)]);
}

/// The last chapter: machines of the others are silent too.
async fn silent_machines_are_released(store: &dyn Store, account: &Account) {
    let mut gone = Vec::new();
    loop {
        let released = store.release_silent(at(5_000), 2, at(20_000)).await;
        let released = released.expect("released");
        assert!(released.len() <= 2);
        if released.is_empty() {
            break;
        }
        gone.extend(released);
    }
    let ours = gone.iter().filter(|machine| machine.account == account.id);
    let ours: Vec<_> = ours.map(|machine| machine.hostname.to_string()).collect();
    assert_eq!(ours, ["web-200", "web-203"], "one had never been heard of");
    assert_eq!(names(store, &of(account)).await, ["web-201", "web-202"]);
    let log = store.audit_before(None, Some(account.id), 1).await;
    let line = &log.expect("read")[0].entry;
    assert_eq!(
        (line.action, &line.actor),
        (Action::ReleaseMachine, &Actor::Service)
    );
    let why = line.reason.as_deref().expect("a reason");
    assert!(why.starts_with("not heard of since 20"), "{why}");
}
