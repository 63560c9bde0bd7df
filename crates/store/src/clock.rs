//! Where the time comes from.

use jiff::Timestamp;

/// Tells the time. Programs take [`SystemClock`], tests a clock of their own.
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;
}

/// The computer's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one edge at which time comes in"
    )]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
