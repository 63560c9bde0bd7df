//! The one place that asks for the time.

use jiff::Timestamp;

/// Tells the time. Deciding code takes a [`Timestamp`] instead.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the clock at the edge")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
