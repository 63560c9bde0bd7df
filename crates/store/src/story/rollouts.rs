//! Rollouts, exposures and events.

use std::sync::Arc;

use jiff::Timestamp;
use suture_protocol::{EventId, EventKind, KernelTrouble, MachineEvent};
use suture_rollout::{
    EarlyPreference, Harm, Offer, Phase, Plan as RolloutPlan, Published, RolloutId, Scope, Step,
    Unit, decide,
};

use super::{account_with_token, at, check_in, enrol, kernel, operator};
use crate::{
    Action, Actor, Answer, CheckIn, HandChange, Look, MachineSecret, NewRollout, ReportedState,
    Rollout, Store, StoreError, Subject,
};

const HOUR: i64 = 3600;

/// What is published for the kernels that machines of the story enrol and check in with.
pub(super) fn published(version: &str) -> Arc<[Published]> {
    let kernels = ["6.1.0-53-amd64", "6.1.0-55-amd64"].map(kernel);
    let of = |kernel| Published {
        kernel,
        version: version.parse().expect("valid"),
    };
    kernels.map(of).into()
}

fn event(number: u8, kind: EventKind) -> MachineEvent {
    MachineEvent {
        id: EventId::from_random_bytes([number; 16]),
        at: at(0),
        boot_id: "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1".to_owned(),
        kind,
    }
}

fn crash() -> EventKind {
    EventKind::Restarted {
        clean: false,
        previous_boot_id: "0f4a1f6e-1d0a-4d0f-8b57-7a4f1d5f7d11".to_owned(),
        applied: None,
    }
}

fn warning() -> EventKind {
    EventKind::KernelTrouble {
        trouble: KernelTrouble::Warning,
        names_patch: None,
        applied: None,
        text: "WARNING: CPU: 0 PID: 1 at mm/slub.c:1".to_owned(),
    }
}

/// Everyone at once, so that what is told of exposed machines needs no draw.
pub(super) async fn begin(
    store: &dyn Store,
    version: &str,
    plan: RolloutPlan,
    now: Timestamp,
) -> Rollout {
    let new = NewRollout {
        scope: Scope {
            version: version.parse().expect("valid"),
            kernel: None,
        },
        plan,
        starts: now,
    };
    let rollout = store
        .create_rollout(&new, &operator(), now)
        .await
        .expect("made");
    assert!(matches!(rollout.phase, Phase::Planned { .. }));
    look(store, &rollout, now).await
}

pub(super) async fn observed(store: &dyn Store, rollout: &Rollout, now: Timestamp) -> Look {
    let published = published(&rollout.scope.version.to_string());
    let observation = store
        .observe(rollout, &published, now)
        .await
        .expect("counted");
    let mut ledger = rollout.ledger.clone();
    ledger.absorb(&observation.tick, &rollout.plan);
    let decision = decide(
        &rollout.plan,
        &rollout.phase,
        &ledger,
        observation.fleet,
        now,
    );
    Look {
        observation,
        ledger,
        decision,
    }
}

pub(super) async fn look(store: &dyn Store, rollout: &Rollout, now: Timestamp) -> Rollout {
    let look = observed(store, rollout, now).await;
    assert!(store.record_look(rollout, &look, now).await.expect("kept"));
    store.rollout(rollout.id).await.expect("there")
}

async fn tell(
    store: &dyn Store,
    secret: &MachineSecret,
    version: &str,
    events: &[MachineEvent],
    now: Timestamp,
) -> Answer {
    let report: CheckIn = check_in(ReportedState::Unapplied);
    store
        .check_in(secret, &report, events, &published(version), now)
        .await
        .expect("kept")
}

/// Falls of a harm at the latest look: exposed, control.
fn fell(look: &Look, harm: Harm) -> (u64, u64) {
    let rows = look.observation.tick.compared.iter();
    rows.filter(|row| row.harm == harm)
        .fold((0, 0), |(exposed, control), row| {
            (exposed + row.exposed_fell, control + row.control_fell)
        })
}

