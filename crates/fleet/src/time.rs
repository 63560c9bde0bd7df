//! The simulation's own clock.

use jiff::{SignedDuration, Timestamp};

/// Minutes of simulated time. Everything happens on whole minutes.
pub type Minute = u32;

pub const HOUR: Minute = 60;
pub const DAY: Minute = 24 * HOUR;

/// The minute in which every rollout starts. What came before is the past of the machines.
pub const START: Minute = 30 * DAY;

/// The time that the rollout code is given for a minute.
pub fn timestamp(minute: Minute) -> Timestamp {
    // Any date does; the sum stays far inside of a timestamp's range.
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + i64::from(minute) * 60)
}
