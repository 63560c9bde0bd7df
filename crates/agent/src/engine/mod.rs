//! The agent's work, apart from who asks for it: the daemon's clock or a command.

mod apply;
mod check_in;
mod enrol;
mod load;
mod memory;
mod refresh;
mod report;
mod stage;
mod start;
#[cfg(test)]
mod tests;
mod transition;
mod witness;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use suture_advisory::PatchVersion;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{self, Times};
use crate::facts::MachineFacts;
use crate::failure::Failure;
use crate::http::Patience;
use crate::kernel_packages::KernelPackages;
use crate::lifecycle::Load;
use crate::livepatch_sysfs::Running;
use crate::mode::Brake;
use crate::paths::Paths;
use crate::privileged::Privileged;
use crate::stage::Stage;
use crate::state::StateDir;

use memory::Memory;
use report::ManifestCache;

pub use refresh::{Asked, Refreshed};

/// One machine's agent.
pub struct Engine {
    paths: Paths,
    dir: StateDir,
    facts: MachineFacts,
    memory: Memory,
    manifests: ManifestCache,
    packages: KernelPackages,
    kernel: Arc<dyn Privileged>,
    clock: Arc<dyn Clock>,
    /// What the agent does, or came to.
    stage: Mutex<Stage>,
    /// The open transition and when it was seen first, by a clock that never jumps.
    transition: Mutex<Option<(PatchVersion, Instant)>>,
    /// Held by whoever enables, disables, refreshes or applies.
    operation: tokio::sync::Mutex<()>,
    stopping: AtomicBool,
    /// Harm was noted, of which the server should hear soon.
    harm: tokio::sync::Notify,
    /// What the daemon waits for may have changed.
    woken: tokio::sync::Notify,
    #[cfg(test)]
    pub(crate) test: TestHooks,
}

/// What tests set and see.
#[cfg(test)]
#[derive(Debug, Default)]
pub(crate) struct TestHooks {
    pub times: Mutex<Option<crate::config::Times>>,
    pub patience: Mutex<crate::http::Patience>,
    pub wrong_steps: Mutex<Vec<crate::stage::WrongStep>>,
}

impl Engine {
    /// Reads what the machine is and what was kept; loads nothing.
    pub fn open(
        paths: Paths,
        kernel: Arc<dyn Privileged>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Failure> {
        let facts = MachineFacts::read(&paths).map_err(|error| Failure::from_error(&error))?;
        let dir = StateDir::open(paths.state_dir()).map_err(|error| {
            let failure = Failure::from_error(&error);
            match failure.hint {
                Some(_) => failure,
                None => {
                    failure.hint("the daemon's user owns it; see `systemctl status livepatchd`")
                }
            }
        })?;
        let memory = Memory::read(&dir).map_err(|error| Failure::from_error(&error))?;
        Ok(Self {
            paths,
            dir,
            facts,
            memory,
            manifests: ManifestCache::default(),
            packages: KernelPackages::default(),
            kernel,
            clock,
            stage: Mutex::new(Stage::default()),
            transition: Mutex::new(None),
            operation: tokio::sync::Mutex::new(()),
            stopping: AtomicBool::new(false),
            harm: tokio::sync::Notify::new(),
            woken: tokio::sync::Notify::new(),
            #[cfg(test)]
            test: TestHooks::default(),
        })
    }

    /// The configured times, or the usual ones while the configuration cannot be used.
    pub(super) fn times(&self) -> Times {
        #[cfg(test)]
        if let Some(times) = *self
            .test
            .times
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
        {
            return times;
        }
        config::load(&self.paths).map_or_else(|_| Times::default(), |settings| settings.times)
    }

    fn patience(&self) -> Patience {
        #[cfg(test)]
        return *self
            .test
            .patience
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        #[cfg(not(test))]
        Patience::default()
    }

    /// What holds the agent back, read anew: a file may come at any time.
    pub fn brake(&self) -> Brake {
        Brake::read(&self.paths)
    }

    /// The daemon looks anew at what it waits for: a setting was changed.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Ready after [`Self::wake`].
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Whether the kernel or a fresh patch has to be looked at again soon.
    pub fn has_to_watch(&self) -> bool {
        let unsettled = !matches!(self.memory.journal(), None | Some(Load::Settled { .. }));
        unsettled
            || self
                .running()
                .is_ok_and(|it| it.in_transition.or(it.reversing).is_some())
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