pub async fn run(store: &dyn Store) {
    an_event_counts_once_however_it_comes(store).await;
    exposure_labels_what_comes_after_it(store).await;
    a_machine_that_falls_silent_counts_once(store).await;
    a_withdrawn_version_is_offered_no_more(store).await;
    two_lookers_record_one_look(store).await;
    wishes_and_groups_are_kept(store).await;
}

async fn an_event_counts_once_however_it_comes(store: &dyn Store) {
    let (_, token) = account_with_token(store, "once@example.org").await;
    let machine = enrol(store, &token.secret, 1).await.expect("enrolled");
    let rollout = begin(store, "201.1", RolloutPlan::immediate(), at(100)).await;
    let failed = |reason: &str| EventKind::ApplyFailed {
        version: rollout.scope.version,
        reason: reason.to_owned(),
    };
    let answer = tell(store, &machine.secret, "201.1", &[], at(101)).await;
    assert_eq!(answer.choice.exposes, Some(rollout.id));
    assert_eq!(answer.goal, Some(rollout.scope.version));

    let (first, second) = (event(1, failed("EBUSY")), event(2, failed("EINVAL")));
    let later_first = [second.clone(), first.clone()];
    tell(store, &machine.secret, "201.1", &later_first, at(102)).await;
    let changed = event(1, crash());
    let again = [first, second, changed];
    let answer = tell(store, &machine.secret, "201.1", &again, at(103)).await;
    assert_eq!(answer.choice.exposes, None, "exposed once");

    let look = observed(store, &rollout, at(104)).await;
    assert_eq!(
        look.observation.tick.applications.failed, 1,
        "one application, one end"
    );
    assert_eq!(fell(&look, Harm::Crash), (0, 0), "the id was known");
    let kept = store.rollout_events(rollout.id, None, true, 10).await;
    let kept = kept.expect("listed");
    assert_eq!(kept.len(), 2);
    assert!(
        kept.iter()
            .all(|event| event.exposed && event.hostname == "web-1")
    );
    assert!(kept[0].number > kept[1].number, "newest first");
    let older = store
        .rollout_events(rollout.id, Some(kept[0].number), false, 10)
        .await
        .expect("listed");
    assert_eq!(older.len(), 1);

    assert!(
        store
            .record_look(&rollout, &look, at(104))
            .await
            .expect("kept")
    );
    let rollout = store.rollout(rollout.id).await.expect("there");
    let look = observed(store, &rollout, at(105)).await;
    assert_eq!(
        look.observation.tick.applications.failed, 0,
        "counted before"
    );

    let released = store.release_self(&machine.secret, at(106)).await;
    released.expect("released");
    let exposed = store
        .exposed_machines(rollout.id, 10)
        .await
        .expect("listed");
    assert_eq!((exposed.len(), &exposed[0].hostname), (1, &None));
    let kept = store.rollout_events(rollout.id, None, false, 10).await;
    assert_eq!(kept.expect("listed").len(), 2, "what it told stays");
    let look = observed(store, &rollout, at(110)).await;
    assert_eq!(look.observation.fleet.exposed, 1);
}

