//! The vendor's command line, and the scenarios that the demo and the whole-system tests share.

pub mod cli;
mod clock;
mod progress;
pub mod scenario;
