//! What stops others.

use suture_rollout::{Harm, Tick};

use crate::time::{Minute, START};

/// When a rollout is stopped.
#[derive(Debug, Clone)]
pub enum Brake {
    /// A person who looks from time to time. Notices a harm if at least ten exposed machines
    /// fell in it, at three times the usual rate ([`USUAL_CRASHES`]; for silence that of the
    /// others); or ten kernel warnings that name the
    /// patch; or ten failed applications that are a twentieth of all.
    Person {
        /// Minutes between looks.
        every: Minute,
        /// Minutes from noticing to the stop.
        reaction: Minute,
        /// The stop comes this many minutes after the start at the earliest.
        earliest: Minute,
    },
    /// At least three, and more than this share of the exposed machines crashed, or fell silent,
    /// or could not apply it, or had a warning.
    Threshold { share: f64 },
    /// A test of two proportions made for one look (crashed of exposed, against crashed of the
    /// others; and the same for silence), looked at again and again. `z` is its one-sided
    /// critical value.
    FixedSample { z: f64 },
}

/// What was counted since the start.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    crash: Pair,
    silence: Pair,
    warnings: u64,
    applications: u64,
    failures: u64,
    exposed: u64,
}

/// Crashes per machine and minute that people are used to: one a year.
pub const USUAL_CRASHES: f64 = 1.0 / (365.0 * 24.0 * 60.0);

/// Exposed and control machines.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    fell: [u64; 2],
    /// Machine-minutes.
    time: [f64; 2],
    /// At risk at the last look.
    machines: [u64; 2],
}

impl Counts {
    pub fn absorb(&mut self, tick: &Tick, exposed: u64) {
        self.crash.absorb(tick, Harm::Crash);
        self.silence.absorb(tick, Harm::Silence);
        self.warnings += tick.patch_trouble;
        let ended = tick.applications;
        self.applications += ended.finished + ended.failed + ended.stalled;
        self.failures += ended.failed;
        self.exposed = exposed;
    }
}

impl Pair {
    fn absorb(&mut self, tick: &Tick, harm: Harm) {
        self.machines = [0; 2];
        for row in tick.compared.iter().filter(|row| row.harm == harm) {
            let at_risk = [row.exposed_at_risk, row.control_at_risk];
            for (side, fell) in [row.exposed_fell, row.control_fell].into_iter().enumerate() {
                self.fell[side] += fell;
                self.time[side] += at_risk[side] as f64 * tick.elapsed_secs / 60.0;
                self.machines[side] += at_risk[side];
            }
        }
    }

    /// Per machine-minute, of one side.
    fn rate(&self, side: usize) -> f64 {
        self.fell[side] as f64 / self.time[side].max(1.0)
    }

    fn is_conspicuous(&self, usual: f64) -> bool {
        self.fell[0] >= 10 && self.rate(0) > 3.0 * usual
    }

    /// Pooled z statistic of the difference of two proportions.
    fn z(&self) -> f64 {
        let trials = [0, 1].map(|side| (self.machines[side] + self.fell[side]) as f64);
        if trials[0] < 1.0 || trials[1] < 1.0 {
            return 0.0;
        }
        let shares = [0, 1].map(|side| self.fell[side] as f64 / trials[side]);
        let pooled = (self.fell[0] + self.fell[1]) as f64 / (trials[0] + trials[1]);
        let deviation = (pooled * (1.0 - pooled) * (1.0 / trials[0] + 1.0 / trials[1])).sqrt();
        if deviation > 0.0 {
            (shares[0] - shares[1]) / deviation
        } else {
            0.0
        }
    }
}

impl Brake {
    /// When it stops, going by what is known now.
    pub fn stop_at(&self, now: Minute, counts: &Counts) -> Option<Minute> {
        match self {
            Self::Person {
                every,
                reaction,
                earliest,
            } => {
                let looks = (now - START).is_multiple_of(*every) && now > START;
                (looks && is_noticed(counts)).then(|| (now + reaction).max(START + earliest))
            }
            Self::Threshold { share } => is_beyond(*share, counts).then_some(now),
            Self::FixedSample { z } => {
                let worst = counts.crash.z().max(counts.silence.z());
                (worst > *z).then_some(now)
            }
        }
    }
}

fn is_noticed(counts: &Counts) -> bool {
    counts.crash.is_conspicuous(USUAL_CRASHES)
        || counts.silence.is_conspicuous(counts.silence.rate(1))
        || counts.warnings >= 10
        || counts.failures >= 10 && counts.failures * 20 >= counts.applications
}

fn is_beyond(share: f64, counts: &Counts) -> bool {
    let limit = share * counts.exposed as f64;
    let most = [
        counts.crash.fell[0],
        counts.silence.fell[0],
        counts.warnings,
        counts.failures,
    ];
    most.into_iter()
        .any(|count| count >= 3 && count as f64 > limit)
}