async fn exposure_labels_what_comes_after_it(store: &dyn Store) {
    let (_, one) = account_with_token(store, "label-1@example.org").await;
    let (_, two) = account_with_token(store, "label-2@example.org").await;
    let first = enrol(store, &one.secret, 1).await.expect("enrolled");
    let second = enrol(store, &two.secret, 1).await.expect("enrolled");
    let narrow = RolloutPlan {
        steps: vec![
            Step {
                share: 0.0001,
                early_only: false,
                soak_secs: 7200,
            },
            Step {
                share: 1.0,
                early_only: false,
                soak_secs: 7200,
            },
        ],
        ..RolloutPlan::standard()
    };
    let rollout = begin(store, "202.1", narrow, at(100)).await;
    assert_eq!(rollout.cap, 1);
    let warned = [event(1, warning())];
    let mine = tell(store, &first.secret, "202.1", &warned, at(101)).await;
    assert_eq!(mine.choice.exposes, Some(rollout.id));
    let theirs = tell(store, &second.secret, "202.1", &[], at(102)).await;
    assert_eq!(theirs.choice.offer, Offer::NotYet, "the cap holds");
    let crashed = [event(2, crash())];
    tell(store, &second.secret, "202.1", &crashed, at(103)).await;
    let seen = observed(store, &rollout, at(104)).await;
    assert_eq!(fell(&seen, Harm::KernelTrouble), (0, 1), "before exposure");
    assert_eq!(fell(&seen, Harm::Crash), (0, 1), "without an exposure");

    let again = [event(3, crash()), event(4, crash()), event(5, warning())];
    tell(store, &first.secret, "202.1", &again, at(105)).await;
    let seen = observed(store, &rollout, at(106)).await;
    assert_eq!(fell(&seen, Harm::Crash), (1, 1), "once");
    let once = "once, on the side where it came first";
    assert_eq!(fell(&seen, Harm::KernelTrouble), (0, 1), "{once}");
    let risk: Vec<_> = seen
        .observation
        .tick
        .compared
        .iter()
        .filter(|row| row.harm == Harm::Crash && row.exposed_at_risk > 0)
        .collect();
    assert_eq!(risk[0].exposed_at_risk, 1, "those that fell are included");
    let tick = &seen.observation.tick;
    assert_eq!((tick.at, tick.elapsed_secs), (at(106), 6.0));
}

async fn a_machine_that_falls_silent_counts_once(store: &dyn Store) {
    let (_, token) = account_with_token(store, "silent@example.org").await;
    let machine = enrol(store, &token.secret, 1).await.expect("enrolled");
    let start = 100_000;
    let mut rollout = begin(store, "203.1", RolloutPlan::immediate(), at(start)).await;
    tell(store, &machine.secret, "203.1", &[], at(start)).await;
    let mut told = 0;
    // It is away from the first minute on, comes back after four hours, and goes again.
    for minute in (10..=12 * 60).step_by(10) {
        let now = at(start + minute * 60);
        if minute == 4 * 60 {
            tell(store, &machine.secret, "203.1", &[], now).await;
        }
        let seen = observed(store, &rollout, now).await;
        let (exposed, _) = fell(&seen, Harm::Silence);
        if exposed > 0 {
            assert_eq!(minute, 3 * 60, "after three hours");
        }
        told += exposed;
        assert!(store.record_look(&rollout, &seen, now).await.expect("kept"));
        rollout = store.rollout(rollout.id).await.expect("there");
    }
    assert_eq!(told, 1);

    // The service was away: nobody could be heard.
    let (_, token) = account_with_token(store, "unheard@example.org").await;
    let machine = enrol(store, &token.secret, 1).await.expect("enrolled");
    let rollout = begin(store, "204.1", RolloutPlan::immediate(), at(start)).await;
    tell(store, &machine.secret, "204.1", &[], at(start)).await;
    let back = at(start + 4 * HOUR);
    let seen = observed(store, &rollout, back).await;
    assert_eq!(fell(&seen, Harm::Silence), (0, 0));
    let rollout = look(store, &rollout, back).await;
    let seen = observed(store, &rollout, back + jiff::SignedDuration::from_mins(10)).await;
    assert_eq!(fell(&seen, Harm::Silence), (0, 0));
}

