//! What accounts may have: plans, limits, and what they pay for.

use suture_rollout::{GroupPolicy, Offer, Plan as RolloutPlan, Rule, Withheld};

use super::rollouts::{begin, published};
use super::{account_with_token, at, check_in, enrol, operator};
use crate::{
    Account, Action, Actor, Answer, Group, GroupName, IssuedToken, MachineSecret, Plan,
    ReportedState, Store, StoreError, Subject, SubscriptionState, SubscriptionStatus,
};

pub async fn run(store: &dyn Store) {
    one_account_may_have_a_limit_of_its_own(store).await;
    a_lapsed_subscription_leaves_machines_as_they_are(store).await;
    an_old_answer_never_replaces_a_newer_one(store).await;
    a_subscription_does_not_take_what_was_granted(store).await;
    a_groups_policy_holds_from_the_next_check_in_on(store).await;
}

pub(super) async fn ask(
    store: &dyn Store,
    secret: &MachineSecret,
    version: &str,
    seconds: i64,
) -> Answer {
    let report = check_in(ReportedState::Unapplied);
    let patches = published(version);
    let answer = store
        .check_in(secret, &report, &[], &patches, at(seconds))
        .await;
    answer.expect("answered")
}

async fn subscribe(store: &dyn Store, account: &Account, status: SubscriptionStatus, seconds: i64) {
    let customer = format!("cus_{}", account.id.to_string().replace('-', ""));
    let customer = customer.parse().expect("valid");
    let known = store
        .add_customer(account.id, &customer, at(seconds))
        .await
        .expect("kept");
    let state = SubscriptionState {
        id: "sub_1".parse().expect("valid"),
        status,
        period_end: Some(at(seconds + 1000)),
        ends: false,
    };
    let (id, revision) = (account.id, known.revision);
    let kept = store
        .set_subscription(id, revision, Some(&state), at(seconds))
        .await;
    let kept = kept.expect("written").expect("nobody was quicker");
    assert_eq!(kept.state.as_ref(), Some(&state));
    assert_eq!(
        store.subscription(id).await.expect("read").as_ref(),
        Some(&kept)
    );
    let of_customer = store.subscription_of_customer(&kept.customer).await;
    assert_eq!(of_customer.expect("read"), Some(kept));
}

pub(super) async fn with_machines(
    store: &dyn Store,
    token: &IssuedToken,
    numbers: std::ops::Range<u8>,
) -> Vec<MachineSecret> {
    let mut secrets = Vec::new();
    for number in numbers {
        let made = enrol(store, &token.secret, number).await.expect("enrolled");
        secrets.push(made.secret);
    }
    secrets
}

async fn over_limit(store: &dyn Store, account: &Account) -> Vec<bool> {
    let mut machines = store.machines(account.id).await.expect("machines");
    machines.sort_by(|one, other| one.id.as_str().cmp(other.id.as_str()));
    machines.iter().map(|machine| machine.over_limit).collect()
}

async fn one_account_may_have_a_limit_of_its_own(store: &dyn Store) {
    let (account, token) = account_with_token(store, "limits@example.org").await;
    let (id, by) = (account.id, operator());
    let limited = store.set_machine_limit(id, Some(1), &by, at(3)).await;
    assert_eq!(limited.expect("set").machine_limit(), Some(1));
    enrol(store, &token.secret, 1).await.expect("enrolled");
    let second = enrol(store, &token.secret, 2).await;
    assert!(
        matches!(second, Err(StoreError::MachineLimit { limit: 1, .. })),
        "{second:?}"
    );
    let free = store.set_machine_limit(id, None, &by, at(4)).await;
    assert_eq!(free.expect("set").machine_limit(), Some(3));
    enrol(store, &token.secret, 2).await.expect("enrolled");
    let log = store.audit_log(Some(id), 2).await.expect("log");
    assert_eq!(log[1].action, Action::ChangeMachineLimit);
    let nobody = crate::AccountId::random();
    let unknown = store.set_machine_limit(nobody, None, &by, at(5)).await;
    assert!(
        matches!(unknown, Err(StoreError::UnknownAccount { .. })),
        "{unknown:?}"
    );
}

async fn a_lapsed_subscription_leaves_machines_as_they_are(store: &dyn Store) {
    let (account, token) = account_with_token(store, "lapsed@example.org").await;
    subscribe(store, &account, SubscriptionStatus::Active, 3).await;
    let paid = store.account(account.id).await.expect("known");
    assert_eq!((paid.plan, paid.granted), (Plan::Subscription, Plan::Free));
    let secrets = with_machines(store, &token, 1..6).await;
    begin(store, "31.1", RolloutPlan::immediate(), at(10)).await;
    let before = ask(store, &secrets[4], "31.1", 11).await;
    assert!(matches!(before.choice.offer, Offer::Version { .. }));

    subscribe(store, &account, SubscriptionStatus::PastDue, 20).await;
    assert_eq!(
        over_limit(store, &account).await,
        [false; 5],
        "it is tried again"
    );
    subscribe(store, &account, SubscriptionStatus::Canceled, 30).await;
    let lapsed = store.account(account.id).await.expect("known");
    assert_eq!(lapsed.plan, Plan::Free);
    assert_eq!(
        over_limit(store, &account).await,
        [false, false, false, true, true],
        "all stay; the ones that came last get nothing new"
    );
    let sixth = enrol(store, &token.secret, 6).await;
    assert!(matches!(sixth, Err(StoreError::MachineLimit { .. })));

    let kept = ask(store, &secrets[4], "31.1", 40).await;
    assert!(
        matches!(kept.choice.offer, Offer::Version { .. }),
        "what it was offered before it may have again"
    );
    let new = ask(store, &secrets[3], "31.1", 41).await;
    assert_eq!(new.choice.offer, Offer::NotYet);
    assert_eq!(new.choice.withheld, Some(Withheld::MachineLimit));
    assert_eq!(new.choice.exposes, None);
    assert_eq!(new.account.machine_limit(), Some(3));
    let covered = ask(store, &secrets[0], "31.1", 42).await;
    assert!(matches!(covered.choice.offer, Offer::Version { .. }));

    store
        .release_self(&secrets[0], at(50))
        .await
        .expect("released");
    assert_eq!(
        over_limit(store, &account).await,
        [false, false, false, true],
        "there is room for the next one"
    );
    subscribe(store, &account, SubscriptionStatus::Active, 60).await;
    assert_eq!(over_limit(store, &account).await, [false; 4]);
    let log = store.audit_log(Some(account.id), 1).await.expect("log");
    assert_eq!(
        (log[0].action, &log[0].actor),
        (Action::ChangeSubscription, &Actor::Service)
    );
}

