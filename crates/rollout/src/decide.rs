//! What becomes of a rollout at one look.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::phase::HaltedBy;
use crate::{Evidence, Fleet, Harm, Ledger, Phase, Plan, Yardstick};

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    pub verdict: Verdict,
    /// The phase from now on; often the one that was.
    pub phase: Phase,
    /// Machines that may have been exposed at most, until the next look.
    pub cap: u64,
    pub evidence: Evidence,
    /// Evidence at which it halts: 1/α.
    pub halt_at: f64,
    /// The verdict for people, with its numbers.
    pub sentence: String,
}

/// The evidence's say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// The patch does what it should; the rollout goes on as planned.
    Continue,
    /// Nothing is proven, but nothing widens before it is better. Machines up to the step's cap
    /// may still be exposed.
    Hold { because: Hold },
    /// The patch does harm of this kind.
    Halt { harm: Harm },
}

/// What a rollout waits for, though its time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// The evidence for harm is not proof, but more than chance usually makes. Holds for a day
    /// after it grew last; see [`Ledger::is_suspicious`].
    Suspicion,
    /// The dead-man rule: too few exposed machines were heard of.
    NoNews,
    /// Nobody has been exposed yet, or too few long enough ago.
    TooEarly,
    /// Outside of the plan's windows.
    Window,
}

/// Decides. Total: every phase and every number gets an answer. Deciding twice on the same
/// facts decides the same.
pub fn decide(
    plan: &Plan,
    phase: &Phase,
    ledger: &Ledger,
    fleet: Fleet,
    now: Timestamp,
) -> Decision {
    let evidence = ledger.evidence();
    let halt_at = plan.halt_at();
    let suspicious = ledger.is_suspicious(now);
    let verdict = verdict(plan, phase, &evidence, suspicious, fleet, now);
    let phase = match verdict {
        Verdict::Halt { harm } => {
            let reason = sentence_of_harm(harm, ledger, &evidence, halt_at);
            halted(phase, reason, now)
        }
        Verdict::Continue | Verdict::Hold { .. } => next(plan, phase, &verdict, fleet, now),
    };
    let sentence = sentence(plan, &verdict, &phase, ledger, &evidence, fleet, halt_at);
    Decision {
        cap: cap(plan, &phase, &verdict, fleet, now),
        verdict,
        phase,
        evidence,
        halt_at,
        sentence,
    }
}

fn halted(phase: &Phase, reason: String, now: Timestamp) -> Phase {
    match phase {
        Phase::Running { step, .. } => Phase::Halted {
            step: *step,
            at: now,
            by: HaltedBy::Evidence,
            reason,
        },
        // Only what runs has such a verdict.
        other => other.clone(),
    }
}

/// The phase that follows, if the evidence halts nothing.
fn next(plan: &Plan, phase: &Phase, verdict: &Verdict, fleet: Fleet, now: Timestamp) -> Phase {
    let running = |step| Phase::Running { step, since: now };
    match phase {
        Phase::Planned { starts } if now >= *starts && plan.is_open(now) => running(0),
        Phase::Running { step, since } if nobody_goes_first(plan, *step, *since, fleet, now) => {
            let first = (*step..plan.steps.len()).find(|step| !is_early_only(plan, *step));
            running(first.unwrap_or(plan.steps.len().saturating_sub(1)))
        }
        Phase::Running { step, since }
            if *verdict == Verdict::Continue && soaked(plan, *step, *since, now) =>
        {
            match step.checked_add(1) {
                Some(step) if step < plan.steps.len() => running(step),
                Some(_) | None => Phase::Complete { at: now },
            }
        }
        other => other.clone(),
    }
}

