//! Chance that is the same for every policy.
//!
//! What happens to a machine is a function of the world's seed, the machine and the occasion, and
//! not of the order in which a run asks. So two policies meet the same machines, with the same
//! luck, for as long as they treat them the same.

/// What a draw is about; draws of different kinds are independent.
#[derive(Debug, Clone, Copy)]
#[repr(u64)]
pub enum Draw {
    Account = 1,
    Kind,
    Hardware,
    Phase,
    DayStart,
    DayLength,
    Silence,
    Interval,
    Missed,
    Nap,
    DayOff,
    Doomed,
    Delay,
    FailsAnyway,
    StallsAnyway,
    ApplyTime,
    Return,
    HostSeed,
    Outage,
}

/// 64 random bits (the finaliser of SplitMix64: Steele, Lea, Flood 2014).
pub fn bits(seed: u64, draw: Draw, machine: u32, occasion: u32) -> u64 {
    let place = u64::from(machine) << 32 | u64::from(occasion);
    let mut z = seed
        .wrapping_add((draw as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_add(place.wrapping_mul(0xD1B5_4A32_D192_ED03));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// From 0 to less than 1.
pub fn fraction(seed: u64, draw: Draw, machine: u32, occasion: u32) -> f64 {
    (bits(seed, draw, machine, occasion) >> 11) as f64 / (1_u64 << 53) as f64
}

/// A whole number from `low` to `high`, both included.
pub fn between(seed: u64, draw: Draw, machine: u32, occasion: u32, low: u32, high: u32) -> u32 {
    let wide = u128::from(bits(seed, draw, machine, occasion)) * u128::from(high - low + 1);
    low + (wide >> 64) as u32
}

/// A waiting time with this mean (exponential).
pub fn waiting(seed: u64, draw: Draw, machine: u32, occasion: u32, mean: f64) -> f64 {
    -mean * (1.0 - fraction(seed, draw, machine, occasion)).ln()
}
