//! The time, read at the edge of the program and nowhere else.

use std::time::SystemTime;

use jiff::Timestamp;

#[expect(
    clippy::disallowed_methods,
    reason = "the command line is where time comes in"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command line is where time comes in"
)]
pub(crate) fn system_now() -> SystemTime {
    SystemTime::now()
}
