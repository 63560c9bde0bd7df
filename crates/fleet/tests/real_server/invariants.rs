//! What must hold in the database at the end of every story.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

use jiff::Timestamp;
use suture_fleet::real::Record;
use suture_protocol::EventKind;
use suture_rollout::{Harm, Hold, Phase, Plan, Verdict};
use suture_store::{Action, Actor, KeptEvent, PastLook, Rollout, RolloutStore as _, Store as _};

use crate::site::Site;

/// Events that are read at once.
const PAGE: u32 = 500;

/// Looks are numbered from one without a gap, each was taken into the ledger once, and none found
/// more machines exposed than the one before allowed.
pub async fn check_looks(site: &Site, rollout: &Rollout) -> Vec<PastLook> {
    let looks = site.store.looks(rollout.id, u32::MAX).await.unwrap();
    let numbers: Vec<u32> = looks.iter().map(|look| look.number).collect();
    let expected: Vec<u32> = (1..=rollout.looks).collect();
    assert_eq!(numbers, expected, "looks are numbered without a gap");
    assert!(
        looks.is_sorted_by_key(|look| look.tick.at),
        "looks go back in time"
    );
    let last = looks.last().expect("there was a look");
    assert!(rollout.exposed <= last.decision.cap.max(last.fleet.exposed));
    assert_eq!(looks[0].fleet.exposed, 0, "exposed before it began");
    for pair in looks.windows(2) {
        check_pair(&rollout.plan, &pair[0], &pair[1]);
    }
    for harm in Harm::COMPARED {
        let ticks = looks.iter().flat_map(|look| &look.tick.compared);
        let rows = ticks.filter(|row| row.harm == harm);
        let counted: u64 = rows.map(|row| row.exposed_fell).sum();
        let ledger = rollout.ledger.harm(harm).exposed_fell;
        assert_eq!(counted, ledger, "{} of all looks", harm.as_str());
    }
    looks
}

const SUSPICION: Verdict = Verdict::Hold {
    because: Hold::Suspicion,
};

fn check_pair(plan: &Plan, before: &PastLook, after: &PastLook) {
    let (number, cap, fleet) = (after.number, before.decision.cap, after.fleet);
    assert!(
        fleet.exposed <= cap,
        "look {number}: {} exposed, {cap} allowed by the look before",
        fleet.exposed
    );
    if let Phase::Running { step, .. } = after.decision.phase {
        let wide = plan.step(step).is_some_and(|step| !step.early_only);
        let allowed = if wide && after.decision.verdict == SUSPICION {
            fleet.exposed
        } else {
            plan.cap(step, fleet.population).max(fleet.exposed)
        };
        assert_eq!(
            after.decision.cap, allowed,
            "look {number}: the cap is not the plan's"
        );
    }
    let step = |look: &PastLook| match look.decision.phase {
        Phase::Running { step, .. } => Some(step),
        Phase::Planned { .. }
        | Phase::Halted { .. }
        | Phase::Withdrawn { .. }
        | Phase::Complete { .. } => None,
    };
    let widened = step(before).is_some_and(|then| step(after).is_some_and(|now| now > then));
    if widened && fleet.exposed > 0 {
        let news = fleet.heard as f64 >= plan.heard_share * fleet.due as f64;
        let settled = fleet.due as f64 >= plan.settled_share * fleet.exposed as f64;
        assert!(
            news && settled,
            "look {number} widened without news: {fleet:?}"
        );
    }
}

