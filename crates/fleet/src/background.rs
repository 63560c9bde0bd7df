//! What happens to machines anyway, patch or no patch.
//!
//! Each kind of event is a stream of its own with its own random numbers, drawn whatever the
//! machines do, so that it is the same under every policy. A victim that is off or gone is
//! spared.

use fastrand::Rng;

use crate::population::{Kind, Population};
use crate::time::{DAY, HOUR, Minute, START};

/// How often machines have trouble of their own, per machine and year.
#[derive(Debug, Clone)]
pub struct Background {
    /// Unclean restarts, by kind: server, laptop, bad network (default: 0.8, 2, 1.5; about one
    /// per machine and year over all).
    pub unclean_restarts: [f64; 3],
    /// Planned reboots (default: 12).
    pub planned_reboots: f64,
    /// Machines that go away for good (default: 0.5).
    pub farewells: f64,
    /// Kernel warnings that name no patch (default: 2).
    pub kernel_trouble: f64,
    /// Times without network, by kind (default: 2, 2, 90).
    pub outages: [f64; 3],
    /// Power cuts per day, each of one account with at least [`SHOCK_MACHINES`] machines or a
    /// five-hundredth of the fleet, whichever is less (default: 4).
    pub power_cuts_per_day: f64,
    /// Share of machines that can't apply any patch (default: 0.002).
    pub apply_failures: f64,
    /// Share of machines on which the transition stalls (default: 0.003).
    pub stalls: f64,
}

/// An account of this size is worth a power cut.
pub const SHOCK_MACHINES: u32 = 200;

impl Default for Background {
    fn default() -> Self {
        Self {
            unclean_restarts: [0.8, 2.0, 1.5],
            planned_reboots: 12.0,
            farewells: 0.5,
            kernel_trouble: 2.0,
            outages: [2.0, 2.0, 90.0],
            power_cuts_per_day: 4.0,
            apply_failures: 0.002,
            stalls: 0.003,
        }
    }
}

impl Background {
    /// The same without power cuts.
    pub fn without_power_cuts(self) -> Self {
        Self {
            power_cuts_per_day: 0.0,
            ..self
        }
    }
}

/// Something that befalls a machine by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incident {
    UncleanRestart,
    PlannedReboot,
    Farewell,
    KernelTrouble,
    Outage,
}

/// The streams of one run.
#[derive(Debug, Clone)]
pub struct Streams {
    streams: Vec<Stream>,
    power_cuts: Stream,
    large_accounts: Vec<u32>,
}

#[derive(Debug, Clone)]
struct Stream {
    incident: Incident,
    /// Only machines of this kind.
    kind: Option<Kind>,
    rng: Rng,
    /// Events per minute over the whole fleet, those that meet the wrong kind included.
    rate: f64,
    /// Minutes since the start.
    next: f64,
}

impl Streams {
    pub fn new(population: &Population, background: &Background) -> Self {
        let machines = f64::from(population.len());
        let per_minute = |per_year: f64| per_year * machines / (365.0 * f64::from(DAY));
        let mut streams = Vec::new();
        let mut add = |incident, kind, per_year| {
            let seed = population.seed.wrapping_mul(31) + streams.len() as u64;
            streams.push(Stream::new(incident, kind, seed, per_minute(per_year)));
        };
        for (position, kind) in [Kind::Server, Kind::Laptop, Kind::BadNetwork]
            .into_iter()
            .enumerate()
        {
            let restarts = background.unclean_restarts[position];
            add(Incident::UncleanRestart, Some(kind), restarts);
            add(Incident::Outage, Some(kind), background.outages[position]);
        }
        add(Incident::PlannedReboot, None, background.planned_reboots);
        add(Incident::Farewell, None, background.farewells);
        add(Incident::KernelTrouble, None, background.kernel_trouble);
        let cuts_per_minute = background.power_cuts_per_day / f64::from(DAY);
        let seed = population.seed.wrapping_mul(31) + 100;
        let power_cuts = Stream::new(Incident::UncleanRestart, None, seed, cuts_per_minute);
        Self {
            streams,
            power_cuts,
            large_accounts: large_accounts(population),
        }
    }

    /// Who is met in a minute, and by what.
    pub fn minute(&mut self, population: &Population, now: Minute, met: &mut Vec<(u32, Incident)>) {
        for stream in &mut self.streams {
            while stream.comes(now) {
                let machine = stream.rng.u32(0..population.len());
                let kind = population.machines[machine as usize].kind;
                if stream.kind.is_none_or(|only| only == kind) {
                    met.push((machine, stream.incident));
                }
            }
        }
    }

    /// The account whose power is cut in a minute, if any.
    pub fn power_cut(&mut self, now: Minute) -> Option<u32> {
        if self.large_accounts.is_empty() || !self.power_cuts.comes(now) {
            return None;
        }
        let place = self.power_cuts.rng.usize(0..self.large_accounts.len());
        Some(self.large_accounts[place])
    }
}

impl Stream {
    fn new(incident: Incident, kind: Option<Kind>, seed: u64, rate: f64) -> Self {
        let mut stream = Self {
            incident,
            kind,
            rng: Rng::with_seed(seed),
            rate,
            next: 0.0,
        };
        stream.wait();
        stream
    }

    fn wait(&mut self) {
        self.next += -(1.0 - self.rng.f64()).ln() / self.rate;
    }

    /// Whether one more event comes in this minute.
    fn comes(&mut self, now: Minute) -> bool {
        if self.next >= f64::from(now - START + 1) {
            return false;
        }
        self.wait();
        true
    }
}

fn large_accounts(population: &Population) -> Vec<u32> {
    let enough = SHOCK_MACHINES.min(population.len() / 500).max(2);
    let is_large = |number: &u32| {
        let account = &population.accounts[*number as usize];
        account.paid && account.machines >= enough
    };
    (0..population.accounts.len() as u32)
        .filter(is_large)
        .collect()
}

/// Mean length of a time without network.
pub const OUTAGE_MEAN: f64 = 4.0 * HOUR as f64;
