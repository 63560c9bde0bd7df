//! What a server sees: check-ins and exposures in, ticks out.
//!
//! The counting follows the definitions of [`suture_rollout::Tick`] and [`Fleet`] and nothing
//! else; it knows nothing of the simulated world.
//!
//! - A machine is *live* while its last check-in is less than `silence_secs` old.
//! - It is *exposed* from the check-in that offered it the version on. What it tells in that very
//!   check-in happened before, and counts for the control group.
//! - Each machine falls in each kind of harm at most once over both sides, and is at risk until
//!   then while it is live and was heard of since the rollout began. A machine that falls is at
//!   risk in the look in which it falls.
//! - It falls *silent* when its last check-in becomes `silence_secs` old. Only steady machines are
//!   compared: laptops that are exposed in one hour are all awake then and go to sleep together,
//!   to which nothing among the others answers.
//! - An exposed machine is at risk of silence from two thirds of `silence_secs` after its exposure
//!   on: one check-in interval before it can fall first. Were it at risk only from then on, the
//!   falls of a wave that just came in would run ahead of what is expected of it, since silence
//!   comes in beats of that interval; were it at risk at once, the many new machines of each wave,
//!   which can't fall yet, would hide the falls of the waves before.
//! - It is *steady* if it was not silent in the [`Stratum::STEADY_SECS`] before its last check-in.
//!   From its exposure on, it keeps the stratum that it had then.

use jiff::Timestamp;
use suture_rollout::{Applications, Comparison, Fleet, Harm, Plan, Stratum, Tick};

/// What a machine tells at a check-in, as a set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told(u8);

impl Told {
    pub const NOTHING: Self = Self(0);
    /// It was started again, and had not gone down in a regular way.
    pub const UNCLEAN_RESTART: Self = Self(1);
    pub const KERNEL_TROUBLE: Self = Self(2);
    /// Kernel trouble that names the patch.
    pub const PATCH_TROUBLE: Self = Self(4);
    pub const TRANSITION_FINISHED: Self = Self(8);
    pub const APPLY_FAILED: Self = Self(16);
    pub const TRANSITION_STALLED: Self = Self(32);
    /// The version is in force now; not an event but part of each report.
    pub const UNDER_PATCH: Self = Self(64);

    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// What is known of a machine when the rollout starts. Times are in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Enrolment {
    pub paid: bool,
    /// Member of the early group.
    pub early: bool,
    pub last_check_in: u32,
    /// When its last silence ended; 0: never silent, or long ago.
    pub silence_end: u32,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    last_check_in: u32,
    silence_end: u32,
    exposed_at: u32,
    flags: u16,
}

const PAID: u16 = 1;
const STEADY: u16 = 1 << 1;
const EARLY: u16 = 1 << 2;
const LIVE: u16 = 1 << 3;
const EXPOSED: u16 = 1 << 4;
/// Exposed for at least `signal_secs`.
const DUE: u16 = 1 << 5;
/// Heard of since the rollout began.
const KNOWN: u16 = 1 << 6;
/// Exposed for at least two thirds of `silence_secs`.
const SILENCE_DUE: u16 = 1 << 14;
/// Due, live, and heard of after its exposure.
const HEARD: u16 = 1 << 7;
const UNDER_PATCH: u16 = 1 << 8;
const TOLD_PATCH_TROUBLE: u16 = 1 << 9;
const APPLICATION_ENDED: u16 = 1 << 10;
/// Fell in the first, second, third harm of [`Harm::COMPARED`].
const FELL: [u16; 3] = [1 << 11, 1 << 12, 1 << 13];

const CRASH: usize = 0;
const SILENCE: usize = 1;
const TROUBLE: usize = 2;

/// At risk now and fallen since the last look, for one harm and stratum; control and exposed.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    at_risk: [u64; 2],
    fell: [u64; 2],
}

