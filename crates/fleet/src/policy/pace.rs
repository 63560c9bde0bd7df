//! How fast others widen.

use suture_rollout::Plan;

use super::Served;
use crate::chance::{Draw, fraction};
use crate::time::{DAY, HOUR, Minute, START};

/// Who is admitted by the clock alone.
#[derive(Debug, Clone)]
pub enum Pace {
    /// Everyone who asks.
    AtOnce,
    /// 10, 20, 40, 60 and 100%, a day each, of a fresh random order.
    Phases,
    /// Bottlerocket's default waves: hosts draw a seed once and keep it. 1% over the hours 1 to
    /// 4, 5% by one day, 15% by two, 40% by four, 60% by five, 90% by six, then the rest.
    HostSeedWaves,
    /// The steps of a plan, each for its soak time.
    Steps(Box<Plan>),
}

const WAVES: [(Minute, f64); 7] = [
    (HOUR, 0.0),
    (4 * HOUR, 0.01),
    (DAY, 0.05),
    (2 * DAY, 0.15),
    (4 * DAY, 0.40),
    (5 * DAY, 0.60),
    (6 * DAY, 0.90),
];

const PHASES: [f64; 5] = [0.1, 0.2, 0.4, 0.6, 1.0];

/// What a pace comes to at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Width {
    /// Machines whose place in the order is below this are admitted.
    pub share: f64,
    pub early_only: bool,
}

impl Pace {
    pub fn width(&self, now: Minute) -> Width {
        let elapsed = now - START;
        let all = |share| Width {
            share,
            early_only: false,
        };
        match self {
            Self::AtOnce => all(1.0),
            Self::Phases => {
                let day = (elapsed / DAY) as usize;
                all(PHASES[day.min(PHASES.len() - 1)])
            }
            Self::HostSeedWaves => all(wave_share(elapsed)),
            Self::Steps(plan) => step_width(plan, elapsed),
        }
    }

    /// A machine's place in the order.
    pub fn place(&self, machine: u32, served: &Served) -> f64 {
        match self {
            Self::HostSeedWaves => fraction(served.population.seed, Draw::HostSeed, machine, 0),
            Self::AtOnce | Self::Phases | Self::Steps(_) => served.lottery.lot(machine),
        }
    }
}

fn wave_share(elapsed: Minute) -> f64 {
    let after = WAVES.iter().position(|(until, _)| elapsed < *until);
    match after {
        None => 1.0,
        Some(0) => 0.0,
        Some(next) => {
            let ((from, low), (until, high)) = (WAVES[next - 1], WAVES[next]);
            low + (high - low) * f64::from(elapsed - from) / f64::from(until - from)
        }
    }
}

fn step_width(plan: &Plan, elapsed: Minute) -> Width {
    let mut ends = 0;
    let running = plan.steps.iter().find(|step| {
        ends += step.soak_secs;
        u64::from(elapsed) * 60 < ends
    });
    running.map_or(
        Width {
            share: 1.0,
            early_only: false,
        },
        |step| Width {
            share: step.share,
            early_only: step.early_only,
        },
    )
}
