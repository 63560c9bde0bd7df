//! Check-ins at the same moment, of which the database refuses one, and beside a release.

use std::sync::Arc;

use suture_protocol::MachineId;

use super::{account_with_token, at, check_in, enrol, operator};
use crate::{CheckIn, MachineSecret, Plan, ReportedState, Store, StoreError};

/// The agent's version that the database is told to refuse, in a statement of its own kind.
pub const REFUSED_AGENT: &str = "0.0.13";

/// One of many is refused by the database and one by its secret; the others are kept.
pub async fn a_refused_check_in_fails_alone(store: Arc<dyn Store>) {
    let mut secrets = Vec::new();
    for account in 0..5 {
        let email = format!("crowd-{account}@example.org");
        let (_, token) = account_with_token(store.as_ref(), &email).await;
        for number in 1..=3 {
            let machine = enrol(store.as_ref(), &token.secret, number).await;
            secrets.push(machine.expect("enrolled").secret);
        }
    }
    secrets.push(MachineSecret::generate().expect("random bytes"));
    let tasks: Vec<_> = secrets
        .into_iter()
        .enumerate()
        .map(|(number, secret)| {
            let (store, refused) = (Arc::clone(&store), number == 7);
            tokio::spawn(async move {
                let agent = if refused { REFUSED_AGENT } else { "0.1.0" };
                let report = CheckIn {
                    agent_version: agent.parse().expect("valid"),
                    ..check_in(ReportedState::Unapplied)
                };
                let published = Arc::default();
                let told = store.check_in(&secret, &report, &[], &published, at(5));
                told.await
            })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        let told = task.await.expect("no panic");
        match number {
            7 => assert!(matches!(told, Err(StoreError::Database { .. })), "{told:?}"),
            15 => assert!(matches!(told, Err(StoreError::UnknownMachine)), "{told:?}"),
            _ => assert!(told.is_ok(), "machine {number}: {told:?}"),
        }
    }
}

/// Machines that were silent for long come back while the silent ones are released. Each is either
/// released, and told so, or stays; none was answered and is gone. The stores are doors to the same
/// database.
pub async fn who_comes_back_is_not_released(stores: &[Arc<dyn Store>]) {
    const MACHINES: u8 = 96;
    let store = stores[0].as_ref();
    let (account, token) = account_with_token(store, "returning@example.org").await;
    let plan = Plan::Subscription;
    let changed = store.set_plan(account.id, plan, &operator(), at(2)).await;
    changed.expect("changed");
    let mut machines = Vec::new();
    for number in 1..=MACHINES {
        let made = enrol(store, &token.secret, number).await;
        machines.push(made.expect("enrolled"));
    }
    let releasing: Vec<_> = stores
        .iter()
        .map(|store| tokio::spawn(release_all(Arc::clone(store))))
        .collect();
    // From the last to the first, as they are released the other way around.
    let returning: Vec<_> = machines
        .into_iter()
        .rev()
        .zip(stores.iter().cycle())
        .map(|(made, store)| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let report = check_in(ReportedState::Unapplied);
                let published = Arc::default();
                let told = store.check_in(&made.secret, &report, &[], &published, at(90_000));
                (made.machine.id, told.await)
            })
        })
        .collect();
    let mut released = Vec::new();
    for task in releasing {
        released.extend(task.await.expect("no panic"));
    }
    let (mut kept, mut gone) = (Vec::new(), Vec::new());
    for task in returning {
        match task.await.expect("no panic") {
            (id, Ok(_)) => kept.push(id),
            (id, Err(StoreError::UnknownMachine)) => gone.push(id),
            (id, Err(error)) => panic!("machine {id}: {error}"),
        }
    }
    let there = store.machines(account.id).await.expect("machines");
    let mut there: Vec<_> = there.into_iter().map(|machine| machine.id).collect();
    for ids in [&mut released, &mut gone, &mut kept, &mut there] {
        ids.sort_by_key(|id| id.to_string());
    }
    assert_eq!(
        released, gone,
        "each was released once, and no other was turned away"
    );
    assert_eq!(kept, there, "each that was answered is there");
}

/// Releases who is silent, a few at a time, until nobody is.
async fn release_all(store: Arc<dyn Store>) -> Vec<MachineId> {
    let mut gone = Vec::new();
    loop {
        let released = store.release_silent(at(50_000), 5, at(90_000)).await;
        let released = released.expect("released");
        if released.is_empty() {
            return gone;
        }
        gone.extend(released.into_iter().map(|machine| machine.id));
    }
}
