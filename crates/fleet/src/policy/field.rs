//! What others do.

use suture_rollout::{Fleet, Plan, Tick};

use super::brake::{Brake, Counts};
use super::pace::{Pace, Width};
use super::{Policy, Served};
use crate::time::{HOUR, Minute, START};

/// A pace by the clock, and a brake.
#[derive(Debug)]
pub struct Field {
    name: String,
    pace: Pace,
    brake: Brake,
    served: Served,
    width: Width,
    /// Bound of exposed machines, for the steps of a plan.
    cap: u64,
    counts: Counts,
    stops_at: Option<Minute>,
    stopped: Option<Minute>,
}

impl Field {
    pub fn new(name: &str, pace: Pace, brake: Brake, served: Served) -> Self {
        Self {
            name: name.to_owned(),
            width: pace.width(START),
            pace,
            brake,
            served,
            cap: 0,
            counts: Counts::default(),
            stops_at: None,
            stopped: None,
        }
    }

    /// Everyone within an hour, and a person's stop after 90 minutes if there is reason by then.
    pub fn everyone(served: Served) -> Self {
        let brake = Brake::Person {
            every: 5,
            reaction: 0,
            earliest: 90,
        };
        Self::new("everyone, stop by hand", Pace::AtOnce, brake, served)
    }

    /// 10, 20, 40, 60, 100% by hand, a day each.
    pub fn phases(served: Served) -> Self {
        Self::new("phases by hand", Pace::Phases, Self::watcher(), served)
    }

    /// Waves by a fixed seed of each host.
    pub fn waves(served: Served) -> Self {
        let pace = Pace::HostSeedWaves;
        Self::new("waves by host seed", pace, Self::watcher(), served)
    }

    /// Suture's steps by the clock, halted if more than 0.5% fell.
    pub fn threshold(served: Served) -> Self {
        let pace = Pace::Steps(Box::new(Plan::standard()));
        let brake = Brake::Threshold { share: 0.005 };
        Self::new("threshold 0.5%", pace, brake, served)
    }

    /// Suture's steps by the clock, halted by a test with p < 0.01 made anew at each look.
    pub fn fixed_sample(served: Served) -> Self {
        let pace = Pace::Steps(Box::new(Plan::standard()));
        let brake = Brake::FixedSample { z: 2.326 };
        Self::new("fixed test, looked at often", pace, brake, served)
    }

    /// Looks every four hours and needs 90 minutes to act.
    fn watcher() -> Brake {
        Brake::Person {
            every: 4 * HOUR,
            reaction: 90,
            earliest: 0,
        }
    }
}

impl Policy for Field {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn admits(&self, machine: u32, exposed: u64) -> bool {
        self.stopped.is_none()
            && exposed < self.cap
            && (self.width.early_only && self.served.lottery.is_early(machine)
                || !self.width.early_only
                    && self.pace.place(machine, &self.served) < self.width.share)
    }

    fn look(&mut self, now: Minute, tick: &Tick, fleet: Fleet) {
        self.counts.absorb(tick, fleet.exposed);
        self.width = self.pace.width(now);
        self.cap = match &self.pace {
            Pace::Steps(_) if self.width.share < 1.0 => {
                (self.width.share * fleet.population as f64).ceil() as u64
            }
            Pace::Steps(_) | Pace::AtOnce | Pace::Phases | Pace::HostSeedWaves => u64::MAX,
        };
        if self.stops_at.is_none() {
            self.stops_at = self.brake.stop_at(now, &self.counts);
        }
        if self.stopped.is_none() && self.stops_at.is_some_and(|at| at <= now) {
            self.stopped = Some(now);
        }
    }

    fn stopped(&self) -> Option<(Minute, String)> {
        self.stopped.map(|at| (at, self.name.clone()))
    }
}