async fn a_withdrawn_version_is_offered_no_more(store: &dyn Store) {
    let (_, token) = account_with_token(store, "back@example.org").await;
    let machine = enrol(store, &token.secret, 1).await.expect("enrolled");
    let rollout = begin(store, "205.1", RolloutPlan::immediate(), at(100)).await;
    let second = NewRollout {
        scope: rollout.scope.clone(),
        plan: RolloutPlan::urgent(),
        starts: at(100),
    };
    let refused = store.create_rollout(&second, &operator(), at(101)).await;
    assert!(
        matches!(&refused, Err(StoreError::RolloutExists { id, .. }) if *id == rollout.id),
        "{refused:?}"
    );
    let failed = EventKind::ApplyFailed {
        version: rollout.scope.version,
        reason: "EBUSY".to_owned(),
    };
    tell(store, &machine.secret, "205.1", &[], at(101)).await;
    tell(
        store,
        &machine.secret,
        "205.1",
        &[event(1, failed)],
        at(102),
    )
    .await;
    let rollout = look(store, &rollout, at(103)).await;
    let failures = |rollout: &Rollout| rollout.ledger.harm(Harm::ApplyFailure).exposed_fell;
    assert_eq!(failures(&rollout), 1);

    let halt = HandChange::Halt {
        reason: "machines of a customer hang".to_owned(),
    };
    let by = operator();
    let halted = store.change_rollout(rollout.id, &halt, &by, at(104)).await;
    let halted = halted.expect("halted");
    assert!(matches!(halted.phase, Phase::Halted { .. }));
    let answer = tell(store, &machine.secret, "205.1", &[], at(105)).await;
    assert_eq!(answer.choice.offer, Offer::NotYet);
    let resume = HandChange::Resume {
        reason: "it was their memory".to_owned(),
    };
    let resumed = store
        .change_rollout(rollout.id, &resume, &by, at(106))
        .await;
    let resumed = resumed.expect("resumed");
    assert_eq!(failures(&resumed), 0, "a person judged what was told");
    let running = look(store, &resumed, at(107)).await;
    assert_eq!(failures(&running), 0, "and it is not counted again");
    let answer = tell(store, &machine.secret, "205.1", &[], at(108)).await;
    let version = rollout.scope.version;
    assert_eq!(answer.choice.offer, Offer::Version { version });
    assert_eq!(answer.choice.exposes, None, "it was exposed before");

    let withdraw = HandChange::Withdraw {
        reason: "it leaks memory".to_owned(),
    };
    store
        .change_rollout(running.id, &withdraw, &by, at(109))
        .await
        .expect("withdrawn");
    let report = CheckIn {
        applied: Some(rollout.scope.version),
        ..check_in(ReportedState::Applied)
    };
    let told = store
        .check_in(&machine.secret, &report, &[], &published("205.1"), at(110))
        .await
        .expect("kept");
    assert_eq!(told.choice.withdrawn.as_deref(), Some("it leaks memory"));
    let refused = store
        .change_rollout(running.id, &resume, &by, at(111))
        .await;
    assert!(
        matches!(refused, Err(StoreError::RolloutPhase { .. })),
        "{refused:?}"
    );

    let log = store.audit_log(None, 1000).await.expect("log");
    let lines: Vec<_> = log
        .iter()
        .filter(|line| line.subject == Subject::Rollout(rollout.id))
        .map(|line| (line.actor.clone(), line.action))
        .collect();
    let expected = [
        (operator(), Action::WithdrawRollout),
        (operator(), Action::ResumeRollout),
        (operator(), Action::HaltRollout),
        (Actor::Service, Action::StartRollout),
        (operator(), Action::CreateRollout),
    ];
    assert_eq!(lines, expected);
    let reasons: Vec<_> = log
        .iter()
        .filter_map(|line| line.reason.as_deref())
        .collect();
    assert!(reasons.contains(&"machines of a customer hang"));
    assert!(log.iter().any(|line| line.account.is_none()));
}

