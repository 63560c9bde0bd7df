//! What the agent's two processes give up before they do anything.
//!
//! | | daemon | keeper |
//! |---|---|---|
//! | user | `livepatch`, where the machine has it | root |
//! | capabilities | none | those that loading and explaining need |
//! | files (Landlock) | writes its two folders alone, runs nothing | as the unit says |
//! | system calls (seccomp) | files, network, threads | files, modules; no network |
//!
//! The keeper has no Landlock rules: with them the kernel would not let it read the stacks of
//! tasks outside of its own domain (source: the kernel's Landlock documentation, "Ptrace
//! restrictions").

mod calls;
mod files;
mod owner;
mod user;

use std::fmt;

use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::failure::Failure;
use crate::paths::Paths;

pub use owner::hand_over;
pub use user::ServiceUser;

/// Loading modules; reading any task's `patch_state` and `stack`; opening the kernel's log; and
/// ending the daemon, which is another user's.
const KEEPER: CapabilitySet = CapabilitySet::SYS_MODULE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::SYS_ADMIN)
    .union(CapabilitySet::SYSLOG)
    .union(CapabilitySet::KILL);

/// What holds the daemon; told in its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    pub user: Option<ServiceUser>,
    pub files: files::Enforced,
}

impl fmt::Display for Confinement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.user {
            Some(user) => write!(formatter, "user {}", user.uid)?,
            None => write!(
                formatter,
                "no user of its own (`{}` is not there)",
                user::NAME
            )?,
        }
        write!(formatter, ", no capabilities, seccomp, {}", self.files)
    }
}

/// For the daemon, before it has a second thread. Whoever can't be confined doesn't start: with
/// root's rights it must not read what comes from the network.
pub fn confine_daemon(paths: &Paths) -> Result<Confinement, Failure> {
    let user = ServiceUser::find(paths)?;
    if let Some(user) = user.filter(|_| rustix::process::geteuid().is_root()) {
        user.become_it()
            .map_err(|error| cannot("become the user `livepatch`", &error))?;
    }
    drop_capabilities(CapabilitySet::empty())
        .map_err(|error| cannot("drop capabilities", &error))?;
    stay_small().map_err(|error| cannot("be confined", &error))?;
    // The keeper is what ends with the service; what is left of it would be alone.
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| cannot("follow the keeper", &error.into()))?;
    let files = files::confine(&[paths.state_dir(), paths.run_dir()])
        .map_err(|error| Failure::from_error(&error))?;
    calls::confine_daemon().map_err(|error| Failure::from_error(&error))?;
    Ok(Confinement { user, files })
}

/// For the keeper, once the daemon is started and before there is a second thread.
pub fn confine_keeper() -> Result<(), Failure> {
    drop_capabilities(KEEPER).map_err(|error| cannot("drop capabilities", &error))?;
    stay_small().map_err(|error| cannot("be confined", &error))?;
    calls::confine_keeper().map_err(|error| Failure::from_error(&error))
}

/// No program gives rights back, and no other process of the same user looks inside.
fn stay_small() -> std::io::Result<()> {
    rustix::thread::set_no_new_privs(true)?;
    Ok(rustix::process::set_dumpable_behavior(
        DumpableBehavior::NotDumpable,
    )?)
}

/// Keeps those of `kept` that are there.
fn drop_capabilities(kept: CapabilitySet) -> std::io::Result<()> {
    let now = rustix::thread::capabilities(None)?;
    Ok(rustix::thread::set_capabilities(
        None,
        CapabilitySets {
            effective: now.effective & kept,
            permitted: now.permitted & kept,
            inheritable: CapabilitySet::empty(),
        },
    )?)
}

fn cannot(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(format!("the agent cannot {what}"))
        .because(error.to_string())
        .hint("does the unit allow it? compare it with the package's: `systemctl cat livepatchd`")
}