/// All events of the rollout; each is there once.
pub async fn check_events(site: &Site, rollout: &Rollout) -> Vec<KeptEvent> {
    let mut all: Vec<KeptEvent> = Vec::new();
    loop {
        let before = all.last().map(|event| event.number);
        let page = site.store.rollout_events(rollout.id, before, false, PAGE);
        let page = page.await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    let mut seen = HashSet::new();
    for event in &all {
        let key = (event.account, event.machine.clone(), event.id);
        assert!(seen.insert(key), "event {} is kept twice", event.id);
    }
    all
}

/// The crashes on record are those that were planted and told, each once; and the ledger has of
/// them what had come in when it was halted: of each account the first, since an account's
/// machines that fall within an hour are one piece of evidence.
pub fn check_crashes(
    rollout: &Rollout,
    events: &[KeptEvent],
    record: &Record,
    halting_look: &PastLook,
    seen_halted: Timestamp,
) {
    let is_crash = |event: &&KeptEvent| matches!(event.kind, EventKind::Restarted { .. });
    let kept: BTreeSet<_> = events
        .iter()
        .filter(is_crash)
        .map(|event| event.id)
        .collect();
    let told: BTreeSet<_> = record.crashes.keys().copied().collect();
    assert_eq!(kept, told, "crashes on record and told");
    let planted: BTreeSet<usize> = record.went_down.iter().copied().collect();
    let tellers: BTreeSet<usize> = record.crashes.values().map(|crash| crash.agent).collect();
    assert_eq!(
        tellers, planted,
        "machines that told of a crash and went down"
    );
    assert_eq!(
        record.crashes.len(),
        record.went_down.len(),
        "told once for each crash"
    );

    let mut accounts = BTreeMap::<usize, (bool, bool)>::new();
    for crash in record.crashes.values() {
        let (surely, perhaps) = accounts.entry(crash.account).or_default();
        let answered_before = |at: Timestamp| at <= halting_look.tick.at;
        *surely |= crash.answered.is_some_and(answered_before);
        *perhaps |= crash.sent <= seen_halted;
    }
    let least = accounts.values().filter(|(surely, _)| *surely).count() as u64;
    let most = accounts.values().filter(|(_, perhaps)| *perhaps).count() as u64;
    let counted = rollout.ledger.harm(Harm::Crash).exposed_fell;
    assert!(
        (least..=most).contains(&counted),
        "the ledger has {counted} crashes, expected {least} to {most}"
    );
    assert_eq!(rollout.ledger.harm(Harm::Crash).control_fell, 0);
    assert_eq!(rollout.ledger.harm(Harm::Silence).exposed_fell, 0);
}

/// The audit log's lines of halts are as many as expected, all by the service.
pub async fn check_halts(site: &Site, expected: usize) {
    let audit = site.store.audit_log(None, u32::MAX).await.unwrap();
    let halts = audit
        .iter()
        .filter(|line| line.action == Action::HaltRollout);
    let actors: Vec<_> = halts.map(|line| line.actor.clone()).collect();
    assert_eq!(
        actors,
        vec![Actor::Service; expected],
        "halts in the audit log"
    );
}

/// The machines on record as exposed are those that were offered the version, or whose answer
/// with the offer was lost.
pub async fn check_exposed(site: &Site, rollout: &Rollout, record: &Record) {
    let exposed = site.store.exposed_machines(rollout.id, u32::MAX).await;
    let exposed = exposed.unwrap();
    assert_eq!(
        exposed.len() as u64,
        rollout.exposed,
        "exposures are counted"
    );
    let machines: BTreeSet<_> = exposed.iter().map(|it| it.machine.as_str()).collect();
    assert_eq!(machines.len(), exposed.len(), "a machine is exposed twice");
    let offered: BTreeSet<usize> = record.offers.iter().map(|offer| offer.agent).collect();
    for agent in offered {
        let machine = format!("{:032x}", agent + 1);
        assert!(
            machines.contains(machine.as_str()),
            "{machine} was offered it, unrecorded"
        );
    }
}

/// Nobody who asked after `since` was offered a version.
pub fn check_no_offer_since(record: &Record, since: Instant) {
    let late = record.offers.iter().filter(|offer| offer.asked > since);
    let late: Vec<usize> = late.map(|offer| offer.agent).collect();
    assert!(late.is_empty(), "offered after the halt: {late:?}");
}