async fn two_lookers_record_one_look(store: &dyn Store) {
    let rollout = begin(store, "206.1", RolloutPlan::immediate(), at(100)).await;
    let mine = observed(store, &rollout, at(160)).await;
    let theirs = observed(store, &rollout, at(160)).await;
    assert!(
        store
            .record_look(&rollout, &mine, at(160))
            .await
            .expect("kept")
    );
    assert!(
        !store
            .record_look(&rollout, &theirs, at(160))
            .await
            .expect("no error"),
        "the rollout changed since it was read"
    );
    let looks = store.looks(rollout.id, 10).await.expect("looks");
    let numbers: Vec<_> = looks.iter().map(|look| look.number).collect();
    assert_eq!(numbers, [1, 2]);
    let last = store.looks(rollout.id, 1).await.expect("looks");
    assert_eq!(last[0].number, 2);
}

async fn wishes_and_groups_are_kept(store: &dyn Store) {
    let (account, token) = account_with_token(store, "wish@example.org").await;
    let machine = enrol(store, &token.secret, 1).await.expect("enrolled");
    let (by, id) = (operator(), &machine.machine.id);
    let never = store
        .set_early_preference(account.id, EarlyPreference::Never, &by, at(50))
        .await
        .expect("kept");
    assert_eq!(never.early, EarlyPreference::Never);
    let group = "canary".parse().expect("valid");
    let moved = store
        .set_machine_group(account.id, id, Some(&group), &by, at(51))
        .await
        .expect("kept");
    assert_eq!(moved.group, Some(group));
    let mut plan = RolloutPlan::standard();
    plan.early_group.always = vec!["canary".to_owned()];
    begin(store, "207.1", plan.clone(), at(60)).await;
    let answer = tell(store, &machine.secret, "207.1", &[], at(61)).await;
    assert!(!answer.choice.early, "its owner does not want to");

    store
        .set_early_preference(account.id, EarlyPreference::Always, &by, at(62))
        .await
        .expect("kept");
    let answer = tell(store, &machine.secret, "207.1", &[], at(63)).await;
    assert!(answer.choice.early);
    plan.early_group.never = vec!["canary".to_owned()];
    begin(store, "208.1", plan, at(64)).await;
    let answer = tell(store, &machine.secret, "208.1", &[], at(65)).await;
    assert!(!answer.choice.early, "the plan leaves its group out");
    let out = store
        .set_machine_group(account.id, id, None, &by, at(66))
        .await;
    assert_eq!(out.expect("kept").group, None);
}

/// Many machines check in at the same moment, some for the first time and some again; no more
/// are exposed than the cap allows. The stores are doors to the same database.
pub async fn the_cap_holds(stores: &[Arc<dyn Store>]) {
    let store = Arc::clone(&stores[0]);
    let store = store.as_ref();
    let mut secrets = Vec::new();
    for each in 0..8 {
        let email = format!("wave-{each}@example.org");
        let (_, token) = account_with_token(store, &email).await;
        for number in 1..=3 {
            let machine = enrol(store, &token.secret, number).await.expect("enrolled");
            tell(store, &machine.secret, "301.1", &[], at(50)).await;
            secrets.push(machine.secret);
        }
    }
    let mut plan = RolloutPlan::immediate();
    plan.steps.insert(
        0,
        Step {
            share: 0.2,
            early_only: false,
            soak_secs: 7200,
        },
    );
    let rollout = begin(store, "301.1", plan, at(60)).await;
    assert_eq!(rollout.cap, 5, "a fifth of 24, rounded up");
    let tasks: Vec<_> = secrets
        .iter()
        .chain(&secrets)
        .zip(stores.iter().cycle())
        .map(|(secret, store)| {
            let (store, secret) = (Arc::clone(store), secret.clone());
            tokio::spawn(async move { tell(store.as_ref(), &secret, "301.1", &[], at(61)).await })
        })
        .collect();
    let mut exposures = 0;
    for task in tasks {
        let answer = task.await.expect("no panic");
        exposures += u64::from(answer.choice.exposes == Some(rollout.id));
    }
    let after = store.rollout(rollout.id).await.expect("there");
    assert_eq!((exposures, after.exposed), (5, 5));
    let exposed = store.exposed_machines(rollout.id, 100).await;
    assert_eq!(exposed.expect("listed").len(), 5);
}