/// Machines that may have been exposed at most.
fn cap(plan: &Plan, phase: &Phase, verdict: &Verdict, fleet: Fleet, now: Timestamp) -> u64 {
    let suspicion = Verdict::Hold {
        because: Hold::Suspicion,
    };
    match phase {
        // The early steps are so small that filling one tells sooner what it was; later ones wait.
        Phase::Running { step, .. } if *verdict == suspicion && !is_early_only(plan, *step) => {
            fleet.exposed
        }
        Phase::Running { .. } if !plan.is_open(now) => fleet.exposed,
        Phase::Running { step, .. } => plan.cap(*step, fleet.population).max(fleet.exposed),
        Phase::Complete { .. } => u64::MAX,
        Phase::Planned { .. } | Phase::Halted { .. } | Phase::Withdrawn { .. } => fleet.exposed,
    }
}

fn verdict(
    plan: &Plan,
    phase: &Phase,
    evidence: &Evidence,
    suspicious: bool,
    fleet: Fleet,
    now: Timestamp,
) -> Verdict {
    let Phase::Running { step, since } = phase else {
        return Verdict::Continue;
    };
    if evidence.peak >= plan.halt_at() {
        return Verdict::Halt {
            harm: gravest(evidence),
        };
    }
    if suspicious {
        return Verdict::Hold {
            because: Hold::Suspicion,
        };
    }
    if !soaked(plan, *step, *since, now) {
        return Verdict::Continue;
    }
    // Its time has come: is there enough good news?
    let settled = fleet.due as f64 >= plan.settled_share * fleet.exposed as f64;
    if fleet.exposed == 0 || !settled || !is_used(plan, *step, *since, fleet, now) {
        return Verdict::Hold {
            because: Hold::TooEarly,
        };
    }
    if (fleet.heard as f64) < plan.heard_share * fleet.due as f64 {
        return Verdict::Hold {
            because: Hold::NoNews,
        };
    }
    if !plan.is_open(now) {
        return Verdict::Hold {
            because: Hold::Window,
        };
    }
    Verdict::Continue
}

/// The kind of harm that the evidence is about.
fn gravest(evidence: &Evidence) -> Harm {
    let weighted = |harm: &Harm| {
        let alone = evidence.harms.get(harm).copied();
        alone.unwrap_or_default() * harm.weight()
    };
    Harm::ALL
        .into_iter()
        .max_by(|left, right| weighted(left).total_cmp(&weighted(right)))
        .unwrap_or(Harm::Crash)
}

fn is_early_only(plan: &Plan, step: usize) -> bool {
    plan.step(step).is_some_and(|step| step.early_only)
}

fn soaked(plan: &Plan, step: usize, since: Timestamp, now: Timestamp) -> bool {
    lasted(plan, step, since, 0, now)
}

/// Whether a step has lasted for its soak time and `more` seconds.
fn lasted(plan: &Plan, step: usize, since: Timestamp, more: u64, now: Timestamp) -> bool {
    // A step of no length would be over before anybody was exposed in it.
    let soak = plan.step(step).map_or(1, |step| step.soak_secs.max(1));
    let secs = i64::try_from(soak.saturating_add(more)).unwrap_or(i64::MAX);
    now.duration_since(since).as_secs() >= secs
}

/// Whether the step has exposed half of those that it may, or had time to: whoever was heard of
/// in the last `silence_secs` has checked in since. Without this, a step that began before the
/// night or just before a window closed would be over though nobody was exposed in it.
fn is_used(plan: &Plan, step: usize, since: Timestamp, fleet: Fleet, now: Timestamp) -> bool {
    let reachable = if is_early_only(plan, step) {
        fleet.early
    } else {
        fleet.population
    };
    let goal = plan.cap(step, fleet.population).min(reachable);
    fleet.exposed >= goal.div_ceil(2) || had_time(plan, step, since, now)
}

/// Whether the plan was open long enough in the step for everyone to check in. Windows shorter
/// than a silence get a week, in which each of them comes round.
fn had_time(plan: &Plan, step: usize, since: Timestamp, now: Timestamp) -> bool {
    let silence = i64::try_from(plan.silence_secs).unwrap_or(i64::MAX);
    let before = now.checked_sub(SignedDuration::from_secs(silence));
    let was_open = before.is_ok_and(|before| plan.is_open(before));
    let enough = if was_open {
        plan.silence_secs
    } else {
        plan.silence_secs.max(WEEK_SECS)
    };
    plan.is_open(now) && lasted(plan, step, since, enough, now)
}