/// Counts what comes in, for one rollout. All times are in seconds and must not go back.
#[derive(Debug, Clone)]
pub struct Observer {
    signal_secs: u32,
    silence_secs: u32,
    rows: Vec<Row>,
    cells: [[Cell; 4]; 3],
    /// Machines whose silence is to be looked at, by minute of the check-in seen then.
    silence_wheel: Vec<Vec<u32>>,
    /// The next minute of the wheel to be looked at.
    silence_minute: u32,
    /// In the order of exposure.
    exposures: Vec<u32>,
    /// How many of them are due, and at risk of silence.
    due: usize,
    silence_due: usize,
    applications: Applications,
    patch_trouble: u64,
    under_patch: u64,
    heard: u64,
    live_control: u64,
    early: u64,
    looked_at: u32,
}

impl Observer {
    /// Begins to look at `now`.
    pub fn new(plan: &Plan, now: u32) -> Self {
        let seconds = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let silence_secs = seconds(plan.silence_secs);
        Self {
            signal_secs: seconds(plan.signal_secs),
            silence_secs,
            rows: Vec::new(),
            cells: Default::default(),
            silence_wheel: vec![Vec::new(); silence_secs.div_ceil(60) as usize + 2],
            silence_minute: now / 60,
            exposures: Vec::new(),
            due: 0,
            silence_due: 0,
            applications: Applications::default(),
            patch_trouble: 0,
            under_patch: 0,
            heard: 0,
            live_control: 0,
            early: 0,
            looked_at: now,
        }
    }

    /// Adds a machine; they are numbered from 0.
    pub fn enrol(&mut self, machine: Enrolment) {
        let number = self.rows.len() as u32;
        let bit = |is: bool, flag: u16| if is { flag } else { 0 };
        self.rows.push(Row {
            last_check_in: machine.last_check_in,
            silence_end: machine.silence_end,
            exposed_at: 0,
            flags: bit(machine.paid, PAID) | bit(machine.early, EARLY),
        });
        self.settle_stratum(number);
        if machine.last_check_in + self.silence_secs > self.looked_at {
            self.wake(number);
        }
    }

    /// A machine checks in. Whether the answer exposes it is told by [`Observer::expose`].
    pub fn check_in(&mut self, machine: u32, told: Told, now: u32) {
        self.pass_time(now);
        let row = &mut self.rows[machine as usize];
        row.last_check_in = now;
        if row.flags & KNOWN == 0 {
            self.change(machine, KNOWN);
        }
        let row = &mut self.rows[machine as usize];
        if row.flags & LIVE == 0 {
            row.silence_end = now;
            self.settle_stratum(machine);
            self.wake(machine);
        } else if row.flags & (STEADY | EXPOSED) == 0 {
            self.settle_stratum(machine);
        }
        let row = &mut self.rows[machine as usize];
        if row.flags & (DUE | HEARD) == DUE {
            row.flags |= HEARD;
            self.heard += 1;
        }
        if told != Told::NOTHING || row.flags & UNDER_PATCH != 0 {
            self.take(machine, told);
        }
    }

    /// The check-in's answer was the version, for the first time.
    pub fn expose(&mut self, machine: u32, now: u32) {
        let row = self.rows[machine as usize];
        if row.flags & EXPOSED != 0 {
            return;
        }
        self.change(machine, EXPOSED);
        self.rows[machine as usize].exposed_at = now;
        self.exposures.push(machine);
    }

    pub fn is_exposed(&self, machine: u32) -> bool {
        self.rows[machine as usize].flags & EXPOSED != 0
    }

    pub fn exposed(&self) -> u64 {
        self.exposures.len() as u64
    }

    /// Of the machines heard of since `since`: how many there are, and how many were exposed.
    pub fn reached(&self, since: u32) -> (u64, u64) {
        let heard = self.rows.iter().filter(|row| row.last_check_in >= since);
        heard.fold((0, 0), |(all, exposed), row| {
            (all + 1, exposed + u64::from(row.flags & EXPOSED != 0))
        })
    }