/// Machines tell while the service looks, again and again; each word is counted in one look. The
/// stores are doors to the same database.
pub async fn each_word_counts_in_one_look(stores: &[Arc<dyn Store>]) {
    let store = Arc::clone(&stores[0]);
    let store = store.as_ref();
    let mut secrets = Vec::new();
    for each in 0..8 {
        let email = format!("word-{each}@example.org");
        let (_, token) = account_with_token(store, &email).await;
        for number in 1..=3 {
            let machine = enrol(store, &token.secret, number).await.expect("enrolled");
            secrets.push(machine.secret);
        }
    }
    let mut rollout = begin(store, "302.1", RolloutPlan::immediate(), at(60)).await;
    for secret in &secrets {
        tell(store, secret, "302.1", &[], at(61)).await;
    }
    let finished = EventKind::TransitionFinished {
        version: rollout.scope.version,
        millis: 20,
    };
    let mut telling: Vec<_> = secrets
        .iter()
        .zip(stores.iter().cycle())
        .map(|(secret, store)| {
            let (store, secret) = (Arc::clone(store), secret.clone());
            let word = event(1, finished.clone());
            tokio::spawn(async move {
                tell(store.as_ref(), &secret, "302.1", &[word], at(62)).await;
            })
        })
        .collect();
    let mut counted = 0;
    loop {
        let all_told = telling.is_empty();
        let look = observed(store, &rollout, at(63)).await;
        counted += look.observation.tick.applications.finished;
        assert!(
            store
                .record_look(&rollout, &look, at(63))
                .await
                .expect("kept")
        );
        rollout = store.rollout(rollout.id).await.expect("there");
        if all_told {
            break;
        }
        if let Some(next) = telling.pop() {
            next.await.expect("no panic");
        }
    }
    assert_eq!(counted, secrets.len() as u64);
}

/// A rollout that was looked at, and a machine of which nothing was told yet.
pub struct Moved {
    rollout: RolloutId,
    secret: MachineSecret,
}

/// What a move to another database must not lose: a crash that was counted, and one to come.
pub async fn before_a_move(store: &dyn Store) -> Moved {
    let (_, token) = account_with_token(store, "mover@example.org").await;
    let mut secrets = Vec::new();
    for number in 1..=2 {
        let machine = enrol(store, &token.secret, number).await.expect("enrolled");
        secrets.push(machine.secret);
    }
    let mut plan = RolloutPlan::immediate();
    // Else two crashes of one account would be one piece of evidence.
    plan.early_group.unit = Unit::Machine;
    let rollout = begin(store, "401.1", plan, at(60)).await;
    for secret in &secrets {
        tell(store, secret, "401.1", &[], at(61)).await;
    }
    tell(store, &secrets[0], "401.1", &[event(1, crash())], at(62)).await;
    let counted = observed(store, &rollout, at(63)).await;
    assert_eq!(fell(&counted, Harm::Crash), (1, 0));
    let rollout = look(store, &rollout, at(63)).await;
    Moved {
        rollout: rollout.id,
        secret: secrets.remove(1),
    }
}

/// The first crash counts no more, and the next one does.
pub async fn after_a_move(store: &dyn Store, moved: &Moved) {
    let rollout = store.rollout(moved.rollout).await.expect("there");
    let nothing_new = observed(store, &rollout, at(64)).await;
    assert_eq!(fell(&nothing_new, Harm::Crash), (0, 0));
    let crashed = [event(2, crash())];
    tell(store, &moved.secret, "401.1", &crashed, at(65)).await;
    let counted = observed(store, &rollout, at(66)).await;
    assert_eq!(fell(&counted, Harm::Crash), (1, 0));
}
