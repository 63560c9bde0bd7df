//! What is to happen, by minute.

use crate::time::Minute;

/// What is to happen to a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Its next check-in, if it was not put off since.
    CheckIn,
    /// The patch brings it down.
    Crash,
    /// The patch hangs it for good.
    Hang,
    /// The patch makes its kernel print a warning.
    Warning,
}

/// Buckets of one minute each, up to a last minute; what comes later never happens.
#[derive(Debug, Clone)]
pub struct Wheel {
    first: Minute,
    /// Machine in the low 28 bits, kind above.
    buckets: Vec<Vec<u32>>,
}

const KIND_SHIFT: u32 = 28;
const MACHINE: u32 = (1 << KIND_SHIFT) - 1;

impl Wheel {
    pub fn new(first: Minute, last: Minute) -> Self {
        Self {
            first,
            buckets: vec![Vec::new(); (last - first + 1) as usize],
        }
    }

    pub fn push(&mut self, at: Minute, machine: u32, due: Due) {
        if let Some(bucket) = self.buckets.get_mut((at - self.first) as usize) {
            bucket.push((due as u32) << KIND_SHIFT | machine);
        }
    }

    /// Takes out all that is due in a minute.
    pub fn take(&mut self, at: Minute) -> impl Iterator<Item = (u32, Due)> + use<> {
        let bucket = self
            .buckets
            .get_mut((at - self.first) as usize)
            .map(std::mem::take)
            .unwrap_or_default();
        bucket.into_iter().map(|entry| {
            let due = match entry >> KIND_SHIFT {
                0 => Due::CheckIn,
                1 => Due::Crash,
                2 => Due::Hang,
                _ => Due::Warning,
            };
            (entry & MACHINE, due)
        })
    }
}
