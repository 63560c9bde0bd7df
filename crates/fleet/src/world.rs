//! The machines at work.

use std::sync::Arc;

pub use crate::background::Background;
use crate::background::{Incident, OUTAGE_MEAN, Streams};
use crate::chance::{Draw, between, bits, fraction, waiting};
use crate::defect::{Defect, Delay, Effect};
use crate::observer::Told;
use crate::population::{Kind, Population, RISKY_HARDWARE};
use crate::time::{DAY, HOUR, Minute, START};
use crate::wheel::{Due, Wheel};

/// The simulated machines. It knows what is wrong with the patch; the server's side doesn't.
#[derive(Debug, Clone)]
pub struct World {
    population: Arc<Population>,
    defect: Defect,
    background: Background,
    streams: Streams,
    wheel: Wheel,
    states: Vec<State>,
    met: Vec<(u32, Incident)>,
    /// Machines that the patch did harm to, so far.
    pub hurt: u64,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// The check-in that counts; those that the wheel holds for another minute were put off.
    next: Minute,
    /// What it will tell, until a check-in takes it.
    told: Told,
    offered: bool,
    hurt: bool,
}

/// A machine that is gone.
const NEVER: Minute = Minute::MAX;

/// Minutes after which the next check-in comes at the latest, if the machine is on: an hour and
/// a tenth.
const LONGEST_INTERVAL: Minute = 66;

impl World {
    /// Lives until `last`.
    pub fn new(
        population: Arc<Population>,
        defect: Defect,
        background: Background,
        last: Minute,
    ) -> Self {
        let mut wheel = Wheel::new(START, last);
        let mut states = Vec::with_capacity(population.machines.len());
        for (number, machine) in population.machines.iter().enumerate() {
            wheel.push(machine.first_check_in, number as u32, Due::CheckIn);
            states.push(State {
                next: machine.first_check_in,
                told: Told::NOTHING,
                offered: false,
                hurt: false,
            });
        }
        Self {
            streams: Streams::new(&population, &background),
            population,
            defect,
            background,
            wheel,
            states,
            met: Vec::new(),
            hurt: 0,
        }
    }

    /// Lives through a minute. Each check-in that reaches the server goes to `server` with what
    /// the machine tells; it answers whether it offers the version.
    pub fn minute(&mut self, now: Minute, mut server: impl FnMut(u32, Told) -> bool) {
        self.incidents(now);
        for (machine, due) in self.wheel.take(now) {
            match due {
                Due::CheckIn => self.check_in(now, machine, &mut server),
                Due::Crash => self.crash_by_patch(now, machine),
                Due::Hang => self.hang(machine),
                Due::Warning => self.warn(machine),
            }
        }
    }

    /// Whether the patch would do harm to a machine.
    pub fn is_doomed(&self, machine: u32) -> bool {
        let share = match self.defect.some_hardware {
            false => self.defect.share,
            true if self.population.machines[machine as usize].risky_hardware => {
                self.defect.share / RISKY_HARDWARE
            }
            true => return false,
        };
        fraction(self.population.seed, Draw::Doomed, machine, 0) < share
    }

    fn check_in(&mut self, now: Minute, machine: u32, server: &mut impl FnMut(u32, Told) -> bool) {
        let state = self.states[machine as usize];
        if state.next != now {
            return;
        }
        let seed = self.population.seed;
        let kind = self.population.machines[machine as usize].kind;
        if kind == Kind::BadNetwork && fraction(seed, Draw::Missed, machine, now) < 0.2 {
            return self.schedule_next(now, machine, kind);
        }
        let offers = server(machine, state.told);
        let state = &mut self.states[machine as usize];
        // Events are told once; the version in force is part of every report.
        state.told = match state.told.has(Told::UNDER_PATCH) {
            true => Told::UNDER_PATCH,
            false => Told::NOTHING,
        };
        if offers && !state.offered {
            state.offered = true;
            self.apply(now, machine);
        } else {
            self.schedule_next(now, machine, kind);
        }
    }

    fn schedule_next(&mut self, now: Minute, machine: u32, kind: Kind) {
        let seed = self.population.seed;
        let interval = between(seed, Draw::Interval, machine, now, 54, LONGEST_INTERVAL);
        let next = match kind {
            Kind::Server | Kind::BadNetwork => now + interval,
            Kind::Laptop => self.when_open(now, now + interval, machine),
        };
        self.set_next(next, machine);
    }

    /// The first time from `at` on at which a laptop is open. One check-in in ten is followed by
    /// a nap of half an hour to four hours; one day in five it stays closed.
    fn when_open(&self, now: Minute, at: Minute, machine: u32) -> Minute {
        let seed = self.population.seed;
        let laptop = &self.population.machines[machine as usize];
        let lot = bits(seed, Draw::Nap, machine, now);
        let nap = match lot % 10 {
            0 => 30 + (lot >> 32) as u32 % 210,
            _ => 0,
        };
        let at = at + nap;
        let (start, length) = (u32::from(laptop.day_start), u32::from(laptop.day_length));
        let since_opened = (at + DAY - start) % DAY;
        if since_opened < length {
            return at;
        }
        let mut opens = at - since_opened + DAY;
        while fraction(seed, Draw::DayOff, machine, opens / DAY) < 0.2 {
            opens += DAY;
        }
        opens + (lot >> 32) as u32 % 5
    }

    fn set_next(&mut self, next: Minute, machine: u32) {
        self.states[machine as usize].next = next;
        self.wheel.push(next, machine, Due::CheckIn);
    }

