//! Who is in the fleet, as it is when a rollout starts.

use crate::chance::{Draw, between, bits, fraction};
use crate::time::{DAY, HOUR, Minute, START};

/// How a machine lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Always on.
    Server,
    /// Off at night and now and then by day.
    Laptop,
    /// Always on, on a network that loses a fifth of the check-ins and goes away at times.
    BadNetwork,
}

/// What is fixed about a machine.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    pub account: u32,
    pub kind: Kind,
    /// Has the hardware on which some defects show.
    pub risky_hardware: bool,
    /// Minute of the day at which a laptop is opened, and minutes that it stays so.
    pub day_start: u16,
    pub day_length: u16,
    /// Minute of the first check-in of the simulation.
    pub first_check_in: Minute,
    /// Minute of the last one before.
    pub last_check_in: Minute,
    /// When the last silence of more than three hours ended; 0: long ago.
    pub silence_end: Minute,
}

#[derive(Debug, Clone)]
pub struct Account {
    pub paid: bool,
    /// Its machines are those from here.
    pub first: u32,
    pub machines: u32,
}

/// Accounts and their machines.
#[derive(Debug)]
pub struct Population {
    pub seed: u64,
    pub accounts: Vec<Account>,
    pub machines: Vec<Machine>,
}

/// Share of machines with the hardware on which some defects show. Whole accounts tend to have
/// it, as they buy the same machines.
pub const RISKY_HARDWARE: f64 = 0.2;

/// Share of machines that belong to accounts which pay.
const PAID_SHARE: f64 = 0.4;

impl Population {
    /// `machines` machines and the accounts that they belong to: one to three for a free account,
    /// from five up with a long tail for one that pays (Pareto with exponent 1.1, at most 2% of
    /// the fleet).
    pub fn new(seed: u64, machines: u32) -> Self {
        let mut accounts = Vec::new();
        let mut first = 0;
        let paid_until = (f64::from(machines) * PAID_SHARE) as u32;
        while first < machines {
            let number = accounts.len() as u32;
            let paid = first < paid_until;
            let limit = if paid { paid_until } else { machines } - first;
            let machines = size(seed, number, paid, machines).min(limit);
            accounts.push(Account {
                paid,
                first,
                machines,
            });
            first += machines;
        }
        let machines = accounts
            .iter()
            .enumerate()
            .flat_map(|(number, account)| {
                (account.first..account.first + account.machines)
                    .map(move |machine| make(seed, number as u32, account.paid, machine))
            })
            .collect();
        Self {
            seed,
            accounts,
            machines,
        }
    }

    pub fn len(&self) -> u32 {
        self.machines.len() as u32
    }

    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    pub fn is_paid(&self, machine: u32) -> bool {
        let account = self.machines[machine as usize].account;
        self.accounts[account as usize].paid
    }
}

fn size(seed: u64, account: u32, paid: bool, fleet: u32) -> u32 {
    let lot = fraction(seed, Draw::Account, account, 0);
    if paid {
        let largest = f64::from(fleet) * 0.02;
        let size = 5.0 / (1.0 - lot).powf(1.0 / 1.1);
        return size.min(largest).max(5.0) as u32;
    }
    match lot {
        lot if lot < 0.6 => 1,
        lot if lot < 0.85 => 2,
        _ => 3,
    }
}

fn make(seed: u64, account: u32, paid: bool, number: u32) -> Machine {
    let kind = kind(seed, paid, number);
    let hardware_of_account = fraction(seed, Draw::Hardware, account, 0) < 0.3;
    let risky_hardware =
        hardware_of_account && fraction(seed, Draw::Hardware, number, 1) < RISKY_HARDWARE / 0.3;
    let phase = between(seed, Draw::Phase, number, 0, 0, HOUR - 1);
    let mut machine = Machine {
        account,
        kind,
        risky_hardware,
        day_start: 0,
        day_length: 0,
        first_check_in: START + phase,
        last_check_in: START + phase - HOUR,
        silence_end: 0,
    };
    match kind {
        Kind::Server => past_silence(seed, number, 0.05, &mut machine),
        Kind::BadNetwork => past_silence(seed, number, 0.6, &mut machine),
        Kind::Laptop => set_up_laptop(seed, number, phase, &mut machine),
    }
    machine
}

fn kind(seed: u64, paid: bool, number: u32) -> Kind {
    let (laptops, bad_networks) = if paid { (0.10, 0.05) } else { (0.35, 0.10) };
    match fraction(seed, Draw::Kind, number, 0) {
        lot if lot < laptops => Kind::Laptop,
        lot if lot < laptops + bad_networks => Kind::BadNetwork,
        _ => Kind::Server,
    }
}

/// A share of the machines was silent within the last three days.
fn past_silence(seed: u64, number: u32, share: f64, machine: &mut Machine) {
    if fraction(seed, Draw::Silence, number, 0) < share {
        let ago = between(seed, Draw::Silence, number, 1, HOUR, 3 * DAY);
        machine.silence_end = START - ago;
    }
}

/// Three parts of the world, with the days that begin there between seven and eleven o'clock.
fn set_up_laptop(seed: u64, number: u32, phase: u32, machine: &mut Machine) {
    let zone = match bits(seed, Draw::DayStart, number, 0) % 100 {
        0..45 => 0,
        45..75 => 8 * HOUR,
        _ => 16 * HOUR,
    };
    let opened = between(seed, Draw::DayStart, number, 1, 7 * HOUR, 11 * HOUR);
    // The hour at which the rollout starts is one of chance, too.
    let start = between(seed, Draw::DayStart, u32::MAX, 2, 0, DAY - 1);
    machine.day_start = ((opened + zone + start) % DAY) as u16;
    machine.day_length = between(seed, Draw::DayLength, number, 0, 8 * HOUR, 15 * HOUR) as u16;
    let since_opened = (START + DAY - u32::from(machine.day_start)) % DAY;
    let length = u32::from(machine.day_length);
    machine.silence_end = START - since_opened;
    if since_opened < length {
        return;
    }
    machine.last_check_in = START - (since_opened - length) - phase;
    machine.first_check_in = START - since_opened + DAY + phase % 5;
}
