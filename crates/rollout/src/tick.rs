//! What was seen between two looks at a rollout.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Harm, Stratum, Yardstick};

/// What came in since the last look, counted. Every machine and harm counts at most once in a
/// rollout, however often it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    pub at: Timestamp,
    /// Seconds since the look before.
    pub elapsed_secs: f64,
    /// One for each compared harm and stratum in which a machine was at risk or fell.
    pub compared: Vec<Comparison>,
    pub applications: Applications,
    /// Machines whose kernel named the patch in a warning or oops for the first time.
    pub patch_trouble: u64,
    /// Machines under the patch at this look; times `elapsed_secs`, the time at risk. If in doubt
    /// a machine counts.
    pub under_patch: u64,
}

impl Tick {
    /// Ten years; a clock that leapt further tells nothing of the time at risk.
    const LONGEST_SECS: f64 = 10.0 * 365.0 * 24.0 * 3600.0;

    /// Hours since the look before; none if the clock went back.
    pub(crate) fn elapsed_hours(&self) -> f64 {
        if self.elapsed_secs.is_nan() {
            return 0.0;
        }
        self.elapsed_secs.clamp(0.0, Self::LONGEST_SECS) / 3600.0
    }
}

/// One harm in one stratum: how many machines were at risk at this look, those that fell in it
/// included, and how many fell. A machine counts as exposed from the check-in that offered it
/// the version on, whether or not it took it (as in a trial analysed by intention to treat).
///
/// The evidence is sound if these rules are kept:
///
/// - Exposed machines and others are at risk by the same rule: heard of since the rollout began
///   and in the last [`crate::Plan::silence_secs`], and not fallen by this harm before.
/// - Silence is compared among steady machines alone: others sleep by day and night, and those
///   that were exposed together were awake together and fall asleep together. The dead-man rule
///   covers them.
/// - An exposed machine is at risk of falling silent from two thirds of `silence_secs` after its
///   exposure on: it can first fall when that time is over, and then once with each check-in
///   that it misses, so the time at risk of one check-in comes before the first fall.
/// - A machine falls by a harm once, whichever its side was.
/// - A fall belongs to the side on which the machine was before the check-in that told of it. A
///   machine that comes back from a crash and is exposed by that very check-in fell as control.
/// - Where accounts are drawn, machines of one account that fall together count as one, on the
///   side of the first. Counting one on each side would make every outage of an account with
///   machines on both sides look like harm: exposed machines are the fewer.
/// - Those exposed since the last look are at risk as exposed, so that the exposed share is
///   rather too large than too small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    pub harm: Harm,
    pub stratum: Stratum,
    pub exposed_at_risk: u64,
    pub control_at_risk: u64,
    pub exposed_fell: u64,
    pub control_fell: u64,
}

impl Comparison {
    /// Whether the two sides of the row can be compared.
    pub(crate) fn is_sound(&self) -> bool {
        // Only these kinds have a control group.
        let is_compared = self.harm.yardstick() == Yardstick::Control;
        is_compared && (self.harm != Harm::Silence || self.stratum.steady)
    }
}

/// Applications that came to an end since the last look. Each machine's counts once, at its
/// first end; good and bad ends must be told equally soon.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applications {
    pub finished: u64,
    pub failed: u64,
    pub stalled: u64,
}

/// The machines that a rollout covers, at one look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fleet {
    /// Enrolled machines with a kernel build that the rollout covers, heard of in the last
    /// [`crate::Plan::silence_secs`] or exposed.
    pub population: u64,
    /// Of the population, members of the early group that this rollout exposed or could expose:
    /// those with an older version or none.
    pub early: u64,
    /// Machines that were offered the version by this rollout, ever.
    pub exposed: u64,
    /// Exposed at least [`crate::Plan::signal_secs`] ago: time enough for a problem to show. A
    /// machine that was released since is due too, so that it holds nothing up.
    pub due: u64,
    /// Of those due, heard of after their exposure and in the last `silence_secs`, or released:
    /// whoever releases a machine has news of it.
    pub heard: u64,
    /// Machines in which the version is in force.
    pub applied: u64,
}