    /// Counts what came in since the last look.
    pub fn look(&mut self, now: u32, at: Timestamp) -> (Tick, Fleet) {
        self.pass_time(now);
        let tick = Tick {
            at,
            elapsed_secs: f64::from(now - self.looked_at),
            compared: self.comparisons(),
            applications: std::mem::take(&mut self.applications),
            patch_trouble: std::mem::take(&mut self.patch_trouble),
            under_patch: self.under_patch,
        };
        self.looked_at = now;
        let fleet = Fleet {
            population: self.live_control + self.exposed(),
            early: self.early,
            exposed: self.exposed(),
            due: self.due as u64,
            heard: self.heard,
            applied: self.under_patch,
        };
        (tick, fleet)
    }

    fn comparisons(&mut self) -> Vec<Comparison> {
        let mut rows = Vec::with_capacity(12);
        for (harm, strata) in Harm::COMPARED.into_iter().zip(&mut self.cells) {
            for (stratum, cell) in Stratum::ALL.into_iter().zip(strata) {
                let [control_fell, exposed_fell] = std::mem::take(&mut cell.fell);
                let [control, exposed] = cell.at_risk;
                let row = Comparison {
                    harm,
                    stratum,
                    exposed_at_risk: exposed + exposed_fell,
                    control_at_risk: control + control_fell,
                    exposed_fell,
                    control_fell,
                };
                if row.exposed_at_risk + row.control_at_risk > 0 {
                    rows.push(row);
                }
            }
        }
        rows
    }

    /// What a machine told, apart from being there.
    fn take(&mut self, machine: u32, told: Told) {
        if told.has(Told::UNCLEAN_RESTART) {
            self.fall(machine, CRASH);
        }
        if told.has(Told::KERNEL_TROUBLE) {
            self.fall(machine, TROUBLE);
        }
        let row = &mut self.rows[machine as usize];
        if told.has(Told::PATCH_TROUBLE) && row.flags & TOLD_PATCH_TROUBLE == 0 {
            row.flags |= TOLD_PATCH_TROUBLE;
            self.patch_trouble += 1;
        }
        let ended = Told::TRANSITION_FINISHED
            .and(Told::APPLY_FAILED)
            .and(Told::TRANSITION_STALLED);
        if told.has(ended) && row.flags & APPLICATION_ENDED == 0 {
            row.flags |= APPLICATION_ENDED;
            let count = &mut self.applications;
            count.finished += u64::from(told.has(Told::TRANSITION_FINISHED));
            count.failed += u64::from(told.has(Told::APPLY_FAILED));
            count.stalled += u64::from(told.has(Told::TRANSITION_STALLED));
        }
        let was = row.flags & UNDER_PATCH != 0;
        if told.has(Told::UNDER_PATCH) != was {
            row.flags ^= UNDER_PATCH;
            self.under_patch = if was {
                self.under_patch - 1
            } else {
                self.under_patch + 1
            };
        }
    }

    fn fall(&mut self, machine: u32, harm: usize) {
        let row = &mut self.rows[machine as usize];
        let is_compared = harm != SILENCE || row.flags & STEADY != 0;
        if row.flags & KNOWN == 0 || row.flags & FELL[harm] != 0 || !is_compared {
            return;
        }
        let cell = &mut self.cells[harm][stratum(row.flags)];
        let side = side(row.flags);
        if is_at_risk(row.flags, harm) {
            cell.at_risk[side] -= 1;
        }
        cell.fell[side] += 1;
        row.flags |= FELL[harm];
    }

    /// A machine that is not exposed belongs to the stratum of its last check-in.
    fn settle_stratum(&mut self, machine: u32) {
        let row = self.rows[machine as usize];
        let steady_secs = Stratum::STEADY_SECS as u32;
        let is_steady = row.silence_end == 0 || row.last_check_in >= row.silence_end + steady_secs;
        if row.flags & EXPOSED != 0 || (row.flags & STEADY != 0) == is_steady {
            return;
        }
        self.change(machine, STEADY);
    }

