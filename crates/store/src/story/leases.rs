//! One server does a job, and another takes over.

use std::time::Duration;

use crate::{Job, LeaseState, ServerId, Store};

const HOUR: Duration = Duration::from_secs(3600);

pub async fn run(store: &dyn Store) {
    let job = Job::LookAtRollouts;
    let (first, second) = (ServerId::random(), ServerId::random());
    let take = async |server, length| {
        let taken = store.take_lease(job, server, length).await;
        taken.expect("answered")
    };
    let ours = |calls| LeaseState::Ours { calls };
    assert_eq!(take(first, HOUR).await, ours(0));
    assert_eq!(take(second, HOUR).await, LeaseState::Theirs);
    assert_eq!(take(first, HOUR).await, ours(0), "it renews its own");

    store.call_holder(job).await.expect("called");
    assert_eq!(take(second, HOUR).await, LeaseState::Theirs);
    assert_eq!(take(first, HOUR).await, ours(1));

    // Whoever has none gives up none.
    store.give_up_lease(job, second).await.expect("no error");
    assert_eq!(take(second, HOUR).await, LeaseState::Theirs);
    store.give_up_lease(job, first).await.expect("given up");
    assert_eq!(take(second, Duration::ZERO).await, ours(1));
    assert_eq!(take(first, HOUR).await, ours(1), "the other's is over");
    assert_eq!(take(second, HOUR).await, LeaseState::Theirs);
}
