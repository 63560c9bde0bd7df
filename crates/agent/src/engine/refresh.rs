//! One round: check in, decide, act, tell.

use std::time::Duration;

use suture_advisory::PatchVersion;
use suture_protocol::{CheckInResponse, EventKind};
use suture_rollout::Offer;
use tracing::{info, warn};

use super::Engine;
use super::check_in::Session;
use crate::config;
use crate::decide::{self, NextStep};
use crate::failure::Failure;
use crate::patches::{PatchError, Patches, VerifiedPatch};
use crate::policy;
use crate::stage::{Reason, Stage};

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

/// Who asks for a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// The daemon's clock.
    ByClock,
    /// A command: what rests is tried again.
    ByHand,
}

/// Where a patch on offer is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// In the repository as it is now; files that are here are not fetched again.
    Repository,
    /// In the cache, proven by the metadata of the last update: a started machine is not left
    /// open while a slow network brings new metadata.
    CacheFirst,
}

impl Refreshed {
    /// The server was not asked, or did not answer.
    pub(super) fn unchecked(failure: Failure) -> Self {
        Self {
            check: Err(failure),
            patch: Ok(()),
            next_check_in: None,
        }
    }
}

impl Engine {
    /// With the operation lock held.
    pub(super) async fn refresh_locked(&self, asked: Asked) -> Result<Refreshed, Failure> {
        let refreshed = self.round(asked).await;
        self.come_to_rest();
        refreshed
    }

    async fn round(&self, asked: Asked) -> Result<Refreshed, Failure> {
        let session = match self.open_session()? {
            Ok(session) => session,
            Err(failure) => return Ok(Refreshed::unchecked(failure)),
        };
        match self.check_in(&session, None).await {
            Ok(answer) => {
                self.follow(&session, answer, Source::Repository, asked)
                    .await
            }
            Err(failure) => Ok(Refreshed::unchecked(failure)),
        }
    }

    /// What a check-in needs, with the kernel looked at just before. The inner failure is noted
    /// as that of a check-in.
    pub(super) fn open_session(&self) -> Result<Result<Session, Failure>, Failure> {
        let brake = self.brake();
        if !brake.mode.may_check() {
            self.follow_kernel(Reason::Changed);
            let failure = Failure::new(format!("the server is not asked, a brake is on: {brake}"));
            return Ok(Err(failure.hint(brake.hint())));
        }
        match config::load(&self.paths).and_then(|it| self.session(it)) {
            Ok(session) => {
                self.watch()?;
                self.look_at_taint();
                Ok(Ok(session))
            }
            Err(failure) => {
                self.note_failed_check(&failure)?;
                Ok(Err(failure))
            }
        }
    }

    /// Goes where the server says.
    pub(super) async fn follow(
        &self,
        session: &Session,
        answer: CheckInResponse,
        source: Source,
        asked: Asked,
    ) -> Result<Refreshed, Failure> {
        let next_check_in = Some(Duration::from_secs(answer.next_check_in_secs));
        let quarantine = self.memory.state().quarantine_of(&self.facts.kernel);
        let step = decide::after_offer(&answer.offer, &self.running()?, &quarantine);
        let mut refreshed = Refreshed {
            check: Ok(()),
            patch: Ok(()),
            next_check_in,
        };
        if answer.offer == Offer::NotCovered {
            self.ask_for_series(session).await?;
        }
        match step {
            NextStep::Keep => {}
            NextStep::Apply(version) if self.lets_rest(version, asked) => {}
            NextStep::WaitFor(version) => info!("patch {version} is still in transition"),
            NextStep::Quarantined(entry) => {
                refreshed.patch = Err(quarantined(entry.version, &entry.reason));
                self.rest(Reason::Answered);
                self.fall_back().await?;
            }
            NextStep::ForeignPatches { wanted, names } => {
                let failure = foreign(wanted, &names);
                self.refused(wanted, &failure)?;
                refreshed.patch = Err(failure);
            }
            NextStep::Apply(version) => {
                let brake = self.brake();
                if brake.mode.may_apply() {
                    self.bring(session, version, source, &mut refreshed).await?;
                    return Ok(refreshed);
                }
                refreshed.patch = Err(brake.refusal(version));
            }
        }
        self.rest(Reason::Answered);
        Ok(refreshed)
    }

    /// The version on offer is in quarantine here: one before it is better than none.
    async fn fall_back(&self) -> Result<(), Failure> {
        if self.running()?.in_force.is_none()
            && let Err(failure) = self.apply_cached().await
        {
            warn!("no earlier patch is applied: {}", failure.one_line());
        }
        Ok(())
    }

