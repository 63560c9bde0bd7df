//! Copied disks: several machines with one secret.

use std::sync::Arc;

use super::{account_with_token, at, check_in, enrol};
use crate::{MachineSecret, ReportedState, Store, StoreError};

pub async fn run(store: &dyn Store) {
    machines_with_one_secret_are_told_apart(store).await;
}

const BOOTS: [&str; 2] = [
    "0f4a1f6e-1d0a-4d0f-8b57-7a4f1d5f7d11",
    "7c1d2e3f-4a5b-4c6d-8e7f-901a2b3c4d5e",
];

/// Whether the machine is told that there are others.
async fn ask(store: &dyn Store, secret: &MachineSecret, boot: usize, seconds: i64) -> bool {
    let mut report = check_in(ReportedState::Unapplied);
    report.boot_id = BOOTS[boot].parse().expect("valid");
    let answer = store
        .check_in(secret, &report, &[], &Arc::default(), at(seconds))
        .await;
    answer.expect("answered").machine.boots.are_of_copies()
}

async fn machines_with_one_secret_are_told_apart(store: &dyn Store) {
    let (account, token) = account_with_token(store, "copies@example.org").await;
    let shared = enrol(store, &token.secret, 1).await.expect("enrolled");
    let secret = &shared.secret;
    let own_id = format!("{:032x}", 77).parse().expect("valid");
    assert!(!ask(store, secret, 0, 10).await);
    assert!(!ask(store, secret, 1, 20).await, "it restarted");
    let too_early = store.split_machine(secret, &own_id, at(21)).await;
    assert!(matches!(too_early, Err(StoreError::NotCopied)));
    assert!(!ask(store, secret, 0, 30).await, "it was set back");
    assert!(ask(store, secret, 1, 40).await, "there are two");

    let own = store.split_machine(secret, &own_id, at(41)).await;
    let own = own.expect("told apart");
    assert!(!own.renewed);
    assert_eq!(
        (&own.machine.id, &own.machine.token),
        (&own_id, &shared.machine.token)
    );
    assert_eq!(own.machine.created, at(41));
    let again = store.split_machine(secret, &own_id, at(42)).await;
    let again = again.expect("the answer was lost");
    assert!(again.renewed);
    assert_eq!(store.machines(account.id).await.expect("machines").len(), 2);
    let void = store.authenticate_machine(&own.secret).await;
    assert!(matches!(void, Err(StoreError::UnknownMachine)));
    let of_itself = store
        .split_machine(secret, &shared.machine.id, at(43))
        .await;
    assert!(matches!(of_itself, Err(StoreError::NotCopied)));

    for seconds in [50, 60, 70, 80] {
        assert!(!ask(store, secret, 0, seconds).await);
        assert!(!ask(store, &again.secret, 1, seconds + 1).await);
    }

    // Room is needed as for any other.
    enrol(store, &token.secret, 2).await.expect("enrolled");
    for (boot, seconds) in [(1, 90), (0, 91), (1, 92)] {
        ask(store, secret, boot, seconds).await;
    }
    let fourth = format!("{:032x}", 78).parse().expect("valid");
    let fourth = store.split_machine(secret, &fourth, at(93)).await;
    assert!(matches!(fourth, Err(StoreError::MachineLimit { .. })));
    assert!(ask(store, secret, 1, 94).await, "it goes on as it was");
}