async fn an_old_answer_never_replaces_a_newer_one(store: &dyn Store) {
    let (account, _) = account_with_token(store, "order@example.org").await;
    let customer = "cus_order".parse().expect("valid");
    let asked = store
        .add_customer(account.id, &customer, at(3))
        .await
        .expect("kept");
    subscribe(store, &account, SubscriptionStatus::Active, 4).await;
    let late = store
        .set_subscription(account.id, asked.revision, None, at(5))
        .await;
    assert_eq!(late.expect("answered"), None, "another wrote since");
    let known = store.subscription(account.id).await.expect("read");
    let known = known.expect("a customer");
    assert_eq!(
        known.customer, customer,
        "an account is one customer for ever"
    );
    assert_eq!(known.refreshed, at(4));
    let stale = store.stale_subscriptions(at(5), 100).await.expect("read");
    assert!(stale.contains(&known));
    let stale = store.stale_subscriptions(at(4), 100).await.expect("read");
    assert!(!stale.contains(&known));
    store
        .delete_account(account.id, at(6))
        .await
        .expect("deleted");
    let forgotten = store.subscription_of_customer(&customer).await;
    assert_eq!(forgotten.expect("read"), None);
}

async fn a_subscription_does_not_take_what_was_granted(store: &dyn Store) {
    let (account, _) = account_with_token(store, "granted@example.org").await;
    let (id, by) = (account.id, operator());
    let plan = Plan::Subscription;
    store.set_plan(id, plan, &by, at(3)).await.expect("granted");
    subscribe(store, &account, SubscriptionStatus::Active, 4).await;
    subscribe(store, &account, SubscriptionStatus::Canceled, 5).await;
    assert_eq!(store.account(id).await.expect("known").plan, plan);
    subscribe(store, &account, SubscriptionStatus::Active, 6).await;
    let free = store.set_plan(id, Plan::Free, &by, at(7)).await;
    let free = free.expect("set");
    assert_eq!(
        (free.plan, free.granted),
        (plan, Plan::Free),
        "it is paid for"
    );
}

async fn find_group(store: &dyn Store, name: &GroupName) -> Option<Group> {
    let groups = store.groups().await.expect("read");
    groups.into_iter().find(|group| group.name == *name)
}

async fn a_groups_policy_holds_from_the_next_check_in_on(store: &dyn Store) {
    let (account, token) = account_with_token(store, "groups@example.org").await;
    let secrets = with_machines(store, &token, 1..2).await;
    let machine = format!("{:032x}", 1).parse().expect("valid");
    let (name, by) = ("slow".parse().expect("valid"), operator());
    assert_eq!(find_group(store, &name).await, None);
    let hold = GroupPolicy {
        hold: true,
        ..GroupPolicy::default()
    };
    store
        .set_group_policy(&name, &hold, &by, at(3))
        .await
        .expect("set");
    let group = find_group(store, &name)
        .await
        .expect("a group without machines");
    assert_eq!((group.machines, &group.policy), (0, &hold));
    store
        .set_machine_group(account.id, &machine, Some(&name), &by, at(4))
        .await
        .expect("set");
    let group = find_group(store, &name).await.expect("known");
    assert_eq!((group.machines, &group.policy), (1, &hold));

    begin(store, "32.1", RolloutPlan::immediate(), at(10)).await;
    let held = ask(store, &secrets[0], "32.1", 11).await;
    assert_eq!(held.choice.offer, Offer::NotYet);
    let version = "32.1".parse().expect("valid");
    let rule = Rule::Hold;
    assert_eq!(
        held.choice.withheld,
        Some(Withheld::Policy { version, rule })
    );

    let nothing = GroupPolicy::default();
    let taken = store.set_group_policy(&name, &nothing, &by, at(20)).await;
    taken.expect("taken away");
    let group = find_group(store, &name).await.expect("it has a machine");
    assert!(group.policy.is_empty());
    let free = ask(store, &secrets[0], "32.1", 21).await;
    assert_eq!(
        (free.choice.offer, free.choice.withheld),
        (Offer::Version { version }, None)
    );
    let log = store.audit_log(None, 1).await.expect("log");
    assert_eq!(log[0].action, Action::ChangeGroupPolicy);
    assert_eq!(log[0].subject, Subject::Group(name));
}
