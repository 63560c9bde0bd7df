//! Simulated agents that speak the real protocol to a real server.
//!
//! An [`Agent`] is one machine without IO: it says what it would send and takes in what it is
//! answered. A [`Driver`] lets ten thousand of them talk to a server, over a [`Network`] that
//! may be bad, and keeps a [`Record`] of what was told and offered.

mod agent;
mod driver;
mod flaw;
mod line;
mod record;

pub use agent::{Agent, Identity, Next};
pub use driver::{Driver, Network};
pub use flaw::Flaw;
pub use line::{Line, LineError};
pub use record::{Offered, Record, ToldCrash};