    /// Turns flags over, and keeps the counts.
    fn change(&mut self, machine: u32, flags: u16) {
        self.recount(machine, u64::wrapping_sub);
        self.rows[machine as usize].flags ^= flags;
        self.recount(machine, u64::wrapping_add);
    }

    /// A machine is heard of that was not live.
    fn wake(&mut self, machine: u32) {
        self.change(machine, LIVE);
        self.watch(machine);
    }

    /// Takes a machine out of the counts that depend on its flags, or into them.
    fn recount(&mut self, machine: u32, apply: fn(u64, u64) -> u64) {
        let flags = self.rows[machine as usize].flags;
        for harm in [CRASH, SILENCE, TROUBLE] {
            if is_at_risk(flags, harm) {
                let count = &mut self.cells[harm][stratum(flags)].at_risk[side(flags)];
                *count = apply(*count, 1);
            }
        }
        let (is_live, is_exposed) = (flags & LIVE != 0, flags & EXPOSED != 0);
        if is_live && !is_exposed {
            self.live_control = apply(self.live_control, 1);
        }
        if flags & EARLY != 0 && (is_live || is_exposed) {
            self.early = apply(self.early, 1);
        }
    }

    /// Sees to it that the machine is looked at when its last check-in gets too old.
    fn watch(&mut self, machine: u32) {
        let silent_at = self.rows[machine as usize].last_check_in + self.silence_secs;
        let minute = silent_at.div_ceil(60).max(self.silence_minute);
        let place = minute as usize % self.silence_wheel.len();
        self.silence_wheel[place].push(machine);
    }

    fn pass_time(&mut self, now: u32) {
        while self.silence_minute <= now / 60 {
            let place = self.silence_minute as usize % self.silence_wheel.len();
            let at = self.silence_minute * 60;
            self.silence_minute += 1;
            for machine in std::mem::take(&mut self.silence_wheel[place]) {
                self.check_silence(machine, at);
            }
        }
        while let Some(machine) = self.next_due(self.due, self.signal_secs, now) {
            self.due += 1;
            let row = &mut self.rows[machine as usize];
            row.flags |= DUE;
            if row.flags & LIVE != 0 && row.last_check_in > row.exposed_at {
                row.flags |= HEARD;
                self.heard += 1;
            }
        }
        while let Some(machine) = self.next_due(self.silence_due, self.silence_secs / 3 * 2, now) {
            self.silence_due += 1;
            self.change(machine, SILENCE_DUE);
        }
    }

    fn next_due(&self, place: usize, after_secs: u32, now: u32) -> Option<u32> {
        let machine = *self.exposures.get(place)?;
        let exposed_at = self.rows[machine as usize].exposed_at;
        (exposed_at + after_secs <= now).then_some(machine)
    }

    fn check_silence(&mut self, machine: u32, at: u32) {
        let row = self.rows[machine as usize];
        if row.last_check_in + self.silence_secs > at {
            self.watch(machine);
            return;
        }
        self.fall(machine, SILENCE);
        self.change(machine, LIVE);
        let row = &mut self.rows[machine as usize];
        if row.flags & HEARD != 0 {
            row.flags &= !HEARD;
            self.heard -= 1;
        }
    }
}

fn is_at_risk(flags: u16, harm: usize) -> bool {
    let is_silence_due = flags & EXPOSED == 0 || flags & SILENCE_DUE != 0;
    let is_compared = harm != SILENCE || flags & STEADY != 0 && is_silence_due;
    flags & (LIVE | KNOWN) == LIVE | KNOWN && flags & FELL[harm] == 0 && is_compared
}

fn side(flags: u16) -> usize {
    usize::from(flags & EXPOSED != 0)
}

/// Position in [`Stratum::ALL`].
fn stratum(flags: u16) -> usize {
    usize::from(flags & PAID != 0) * 2 + usize::from(flags & STEADY != 0)
}
