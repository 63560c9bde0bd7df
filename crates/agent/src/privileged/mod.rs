//! What needs root, kept apart from all the rest.
//!
//! ```text
//!  keeper (root)  ◄── one question at a time, over a socket pair ──►  daemon (user `livepatch`)
//!  proves and loads modules, reads                                    network, parsing, state,
//!  other tasks' stacks and the firmware's id, writes `enabled`        journal, control socket
//! ```
//!
//! The keeper does not believe the daemon: it takes a version's number from it and nothing else.
//! What it loads it reads itself, and proves from the trusted root on, which only root can change.
//! A daemon that is taken over can hold patches back, or have an older signed patch for this very
//! kernel loaded after a restart; it can't have anything else loaded.

mod host;
mod keeper;
mod message;
mod remote;

use std::fs::File;
use std::io;

use suture_advisory::PatchVersion;
use suture_protocol::HardwareId;
use thiserror::Error;

use crate::failure::Failure;
use crate::livepatch_sysfs::{Side, Task};

pub use host::{HostKernel, explain};
pub use keeper::run;
pub use remote::RemoteKernel;

/// The running kernel, as far as only root may ask or tell it something.
pub trait Privileged: Send + Sync {
    /// Loads the module of a version that is in the cache, once it is proven anew.
    fn load(&self, version: PatchVersion) -> Result<(), LoadError>;

    /// Takes the module out; the kernel refuses while anything uses it.
    fn unload(&self, version: PatchVersion) -> io::Result<()>;

    /// See [`crate::livepatch_sysfs::reverse`].
    fn reverse(&self, version: PatchVersion) -> io::Result<()>;

    /// See [`crate::livepatch_sysfs::nudge`].
    fn nudge(&self, version: PatchVersion) -> io::Result<bool>;

    /// The tasks that are on this side of the transition to `version`. Those that can't be read
    /// are left out.
    fn tasks(&self, version: PatchVersion, side: Side) -> Vec<Task>;

    /// What the firmware calls this machine, if it calls it anything.
    fn hardware(&self) -> Option<HardwareId>;

    /// The kernel's messages, open for reading without blocking.
    fn kernel_log(&self) -> io::Result<File>;
}

/// Why a module is not in the kernel.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The kernel was asked and refused.
    #[error("the kernel refused the module")]
    Kernel(#[source] io::Error),
    /// The kernel was not asked.
    #[error("{}", .0.message)]
    Refused(Failure),
}
