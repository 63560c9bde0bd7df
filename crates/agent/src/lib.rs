//! The machine's side: the daemon that keeps the running kernel patched, and its command line.
//!
//! What decides is pure ([`lifecycle`], [`decide`], [`schedule`]); what acts is around it.

pub mod api;
pub mod carry;
pub mod cli;
pub mod clock;
pub mod config;
pub mod coverage;
pub mod daemon;
pub mod decide;
pub mod engine;
pub mod evidence;
pub mod exit_code;
pub mod facts;
pub mod failure;
pub mod files;
pub mod http;
pub mod idle;
pub mod kernel_log;
pub mod kernel_packages;
pub mod lifecycle;
pub mod livepatch_sysfs;
pub mod mode;
pub mod module_check;
pub mod network_trouble;
mod one_at_a_time;
pub mod patches;
pub mod paths;
pub mod policy;
pub mod privileged;
pub mod regular_update;
pub mod sandbox;
pub mod schedule;
pub mod socket;
pub mod stage;
pub mod state;
pub mod status;
pub mod taint;
#[cfg(test)]
mod testing;
pub mod text;
pub mod transport;
