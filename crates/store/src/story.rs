//! What every database has to do, told as a story. Each database's own tests run all of it:
//!
//! ```text
//! suture_store::story::run(Arc::new(store)).await;
//! ```
//!
//! The functions panic where a promise of [`Store`] is broken, as tests do.

mod attention;
mod channels;
mod copies;
mod fleet;
mod hooks;
mod leases;
mod operators;
mod plans;
mod reinstalled;
mod retention;
mod rollouts;
mod sign_in;
mod sign_up;
mod together;

use std::collections::HashSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use suture_kernel::{BuildId, KernelBuild};
use suture_protocol::MachineId;

pub use rollouts::{Moved, after_a_move, before_a_move};
pub use together::{REFUSED_AGENT, a_refused_check_in_fails_alone, who_comes_back_is_not_released};

use crate::{
    Account, AccountToken, Action, Actor, CheckIn, Enrolment, FailureText, IssuedToken,
    LastCheckIn, MachineSecret, NewAccount, NewMachine, Plan, ReportedState, Store, StoreError,
    Subject,
};

/// Runs every chapter. The store must be empty.
pub async fn run(store: Arc<dyn Store>) {
    let store = store.as_ref();
    store.ping().await.expect("an open store answers");
    accounts_have_distinct_addresses(store).await;
    tokens_hold_until_revoked(store).await;
    the_free_plan_covers_three_machines(store).await;
    enrolling_again_renews_the_secret(store).await;
    two_accounts_may_hold_one_machine_id(store).await;
    a_report_replaces_the_last_one(store).await;
    every_change_is_audited(store).await;
    rollouts::run(store).await;
    operators::run(store).await;
    sign_up::run(store).await;
    sign_in::run(store).await;
    leases::run(store).await;
    hooks::run(store).await;
    fleet::run(store).await;
    plans::run(store).await;
    channels::run(store).await;
    attention::run(store).await;
    copies::run(store).await;
    reinstalled::run(store).await;
    retention::run(store).await;
}

/// Many machines of a free account enrol at the same moment; three get in. The stores are doors
/// to the same database, as several processes hold them.
pub async fn the_limit_holds_under_concurrent_enrolments(stores: &[Arc<dyn Store>]) {
    let store = Arc::clone(&stores[0]);
    let (account, token) = account_with_token(store.as_ref(), "crowd@example.org").await;
    let tasks: Vec<_> = (1..=24)
        .zip(stores.iter().cycle())
        .map(|(number, store)| {
            let (store, secret) = (Arc::clone(store), token.secret.clone());
            tokio::spawn(async move { enrol(store.as_ref(), &secret, number).await })
        })
        .collect();
    let mut enrolled = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(enrolment) => {
                assert!(!enrolment.renewed);
                enrolled += 1;
            }
            Err(StoreError::MachineLimit {
                plan: Plan::Free,
                limit: 3,
            }) => {}
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(enrolled, 3);
    assert_eq!(store.machines(account.id).await.expect("machines").len(), 3);
}

/// One machine enrols many times at the same moment; it is one machine, with one secret.
pub async fn one_machine_enrolling_many_times_is_one_machine(store: Arc<dyn Store>) {
    let (account, token) = account_with_token(store.as_ref(), "echo@example.org").await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (store, secret) = (Arc::clone(&store), token.secret.clone());
            tokio::spawn(async move { enrol(store.as_ref(), &secret, 7).await })
        })
        .collect();
    let mut valid = 0;
    let mut secrets = Vec::new();
    for task in tasks {
        secrets.push(task.await.expect("no panic").expect("enrolled").secret);
    }
    for secret in &secrets {
        valid += u32::from(store.authenticate_machine(secret).await.is_ok());
    }
    assert_eq!(valid, 1, "only the latest secret holds");
    assert_eq!(store.machines(account.id).await.expect("machines").len(), 1);
}

/// Many machines check in at the same moment; no more are exposed than a rollout's cap. The
/// stores are doors to the same database, as several processes hold them.
pub async fn the_cap_holds_under_concurrent_check_ins(stores: &[Arc<dyn Store>]) {
    rollouts::the_cap_holds(stores).await;
}

