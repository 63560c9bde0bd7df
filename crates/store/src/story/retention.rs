//! What is forgotten of history.

use suture_protocol::{EventId, EventKind, MachineEvent};

use super::rollouts::{begin, look, observed, published};
use super::{account_with_token, at, check_in, enrol, operator};
use crate::{
    CheckIn, ExposurePlace, HandChange, HistoryBounds, KEPT_LOOKS, MachineSecret, ReportedState,
    Rollout, Store,
};

const DAY: i64 = 86_400;

pub async fn run(store: &dyn Store) {
    of_a_past_rollout_stays_what_harmed_and_then_that_it_was(store).await;
}

fn event(number: u8, kind: EventKind) -> MachineEvent {
    MachineEvent {
        id: EventId::from_random_bytes([number; 16]),
        at: at(0),
        boot_id: "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1".to_owned(),
        kind,
    }
}

/// A machine takes a version, tells what became of it, and says so in its state.
async fn take(
    store: &dyn Store,
    secret: &MachineSecret,
    rollout: &Rollout,
    events: &[MachineEvent],
    now: i64,
) {
    let version = rollout.scope.version;
    let published = published(&version.to_string());
    let before = check_in(ReportedState::Unapplied);
    let answer = store
        .check_in(secret, &before, &[], &published, at(now))
        .await;
    assert_eq!(answer.expect("taken").choice.exposes, Some(rollout.id));
    let after = CheckIn {
        applied: Some(version),
        ..check_in(ReportedState::Applied)
    };
    let answer = store
        .check_in(secret, &after, events, &published, at(now + 1))
        .await;
    answer.expect("taken");
}

/// What went.
#[derive(Debug, Default, PartialEq, Eq)]
struct Gone {
    /// Evidence and looks.
    of_rollouts: u64,
    exposures: u64,
    events: u64,
}

/// All that goes, in pieces of two.
async fn forget(store: &dyn Store, bounds: HistoryBounds) -> Gone {
    let mut all = Gone::default();
    loop {
        let forgotten = store.forget_past_rollouts(bounds, 2).await.expect("done");
        if forgotten == 0 {
            break;
        }
        all.of_rollouts += forgotten;
    }
    let mut place = Some(ExposurePlace::default());
    while let Some(from) = place {
        let swept = store.forget_exposures(bounds.details, &from, 2).await;
        let swept = swept.expect("done");
        all.exposures += swept.forgotten;
        place = swept.next;
    }
    let mut next = Some(0);
    while let Some(after) = next {
        let swept = store.forget_events(bounds.details, after, 2).await;
        let swept = swept.expect("done");
        all.events += swept.forgotten;
        next = swept.next;
    }
    all
}

async fn of_a_past_rollout_stays_what_harmed_and_then_that_it_was(store: &dyn Store) {
    let (_, token) = account_with_token(store, "history@example.org").await;
    let bounds = |details: i64, harm: i64| HistoryBounds {
        details: at(details),
        harm: at(harm),
    };
    // What the other chapters left.
    forget(store, bounds(20 * DAY, 20 * DAY)).await;
    let [well, ill, gone] = [1, 2, 3];
    let well = enrol(store, &token.secret, well).await.expect("enrolled");
    let ill = enrol(store, &token.secret, ill).await.expect("enrolled");
    let gone = enrol(store, &token.secret, gone).await.expect("enrolled");
    let plan = suture_rollout::Plan::immediate();
    let first = begin(store, "901.1", plan.clone(), at(100)).await;
    let version = first.scope.version;
    let finished = |number| event(number, EventKind::TransitionFinished { version, millis: 5 });
    let failed = EventKind::ApplyFailed {
        version,
        reason: "EBUSY".to_owned(),
    };
    take(store, &well.secret, &first, &[finished(91)], 110).await;
    take(store, &ill.secret, &first, &[event(92, failed)], 110).await;
    take(store, &gone.secret, &first, &[finished(93)], 110).await;
    let released = store.release_self(&gone.secret, at(200)).await;
    released.expect("released");
    let mut first = first;
    while first.looks < KEPT_LOOKS + 5 {
        first = look(store, &first, at(200 + i64::from(first.looks) / 5)).await;
    }
    let withdraw = HandChange::Withdraw {
        reason: "it is enough".to_owned(),
    };
    let withdrawn = store
        .change_rollout(first.id, &withdraw, &operator(), at(300))
        .await;
    withdrawn.expect("over");
    let second = begin(store, "902.1", plan, at(10 * DAY)).await;
    take(store, &well.secret, &second, &[], 10 * DAY + 10).await;

    let early = forget(store, bounds(50, 50)).await;
    assert_eq!(early, Gone::default(), "nothing was over then");

    let gone = forget(store, bounds(20 * DAY, 50)).await;
    let thinned = u64::from(first.looks - KEPT_LOOKS);
    assert_eq!(
        gone.of_rollouts,
        4 + thinned,
        "two ends, linked and counted, and looks"
    );
    assert_eq!(gone.exposures, 2, "one is gone, one came further");
    assert_eq!(gone.events, 2);
    let kept = store.rollout_events(first.id, None, false, 10).await;
    let kept = kept.expect("listed");
    assert_eq!(kept.len(), 1, "what harmed");
    assert_eq!(kept[0].machine, ill.machine.id);
    let exposed = store.exposed_machines(first.id, 10).await.expect("listed");
    assert_eq!(exposed.len(), 1);
    let rollout = store.rollout(first.id).await.expect("there");
    assert_eq!(rollout.exposed, 3, "the count stays");
    let looks = store.looks(first.id, KEPT_LOOKS).await.expect("listed");
    assert_eq!(looks.len(), KEPT_LOOKS as usize);
    assert_eq!(looks.last().map(|look| look.number), Some(first.looks));
    let again = forget(store, bounds(20 * DAY, 50)).await;
    assert_eq!(again, Gone::default());

    // A machine that has the version is not exposed a second time.
    let has = CheckIn {
        applied: Some(first.scope.version),
        ..check_in(ReportedState::Applied)
    };
    let published = published("901.1");
    let answer = store
        .check_in(&well.secret, &has, &[], &published, at(21 * DAY))
        .await;
    assert_eq!(answer.expect("taken").choice.exposes, None);

    let gone = forget(store, bounds(20 * DAY, 20 * DAY)).await;
    assert_eq!((gone.of_rollouts, gone.events), (2, 1));
    let kept = store.rollout_events(first.id, None, false, 10).await;
    assert!(kept.expect("listed").is_empty());
    assert!(store.rollout(first.id).await.is_ok());
    observed(store, &second, at(22 * DAY)).await;
}
