//! What owners are told of their machines.

use std::sync::Arc;

use super::{account_with_token, at, check_in, enrol};
use crate::{Account, Actor, Concern, ReportedState, Store, UntoldConcern};

pub async fn run(store: &dyn Store) {
    each_concern_is_told_once_and_again_when_it_comes_back(store).await;
}

const DAY: i64 = 86_400;

/// Of one account; the other chapters' machines have concerns of their own.
async fn untold(store: &dyn Store, account: &Account, now: i64) -> Vec<UntoldConcern> {
    let (heard, rested) = (at(now - DAY), at(now - DAY / 2));
    store.forget_past_concerns(heard).await.expect("forgotten");
    let found = store.untold_concerns(heard, rested, None, 1000).await;
    let mut found = found.expect("read");
    let places: Vec<_> = found.iter().map(|concern| concern.account).collect();
    assert!(places.is_sorted());
    let after = store
        .untold_concerns(heard, rested, Some(account.id), 1000)
        .await;
    let after = after.expect("read");
    assert!(after.iter().all(|concern| concern.account > account.id));
    found.retain(|concern| concern.account == account.id);
    found
}

async fn report(store: &dyn Store, secret: &crate::MachineSecret, state: ReportedState, at_: i64) {
    let answer = store
        .check_in(secret, &check_in(state), &[], &Arc::default(), at(at_))
        .await;
    answer.expect("answered");
}

async fn each_concern_is_told_once_and_again_when_it_comes_back(store: &dyn Store) {
    let (account, token) = account_with_token(store, "letters@example.org").await;
    assert!(account.letters, "unless the owner says otherwise");
    let first = enrol(store, &token.secret, 1).await.expect("enrolled");
    let second = enrol(store, &token.secret, 2).await.expect("enrolled");
    let failed = || ReportedState::ApplyFailed { failure: None };
    report(store, &first.secret, failed(), 10).await;
    report(store, &second.secret, ReportedState::Applied, 10).await;

    let concerns = untold(store, &account, 20).await;
    assert_eq!(concerns.len(), 1);
    assert_eq!(concerns[0].concern, Concern::ApplyFailed);
    assert_eq!(concerns[0].machine, first.machine.id);
    assert_eq!(concerns[0].email, account.email);
    let told = [(first.machine.id.clone(), Concern::ApplyFailed)];
    let kept = store.concerns_told(account.id, &told, at(20)).await;
    kept.expect("kept");
    assert_eq!(untold(store, &account, 30).await, []);

    // A day later both are silent, and the owner's rest is over.
    let later = 10 + DAY + 1;
    let concerns = untold(store, &account, later).await;
    let silent: Vec<_> = concerns.iter().map(|it| it.concern).collect();
    assert_eq!(silent, [Concern::Silent, Concern::Silent]);
    let told: Vec<_> = concerns
        .into_iter()
        .map(|it| (it.machine, it.concern))
        .collect();
    let kept = store.concerns_told(account.id, &told, at(later)).await;
    kept.expect("kept");

    // It is well again, and fails again: told again, but not before the owner had some rest.
    report(store, &first.secret, ReportedState::Applied, later + 10).await;
    assert_eq!(untold(store, &account, later + 20).await, []);
    report(store, &first.secret, failed(), later + 30).await;
    assert_eq!(untold(store, &account, later + 40).await, []);
    let rested = later + DAY / 2 + 1;
    assert_eq!(untold(store, &account, rested).await.len(), 1);

    let by = Actor::Owner(account.id);
    let unwanted = store.set_letters(account.id, false, &by, at(rested)).await;
    assert!(!unwanted.expect("set").letters);
    assert_eq!(untold(store, &account, rested).await, []);
}