/// Machines tell while the service looks; each word is counted in one look. The stores are doors
/// to the same database, as several processes hold them.
pub async fn each_word_counts_in_one_look(stores: &[Arc<dyn Store>]) {
    rollouts::each_word_counts_in_one_look(stores).await;
}

async fn accounts_have_distinct_addresses(store: &dyn Store) {
    let new = NewAccount {
        email: "ada@example.org".parse().expect("valid"),
        plan: Plan::Free,
    };
    let account = store
        .create_account(&new, &operator(), at(0))
        .await
        .expect("created");
    assert_eq!((account.plan, account.created), (Plan::Free, at(0)));
    let shouted = NewAccount {
        email: "ADA@example.org".parse().expect("valid"),
        ..new.clone()
    };
    let again = store.create_account(&shouted, &operator(), at(1)).await;
    assert!(
        matches!(again, Err(StoreError::EmailTaken { .. })),
        "{again:?}"
    );
    assert_eq!(
        store.account_by_email(&shouted.email).await.expect("found"),
        account
    );
    assert!(store.accounts().await.expect("accounts").contains(&account));
    let nobody = "nobody@example.org".parse().expect("valid");
    assert_eq!(store.account(account.id).await.expect("found"), account);
    let unknown = store.account_by_email(&nobody).await;
    assert!(
        matches!(unknown, Err(StoreError::UnknownEmail { .. })),
        "{unknown:?}"
    );
}

async fn tokens_hold_until_revoked(store: &dyn Store) {
    let (account, issued) = account_with_token(store, "grace@example.org").await;
    let grant = store
        .authenticate_token(&issued.secret)
        .await
        .expect("it holds");
    assert_eq!((&grant.account, &grant.token), (&account, &issued.token));
    let machine = enrol(store, &issued.secret, 1).await.expect("enrolled");

    let revoked = store
        .revoke_token(issued.token.id, &operator(), at(5))
        .await
        .expect("revoked");
    assert_eq!(revoked.revoked, Some(at(5)));
    let twice = store
        .revoke_token(issued.token.id, &operator(), at(6))
        .await
        .expect("no error");
    assert_eq!(twice.revoked, Some(at(5)), "the first time stays");
    let refused = store.authenticate_token(&issued.secret).await;
    assert!(
        matches!(refused, Err(StoreError::UnknownToken)),
        "{refused:?}"
    );
    let refused = enrol(store, &issued.secret, 2).await;
    assert!(
        matches!(refused, Err(StoreError::UnknownToken)),
        "{refused:?}"
    );
    let stays = store.authenticate_machine(&machine.secret).await;
    assert!(stays.is_ok(), "a machine outlives its token");

    let never_issued = AccountToken::generate().expect("random");
    let refused = store.authenticate_token(&never_issued).await;
    assert!(
        matches!(refused, Err(StoreError::UnknownToken)),
        "{refused:?}"
    );
    assert_eq!(store.tokens(account.id).await.expect("tokens"), [revoked]);
}

async fn the_free_plan_covers_three_machines(store: &dyn Store) {
    let (account, token) = account_with_token(store, "mary@example.org").await;
    let first = enrol(store, &token.secret, 1).await.expect("first");
    enrol(store, &token.secret, 2).await.expect("second");
    enrol(store, &token.secret, 3).await.expect("third");
    assert_limit(enrol(store, &token.secret, 4).await);

    let released = store
        .release_self(&first.secret, at(10))
        .await
        .expect("released");
    assert_eq!(released.id, first.machine.id);
    let gone = store.authenticate_machine(&first.secret).await;
    assert!(matches!(gone, Err(StoreError::UnknownMachine)), "{gone:?}");
    let twice = store.release_self(&first.secret, at(11)).await;
    assert!(
        matches!(twice, Err(StoreError::UnknownMachine)),
        "{twice:?}"
    );

    enrol(store, &token.secret, 4).await.expect("room again");
    assert_limit(enrol(store, &token.secret, 5).await);
    store
        .set_plan(account.id, Plan::Subscription, &operator(), at(12))
        .await
        .expect("subscribed");
    let fifth = enrol(store, &token.secret, 5).await.expect("no limit");
    assert_eq!(fifth.plan, Plan::Subscription);

    let (id, by) = (fifth.machine.id, operator());
    store
        .release_machine(account.id, &id, &by, at(13))
        .await
        .expect("by the operator");
    let twice = store.release_machine(account.id, &id, &by, at(14)).await;
    assert!(
        matches!(twice, Err(StoreError::UnknownMachineId { .. })),
        "{twice:?}"
    );
}

