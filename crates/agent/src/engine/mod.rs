//! The agent's work, apart from who asks for it: the daemon's clock or a command.

mod apply;
mod check_in;
mod enrol;
mod memory;
mod refresh;
mod report;
mod start;
#[cfg(test)]
mod tests;
mod witness;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::facts::MachineFacts;
use crate::failure::Failure;
use crate::livepatch_sysfs::Running;
use crate::module_loader::ModuleLoader;
use crate::paths::Paths;
use crate::state::StateDir;

use memory::Memory;
use report::ManifestCache;

pub use refresh::Refreshed;

/// How long a transition is waited for before it is reported as stalled (default: 300 s). It
/// goes on after that: forcing it is never safe.
pub const TRANSITION_TIMEOUT: Duration = Duration::from_secs(300);

/// One machine's agent.
pub struct Engine {
    paths: Paths,
    dir: StateDir,
    facts: MachineFacts,
    memory: Memory,
    manifests: ManifestCache,
    loader: Arc<dyn ModuleLoader>,
    clock: Arc<dyn Clock>,
    transition_timeout: Duration,
    /// Held by whoever enables, disables, refreshes or applies.
    operation: tokio::sync::Mutex<()>,
    stopping: AtomicBool,
    /// Harm was noted, of which the server should hear soon.
    harm: tokio::sync::Notify,
}

impl Engine {
    /// Reads what the machine is and what was kept; loads nothing.
    pub fn open(
        paths: Paths,
        loader: Arc<dyn ModuleLoader>,
        clock: Arc<dyn Clock>,
        transition_timeout: Duration,
    ) -> Result<Self, Failure> {
        let facts = MachineFacts::read(&paths).map_err(|error| Failure::from_error(&error))?;
        let dir = StateDir::open(paths.state_dir()).map_err(|error| {
            Failure::from_error(&error)
                .hint("the daemon runs as root; see `systemctl status livepatchd`")
        })?;
        let memory = Memory::read(&dir).map_err(|error| Failure::from_error(&error))?;
        Ok(Self {
            paths,
            dir,
            facts,
            memory,
            manifests: ManifestCache::default(),
            loader,
            clock,
            transition_timeout,
            operation: tokio::sync::Mutex::new(()),
            stopping: AtomicBool::new(false),
            harm: tokio::sync::Notify::new(),
        })
    }

    fn running(&self) -> Result<Running, Failure> {
        Running::read(&self.paths).map_err(|error| {
            Failure::new("cannot read the kernel's live patches").because(error.to_string())
        })
    }

    /// Whether [`Self::stop`] was called; nothing is loaded any more.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// A regular stop: notes in the journal that what comes is not the patch's doing. Waits for
    /// the answer of a load that is under way, at most `patience`.
    pub async fn stop(&self, patience: Duration) {
        self.stopping.store(true, Ordering::SeqCst);
        let wait = async {
            while self.memory.is_loading() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if tokio::time::timeout(patience, wait).await.is_err() {
            tracing::warn!("the kernel has not answered about a module that is being loaded");
        }
        let now = self.clock.now();
        if let Err(error) = self.memory.step(&self.dir, |load| load.stop(now)) {
            tracing::warn!(error = %error.one_line(), "cannot note the stop in the journal");
        }
    }
}
