//! Carries rollouts out: makes them, looks at them, records what was decided.

mod executor;
mod lease;
mod look;
mod missing;

pub use executor::Executor;