async fn enrolling_again_renews_the_secret(store: &dyn Store) {
    let (account, token) = account_with_token(store, "joan@example.org").await;
    for number in 1..=3 {
        enrol(store, &token.secret, number).await.expect("enrolled");
    }
    let before = store.machines(account.id).await.expect("machines");
    let renewed = enrol(store, &token.secret, 2)
        .await
        .expect("not counted twice");
    assert!(renewed.renewed);
    let again = enrol(store, &token.secret, 2)
        .await
        .expect("not counted twice");
    let void = store.authenticate_machine(&renewed.secret).await;
    assert!(matches!(void, Err(StoreError::UnknownMachine)), "{void:?}");
    let valid = store
        .authenticate_machine(&again.secret)
        .await
        .expect("the latest holds");
    assert_eq!(valid, again.machine);
    assert_eq!(
        store.machines(account.id).await.expect("machines").len(),
        before.len()
    );
}

async fn two_accounts_may_hold_one_machine_id(store: &dyn Store) {
    let (_, one) = account_with_token(store, "one@example.org").await;
    let (_, two) = account_with_token(store, "two@example.org").await;
    let mine = enrol(store, &one.secret, 1).await.expect("enrolled");
    let theirs = enrol(store, &two.secret, 1).await.expect("enrolled");
    assert!(!theirs.renewed, "it is no matter of the other account");
    let found = store
        .authenticate_machine(&mine.secret)
        .await
        .expect("still mine");
    assert_eq!(found.account, mine.machine.account);
}

async fn a_report_replaces_the_last_one(store: &dyn Store) {
    let (account, token) = account_with_token(store, "rosa@example.org").await;
    let enrolment = enrol(store, &token.secret, 1).await.expect("enrolled");
    assert_eq!(enrolment.machine.last_check_in, None);
    let failed = check_in(ReportedState::ApplyFailed {
        failure: Some(FailureText::shortened("the kernel answered EBUSY")),
    });
    let machine = store
        .check_in(&enrolment.secret, &failed, &[], &Arc::default(), at(20))
        .await
        .expect("kept")
        .machine;
    assert_eq!(machine.last_check_in, Some(kept(&failed, at(20))));
    assert_eq!(
        machine.kernel, failed.kernel,
        "it was restarted with another kernel"
    );

    let applied = CheckIn {
        applied: Some("104.1".parse().expect("valid")),
        ..check_in(ReportedState::Applied)
    };
    store
        .check_in(&enrolment.secret, &applied, &[], &Arc::default(), at(30))
        .await
        .expect("kept");
    let listed = store.machines(account.id).await.expect("machines");
    assert_eq!(listed[0].last_check_in, Some(kept(&applied, at(30))));

    let stranger = MachineSecret::generate().expect("random");
    let refused = store
        .check_in(&stranger, &applied, &[], &Arc::default(), at(31))
        .await;
    assert!(
        matches!(refused, Err(StoreError::UnknownMachine)),
        "{refused:?}"
    );
    let renewed = enrol(store, &token.secret, 1)
        .await
        .expect("enrolled again");
    assert_eq!(
        renewed.machine.last_check_in, None,
        "nothing was heard of it since"
    );
}

