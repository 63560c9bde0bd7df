//! Rollouts as whoever uses this crate sees them.

mod choosing;
mod deciding;
mod drawing;
mod evidence;
mod phases;
mod plans;
mod previews;
mod support;
