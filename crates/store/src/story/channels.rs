//! Channels: what was promoted reaches the groups that follow.

use suture_advisory::PatchVersion;
use suture_rollout::{ChannelName, GroupPolicy, Offer, Plan, Rule, Withheld};

use super::plans::{ask, with_machines};
use super::rollouts::begin;
use super::{account_with_token, at, operator};
use crate::{Action, Channel, ChannelChange, Promotion, Store, StoreError, Subject};

pub async fn run(store: &dyn Store) {
    what_was_promoted_reaches_those_who_follow(store).await;
}

async fn channel(store: &dyn Store, name: &ChannelName) -> Option<Channel> {
    let channels = store.channels().await.expect("read");
    channels.into_iter().find(|channel| channel.name == *name)
}

async fn change(
    store: &dyn Store,
    version: PatchVersion,
    channel: &ChannelName,
    promoted: bool,
    seconds: i64,
) -> Result<(), StoreError> {
    let change = ChannelChange {
        version,
        channel: channel.clone(),
        promoted,
    };
    store
        .change_channel(&change, &operator(), at(seconds))
        .await
}

async fn what_was_promoted_reaches_those_who_follow(store: &dyn Store) {
    let (account, token) = account_with_token(store, "channels@example.org").await;
    let secrets = with_machines(store, &token, 1..2).await;
    let machine = format!("{:032x}", 1).parse().expect("valid");
    let (group, by) = ("followers".parse().expect("valid"), operator());
    let name: ChannelName = "stable".parse().expect("valid");
    let policy = GroupPolicy {
        channel: Some(name.clone()),
        ..GroupPolicy::default()
    };
    let set = store.set_group_policy(&group, &policy, &by, at(3)).await;
    set.expect("set");
    let put = store
        .set_machine_group(account.id, &machine, Some(&group), &by, at(4))
        .await;
    put.expect("put into the group");
    assert_eq!(channel(store, &name).await, None);

    begin(store, "33.1", Plan::immediate(), at(10)).await;
    let version = "33.1".parse().expect("valid");
    let waits = ask(store, &secrets[0], "33.1", 11).await.choice;
    let rule = Rule::Channel { name: name.clone() };
    assert_eq!(waits.offer, Offer::NotYet);
    assert_eq!(waits.withheld, Some(Withheld::Policy { version, rule }));

    let (earlier, other) = ("9.1".parse().expect("valid"), "beta".parse());
    let other: ChannelName = other.expect("valid");
    for (version, channel, seconds) in [(version, &other, 12), (earlier, &name, 13)] {
        let promoted = change(store, version, channel, true, seconds).await;
        promoted.expect("promoted");
    }
    let waits = ask(store, &secrets[0], "33.1", 14).await.choice;
    assert_eq!(
        waits.offer,
        Offer::NotYet,
        "another version, another channel"
    );

    for seconds in [15, 16] {
        let promoted = change(store, version, &name, true, seconds).await;
        promoted.expect("promoted, and once more");
    }
    let log = store.audit_log(None, 2).await.expect("log");
    assert_eq!(log[0].action, Action::PromoteVersion);
    assert_eq!(log[0].subject, Subject::Channel(name.clone()));
    assert_eq!(log[0].reason.as_deref(), Some("33.1"));
    assert_eq!(log[1].reason.as_deref(), Some("9.1"), "once");
    let of = |version, seconds| Promotion {
        version,
        at: at(seconds),
        by: operator(),
    };
    let promotions = vec![of(version, 15), of(earlier, 13)];
    let stable = Channel {
        name: name.clone(),
        promotions,
    };
    assert_eq!(channel(store, &name).await, Some(stable));

    let demoted = change(store, version, &name, false, 17).await;
    demoted.expect("taken out");
    let waits = ask(store, &secrets[0], "33.1", 18).await.choice;
    assert_eq!(waits.offer, Offer::NotYet);
    let promoted = change(store, version, &name, true, 19).await;
    promoted.expect("promoted again");
    let offered = ask(store, &secrets[0], "33.1", 20).await.choice;
    assert_eq!(offered.offer, Offer::Version { version });
    for seconds in [21, 22] {
        let demoted = change(store, version, &name, false, seconds).await;
        demoted.expect("taken out, and once more");
    }
    let log = store.audit_log(None, 2).await.expect("log");
    let actions = [log[0].action, log[1].action];
    assert_eq!(actions, [Action::DemoteVersion, Action::PromoteVersion]);
    let kept = ask(store, &secrets[0], "33.1", 23).await.choice;
    assert_eq!(kept.offer, Offer::Version { version }, "it may have it");
}