    /// The machine fetches and applies the version, and checks in again when it is done.
    fn apply(&mut self, now: Minute, machine: u32) {
        let seed = self.population.seed;
        let told = self.outcome(machine);
        let took = match told.has(Told::TRANSITION_STALLED) {
            // The deadline of a transition is five minutes.
            true => 6,
            false => between(seed, Draw::ApplyTime, machine, 0, 2, 4),
        };
        self.set_next(now + took, machine);
        let state = &mut self.states[machine as usize];
        state.told = state.told.and(told);
        if told.has(Told::APPLY_FAILED) {
            let by_patch = self.defect.effect == Effect::ApplyFailure && self.is_doomed(machine);
            if by_patch {
                self.hurt(machine);
            }
        } else if self.is_doomed(machine) {
            self.schedule_harm(now, machine);
        }
    }

    fn outcome(&self, machine: u32) -> Told {
        let seed = self.population.seed;
        let refused = self.defect.effect == Effect::ApplyFailure && self.is_doomed(machine);
        if refused || fraction(seed, Draw::FailsAnyway, machine, 0) < self.background.apply_failures
        {
            return Told::APPLY_FAILED;
        }
        if fraction(seed, Draw::StallsAnyway, machine, 0) < self.background.stalls {
            return Told::TRANSITION_STALLED;
        }
        Told::TRANSITION_FINISHED.and(Told::UNDER_PATCH)
    }

    fn schedule_harm(&mut self, now: Minute, machine: u32) {
        let seed = self.population.seed;
        let after = |mean| waiting(seed, Draw::Delay, machine, 0, mean) as Minute;
        let (due, at) = match self.defect.effect {
            Effect::None | Effect::ApplyFailure => return,
            Effect::TransitionCrash | Effect::Crash(Delay::AtOnce) => (Due::Crash, now + 1),
            Effect::Crash(Delay::Minutes) => (Due::Crash, now + 2 + after(15.0)),
            Effect::Crash(Delay::Hours) => (Due::Crash, now + 2 + after(240.0)),
            Effect::SilentDeath => (Due::Hang, now + 1 + after(30.0)),
            Effect::Warning => (Due::Warning, now + 2 + after(60.0)),
        };
        self.wheel.push(at, machine, due);
    }

    fn crash_by_patch(&mut self, now: Minute, machine: u32) {
        let next = self.states[machine as usize].next;
        if next == NEVER {
            return;
        }
        // One that is off crashes when it is on again.
        if !self.is_on(now, machine) {
            return self.wheel.push(next + 1, machine, Due::Crash);
        }
        self.hurt(machine);
        let state = &mut self.states[machine as usize];
        // The version is quarantined there; what the agent had not seen yet is never told.
        state.told = state
            .told
            .without(Told::UNDER_PATCH)
            .without(Told::TRANSITION_FINISHED);
        self.go_down(now, machine);
    }

    fn hang(&mut self, machine: u32) {
        let state = &mut self.states[machine as usize];
        if state.next != NEVER {
            state.next = NEVER;
            self.hurt(machine);
        }
    }

    fn warn(&mut self, machine: u32) {
        let state = &mut self.states[machine as usize];
        if state.next != NEVER {
            state.told = state.told.and(Told::PATCH_TROUBLE);
            self.hurt(machine);
        }
    }

    fn hurt(&mut self, machine: u32) {
        let state = &mut self.states[machine as usize];
        self.hurt += u64::from(!state.hurt);
        state.hurt = true;
    }

    /// Goes down uncleanly and comes back within two to ten minutes.
    fn go_down(&mut self, now: Minute, machine: u32) {
        let state = &mut self.states[machine as usize];
        state.told = state.told.and(Told::UNCLEAN_RESTART);
        let away = between(self.population.seed, Draw::Return, machine, now, 2, 10);
        self.set_next(now + away, machine);
    }

    /// Whether a machine runs and has its network: its next check-in is not further away than
    /// the interval lets it be.
    fn is_on(&self, now: Minute, machine: u32) -> bool {
        self.states[machine as usize].next <= now + LONGEST_INTERVAL
    }

    fn incidents(&mut self, now: Minute) {
        let population = self.population.clone();
        let mut met = std::mem::take(&mut self.met);
        self.streams.minute(&population, now, &mut met);
        for (machine, incident) in met.drain(..) {
            if self.is_on(now, machine) {
                self.meet(now, machine, incident);
            }
        }
        self.met = met;
        if let Some(account) = self.streams.power_cut(now) {
            let account = &population.accounts[account as usize];
            for machine in account.first..account.first + account.machines {
                if self.is_on(now, machine) {
                    self.go_down(now, machine);
                }
            }
        }
    }

    fn meet(&mut self, now: Minute, machine: u32, incident: Incident) {
        let seed = self.population.seed;
        match incident {
            Incident::UncleanRestart => self.go_down(now, machine),
            Incident::PlannedReboot => self.set_next(now + 3, machine),
            Incident::Farewell => self.states[machine as usize].next = NEVER,
            Incident::KernelTrouble => {
                let state = &mut self.states[machine as usize];
                state.told = state.told.and(Told::KERNEL_TROUBLE);
            }
            Incident::Outage => {
                let away = waiting(seed, Draw::Outage, machine, now, OUTAGE_MEAN);
                self.set_next(now + HOUR + away as Minute, machine);
            }
        }
    }
}
