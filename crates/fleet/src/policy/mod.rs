//! Who may be offered the version, and what stops it.

mod brake;
mod field;
mod pace;
mod suture;

use std::sync::Arc;

use suture_rollout::{Fleet, Tick};

pub use brake::Brake;
pub use field::Field;
pub use pace::Pace;
pub use suture::Suture;

use crate::lottery::Lottery;
use crate::population::Population;
use crate::time::Minute;

/// A way to bring a version to a fleet. It sees what a server sees and nothing else.
pub trait Policy: Send {
    fn name(&self) -> String;

    /// Whether a machine that asks now, and was not offered the version before, is offered it.
    /// `exposed` machines were.
    fn admits(&self, machine: u32, exposed: u64) -> bool;

    /// What came in since the last look.
    fn look(&mut self, now: Minute, tick: &Tick, fleet: Fleet);

    /// When it stopped for good, and why.
    fn stopped(&self) -> Option<(Minute, String)>;

    /// Machines that may be exposed at most until the next look, if there is a bound.
    fn cap(&self) -> Option<u64> {
        None
    }
}

/// What policies need of the fleet that they serve.
#[derive(Debug, Clone)]
pub struct Served {
    pub population: Arc<Population>,
    pub lottery: Arc<Lottery>,
}