async fn every_change_is_audited(store: &dyn Store) {
    let (account, token) = account_with_token(store, "vera@example.org").await;
    let enrolment = enrol(store, &token.secret, 1).await.expect("enrolled");
    let renewed = enrol(store, &token.secret, 1).await.expect("enrolled");
    store
        .check_in(
            &renewed.secret,
            &check_in(ReportedState::Applied),
            &[],
            &Arc::default(),
            at(2),
        )
        .await
        .expect("kept");
    store
        .release_self(&renewed.secret, at(40))
        .await
        .expect("released");
    store
        .revoke_token(token.token.id, &operator(), at(41))
        .await
        .expect("revoked");
    store
        .set_plan(account.id, Plan::Subscription, &operator(), at(42))
        .await
        .expect("changed");

    let log = store.audit_log(Some(account.id), 100).await.expect("log");
    let holder = Actor::Token(token.token.id);
    let machine = Subject::Machine(enrolment.machine.id.clone());
    let expected = [
        (operator(), Action::ChangePlan, Subject::Account(account.id)),
        (
            operator(),
            Action::RevokeToken,
            Subject::Token(token.token.id),
        ),
        (
            Actor::Machine(enrolment.machine.id),
            Action::ReleaseMachine,
            machine.clone(),
        ),
        (holder.clone(), Action::RenewMachine, machine.clone()),
        (holder, Action::EnrolMachine, machine),
        (
            operator(),
            Action::CreateToken,
            Subject::Token(token.token.id),
        ),
        (
            operator(),
            Action::CreateAccount,
            Subject::Account(account.id),
        ),
    ];
    let told: Vec<_> = log
        .iter()
        .map(|line| (line.actor.clone(), line.action, line.subject.clone()))
        .collect();
    assert_eq!(told, expected, "newest first");
    assert_eq!(log[0].at, at(42));

    let all = store.audit_log(None, 1000).await.expect("log");
    let accounts: HashSet<_> = all.iter().map(|line| line.account).collect();
    assert!(accounts.len() > 1, "of all accounts");
    assert_eq!(store.audit_log(None, 2).await.expect("log").len(), 2);
}

async fn account_with_token(store: &dyn Store, email: &str) -> (Account, IssuedToken) {
    let new = NewAccount {
        email: email.parse().expect("valid"),
        plan: Plan::Free,
    };
    let account = store
        .create_account(&new, &operator(), at(0))
        .await
        .expect("created");
    let label = "first".parse().expect("valid");
    let token = store
        .create_token(account.id, &label, &operator(), at(1))
        .await
        .expect("created");
    (account, token)
}

async fn enrol(
    store: &dyn Store,
    token: &AccountToken,
    number: u8,
) -> Result<Enrolment, StoreError> {
    let id: MachineId = format!("{number:032x}").parse().expect("valid");
    let new = NewMachine {
        id,
        hostname: format!("web-{number}").parse().expect("valid"),
        kernel: kernel("6.1.0-53-amd64"),
        agent_version: "0.1.0".parse().expect("valid"),
        hardware: None,
    };
    store.enrol_machine(token, &new, at(2)).await
}

fn check_in(state: ReportedState) -> CheckIn {
    CheckIn {
        kernel: kernel("6.1.0-55-amd64"),
        boot_id: "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1"
            .parse()
            .expect("valid"),
        boot_time: at(-3600),
        agent_version: "0.2.0".parse().expect("valid"),
        state,
        applied: None,
    }
}

fn kept(check_in: &CheckIn, at: Timestamp) -> LastCheckIn {
    LastCheckIn {
        at,
        boot_id: check_in.boot_id.clone(),
        boot_time: check_in.boot_time,
        state: check_in.state.clone(),
        applied: check_in.applied,
    }
}

fn assert_limit(result: Result<Enrolment, StoreError>) {
    let limit = matches!(
        result,
        Err(StoreError::MachineLimit {
            plan: Plan::Free,
            limit: 3
        })
    );
    assert!(limit, "{result:?}");
}

fn kernel(release: &str) -> KernelBuild {
    KernelBuild {
        release: release.parse().expect("valid"),
        architecture: "amd64".parse().expect("valid"),
        build_id: BuildId::from_bytes(&[0xab; 20]).expect("valid"),
    }
}

fn operator() -> Actor {
    Actor::Operator("operator".parse().expect("valid"))
}

/// Seconds after an arbitrary start.
fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + seconds)
}
