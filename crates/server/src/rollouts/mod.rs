//! Carries rollouts out: makes them, looks at them, records what was decided.

mod executor;
mod look;
mod missing;

pub use executor::Executor;