const WEEK_SECS: u64 = 7 * 24 * 3600;

/// Whether the early group has no machine here that could be exposed, after it had its time: no
/// account is free, or none of them has a machine, or all of them have the version. Then the
/// first step for everyone begins, under that step's cap. A fleet of which nothing at all was
/// heard has no early group that is known to be empty.
fn nobody_goes_first(
    plan: &Plan,
    step: usize,
    since: Timestamp,
    fleet: Fleet,
    now: Timestamp,
) -> bool {
    let nobody = fleet.early == 0 || had_time(plan, step, since, now);
    is_early_only(plan, step)
        && fleet.exposed == 0
        && fleet.population > 0
        && plan.is_open(now)
        && nobody
        && soaked(plan, step, since, now)
}

fn sentence(
    plan: &Plan,
    verdict: &Verdict,
    phase: &Phase,
    ledger: &Ledger,
    evidence: &Evidence,
    fleet: Fleet,
    halt_at: f64,
) -> String {
    let Fleet {
        exposed,
        due,
        heard,
        ..
    } = fleet;
    match verdict {
        Verdict::Halt { harm } => sentence_of_harm(*harm, ledger, evidence, halt_at),
        Verdict::Hold {
            because: Hold::Suspicion,
        } => format!(
            "Held: the evidence for harm is {:.1}; nothing widens at {:.1} and more, and it halts at {halt_at:.0}",
            evidence.total, plan.hold_at
        ),
        Verdict::Hold {
            because: Hold::NoNews,
        } => format!(
            "Held: of {due} machines that have had time to report, only {heard} were heard of"
        ),
        Verdict::Hold {
            because: Hold::TooEarly,
        } => {
            format!("Waiting: {due} of {exposed} exposed machines have had time to show a problem")
        }
        Verdict::Hold {
            because: Hold::Window,
        } => "Waiting for the plan's next window".to_owned(),
        Verdict::Continue => match phase {
            Phase::Planned { starts } => format!("Starts at {starts}"),
            Phase::Running { step, .. } => format!(
                "Step {} of {}: {exposed} machines exposed, evidence for harm {:.2} (halts at {halt_at:.0})",
                step.saturating_add(1).min(plan.steps.len()),
                plan.steps.len(),
                evidence.total
            ),
            Phase::Halted { reason, .. } | Phase::Withdrawn { reason, .. } => reason.clone(),
            Phase::Complete { .. } => {
                format!("Complete: {exposed} machines were offered the version")
            }
        },
    }
}

fn sentence_of_harm(harm: Harm, ledger: &Ledger, evidence: &Evidence, halt_at: f64) -> String {
    let row = ledger.harm(harm);
    let what = match harm {
        Harm::Crash => "exposed machines went down uncleanly",
        Harm::Silence => "exposed machines fell silent",
        Harm::KernelTrouble => "exposed machines had kernel trouble",
        Harm::PatchTrouble => "machines had a kernel warning that names the patch",
        Harm::ApplyFailure => "machines could not apply the patch",
        Harm::Stall => "machines did not finish the transition",
    };
    let than = match harm.yardstick() {
        Yardstick::Control => format!(
            "where {:.2} were to be expected from the {} that fell among the others",
            row.expected, row.control_fell
        ),
        Yardstick::ToleratedShare | Yardstick::ToleratedRate => {
            format!("where {:.2} are tolerated", row.expected)
        }
    };
    format!(
        "Halted: {} {what}, {than}; the evidence for harm reached {}, the line is {halt_at:.0}",
        row.exposed_fell,
        readable(evidence.peak)
    )
}

/// Beyond a million the digits tell a reader nothing.
fn readable(evidence: f64) -> String {
    if evidence > 1e6 {
        "more than a million".to_owned()
    } else {
        format!("{evidence:.0}")
    }
}
