//! Whole stories on this machine: a vendor's commands, a server, a virtual machine. The demo
//! tells one of them; the whole-system tests tell the others.

pub mod demo;
mod guest;
mod known_fix;
mod pick;
mod vendor;

pub use guest::{Guest, Probe};
pub use known_fix::{KNOWN_FIXES, KnownFix, PHONET, SECCOMP, SEQUENCER};
pub use pick::{Picked, lacks, pick, showing};
pub use vendor::{CommandFailed, Server, Vendor};
