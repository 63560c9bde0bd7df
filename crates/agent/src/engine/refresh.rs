//! One round: check in, decide, act, tell.

use std::time::Duration;

use suture_advisory::PatchVersion;
use tracing::{info, warn};

use super::Engine;
use super::check_in::Session;
use crate::config;
use crate::decide::{self, NextStep};
use crate::failure::Failure;
use crate::patches::Patches;

/// How a round ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refreshed {
    /// Why the server was not reached or a file not fetched; says nothing of the patch.
    pub check: Result<(), Failure>,
    /// Why the patch on offer is not in force.
    pub patch: Result<(), Failure>,
    /// When the server wants to hear from the machine again.
    pub next_check_in: Option<Duration>,
}

impl Engine {
    /// With the operation lock held.
    pub(super) async fn refresh_locked(&self) -> Result<Refreshed, Failure> {
        let unchecked = |failure| Refreshed {
            check: Err(failure),
            patch: Ok(()),
            next_check_in: None,
        };
        let session = match config::load(&self.paths).and_then(|it| self.session(it)) {
            Ok(session) => session,
            Err(failure) => {
                self.note_failed_check(&failure)?;
                return Ok(unchecked(failure));
            }
        };
        self.watch()?;
        let answer = match self.check_in(&session).await {
            Ok(answer) => answer,
            Err(failure) => return Ok(unchecked(failure)),
        };
        let next_check_in = Some(Duration::from_secs(answer.next_check_in_secs));
        let quarantine = self.memory.state().quarantine_of(&self.facts.kernel);
        let step = decide::after_offer(&answer.offer, &self.running()?, &quarantine);
        let mut refreshed = Refreshed {
            check: Ok(()),
            patch: Ok(()),
            next_check_in,
        };
        match step {
            NextStep::Keep => {}
            NextStep::WaitFor(version) => info!("patch {version} is still in transition"),
            NextStep::Quarantined(entry) => {
                refreshed.patch = Err(quarantined(entry.version, &entry.reason))
            }
            NextStep::ForeignPatches { wanted, names } => {
                let failure = foreign(wanted, &names);
                self.refused(wanted, &failure)?;
                refreshed.patch = Err(failure);
            }
            NextStep::Apply(version) => self.bring(&session, version, &mut refreshed).await?,
        }
        Ok(refreshed)
    }

    /// Fetches and applies a version, then tells the server how that went.
    async fn bring(
        &self,
        session: &Session,
        version: PatchVersion,
        refreshed: &mut Refreshed,
    ) -> Result<(), Failure> {
        let patches = Patches::new(&session.settings.root, &self.dir);
        let (kernel, now) = (&self.facts.kernel, self.clock.now());
        let transport = session.transport();
        match patches
            .fetch(&session.server, transport, kernel, version, now)
            .await
        {
            Ok(patch) => {
                refreshed.patch = self.apply(patch).await;
            }
            Err(error) if error.is_network() => {
                let failure = Failure::from(error);
                self.note_failed_check(&failure)?;
                refreshed.check = Err(failure);
                return Ok(());
            }
            Err(error) => {
                let failure = Failure::from(error);
                warn!(patch.version = %version, "patch {version} is refused: {}", failure.one_line());
                self.refused(version, &failure)?;
                refreshed.patch = Err(failure);
            }
        }
        if refreshed.patch.is_ok()
            && let Err(error) = patches.prune(kernel, version)
        {
            warn!(
                "cannot drop old patches from the cache: {}",
                Failure::from(error).one_line()
            );
        }
        if self.is_stopping() {
            return Ok(());
        }
        match self.check_in(session).await {
            Ok(answer) => {
                refreshed.next_check_in = Some(Duration::from_secs(answer.next_check_in_secs));
            }
            Err(failure) => refreshed.check = Err(failure),
        }
        Ok(())
    }

    fn note_failed_check(&self, failure: &Failure) -> Result<(), Failure> {
        let at = self.clock.now();
        let (message, hint) = (failure.one_line(), failure.hint.clone());
        self.memory
            .change(&self.dir, |state| state.check_failed(message, hint, at))
    }

    /// Failed check-ins since the last answered one.
    pub fn failed_checks(&self) -> u32 {
        self.memory
            .state()
            .last_failure
            .map_or(0, |failure| failure.in_a_row)
    }
}

fn quarantined(version: PatchVersion, reason: &str) -> Failure {
    Failure::new(format!("patch {version} is quarantined on this machine"))
        .because(reason)
        .hint(
            "wait for the version that replaces it, or try it once more: `livepatch refresh \
         --retry-quarantined`",
        )
}

fn foreign(wanted: PatchVersion, names: &[String]) -> Failure {
    let names = names.join("`, `");
    Failure::new(format!(
        "patch {wanted} is not applied, it would undo the live patch `{names}`"
    ))
    .hint(
        "live patches of two makers do not go together: remove the other, or `livepatch \
             disable`",
    )
}