    /// A version whose transition was reversed is tried again after a while, or by hand.
    pub(super) fn lets_rest(&self, version: PatchVersion, asked: Asked) -> bool {
        let now = self.clock.now();
        asked == Asked::ByClock && self.memory.state().rests(&self.facts.kernel, version, now)
    }

    /// Why nothing is made for this kernel: the repository's list tells. That it cannot be read
    /// is no failure of the check-in, which was answered.
    async fn ask_for_series(&self, session: &Session) -> Result<(), Failure> {
        let patches = Patches::new(&session.settings.root, &self.dir);
        let (kernel, now) = (&self.facts.kernel, self.clock.now());
        let series = patches.series(&session.server, session.transport(), kernel, now);
        match series.await {
            Ok(series) => self
                .memory
                .change(&self.dir, |state| state.series = Some(series)),
            Err(error) => {
                let failure = Failure::from(error).one_line();
                warn!("the repository's list of kernels is not known: {failure}");
                Ok(())
            }
        }
    }

    /// Fetches and applies a version, then tells the server how that went.
    async fn bring(
        &self,
        session: &Session,
        version: PatchVersion,
        source: Source,
        refreshed: &mut Refreshed,
    ) -> Result<(), Failure> {
        let patches = Patches::new(&session.settings.root, &self.dir);
        self.enter(Reason::Offered, Stage::Fetching { version });
        match self.prove(session, &patches, version, source).await {
            Ok(patch) => {
                self.tell_once_a_boot(version, EventKind::Fetched { version });
                self.tell_once_a_boot(version, EventKind::Verified { version });
                let (made, now) = (patch.manifest.created, self.clock.now());
                if let Some(reason) = policy::holds_back(&session.settings, made, now) {
                    return self.defer(version, reason);
                }
                refreshed.patch = self.apply(patch).await;
            }
            Err(error) if error.is_network() => {
                let failure = Failure::from(error);
                self.note_failed_check(&failure)?;
                self.rest(Reason::Unfetched);
                refreshed.check = Err(failure);
                return Ok(());
            }
            Err(error) => {
                let blamed = error.blames_version();
                let failure = Failure::from(error);
                if blamed {
                    self.tell_apply_failed(version, &failure);
                }
                warn!(patch.version = %version, "patch {version} is refused: {}", failure.one_line());
                self.refused(version, &failure)?;
                self.rest(Reason::Refused);
                refreshed.patch = Err(failure);
            }
        }
        if refreshed.patch.is_ok()
            && let Err(error) = patches.prune(&self.facts.kernel, version)
        {
            warn!(
                "cannot drop old patches from the cache: {}",
                Failure::from(error).one_line()
            );
        }
        if self.is_stopping() {
            return Ok(());
        }
        match self.check_in(session, None).await {
            Ok(answer) => {
                self.rest(Reason::Answered);
                refreshed.next_check_in = Some(Duration::from_secs(answer.next_check_in_secs));
            }
            Err(failure) => refreshed.check = Err(failure),
        }
        Ok(())
    }

    async fn prove(
        &self,
        session: &Session,
        patches: &Patches,
        version: PatchVersion,
        source: Source,
    ) -> Result<VerifiedPatch, PatchError> {
        let (kernel, now) = (&self.facts.kernel, self.clock.now());
        if source == Source::CacheFirst
            && let Ok(patch) = patches.offline(kernel, version).await
        {
            self.enter(Reason::Fetched, Stage::Verifying { version });
            return Ok(patch);
        }
        let transport = session.transport();
        let fetched = patches
            .fetch(&session.server, transport, kernel, version, now)
            .await?;
        self.enter(Reason::Fetched, Stage::Verifying { version });
        fetched.verify(kernel)
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

pub(super) fn quarantined(version: PatchVersion, reason: &str) -> Failure {
    Failure::new(format!("patch {version} is quarantined on this machine"))
        .because(reason)
        .hint(format!(
            "wait for the version that replaces it, or lift the quarantine: `livepatch \
             quarantine lift {version}`"
        ))
}

pub(super) fn foreign(wanted: PatchVersion, names: &[String]) -> Failure {
    let names = names.join("`, `");
    Failure::new(format!(
        "patch {wanted} is not applied, it would undo the live patch `{names}`"
    ))
    .hint(
        "live patches of two makers do not go together: remove the other, or `livepatch \
             disable`",
    )
}
