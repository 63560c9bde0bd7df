//! Enabling and disabling the machine.

use std::sync::Arc;

use suture_advisory::PatchVersion;
use suture_protocol::{EnrolRequest, MachineId, SplitRequest};
use tracing::info;

use super::check_in::{Session, call, not_enabled};
use super::witness::random_bytes;
use super::{Asked, Engine, Refreshed};
use crate::api::Api;
use crate::config;
use crate::failure::Failure;
use crate::http;
use crate::stage::Reason;
use crate::state::Enrolment;
use crate::text;

/// Longest name of a plan, in characters.
const LONGEST_PLAN: usize = 100;

impl Engine {
    /// Enrols the machine with an account's token, then refreshes. Enabling an enabled machine
    /// again gives it a new secret. What is told is the refresh; a machine whose first refresh
    /// fails is enabled all the same.
    pub async fn enable(&self, token: &str) -> Result<Refreshed, Failure> {
        let _operation = self.operation.lock().await;
        if !self.facts.livepatch {
            return Err(unsupported(self.facts.kernel.release.as_str()));
        }
        let settings = config::load(&self.paths)?;
        let server = settings.server()?;
        // The server makes the old secret void; the new one must find room.
        self.dir
            .check_writable()
            .map_err(|error| Failure::from_error(&error))?;
        let agent = http::patient_client(&settings, &server, self.patience())
            .map_err(|error| Failure::from_error(&error))?;
        let api = Api::new(agent, server.clone());
        let (token, request) = (token.to_owned(), self.enrol_request());
        let answer = call(move || api.enrol(&token, &request)).await?;
        let at = self.clock.now();
        let plan = text::one_line(&answer.plan, LONGEST_PLAN);
        // A machine that goes down in between must not send the new secret to another server.
        self.memory
            .change(&self.dir, |state| state.enrolment = None)?;
        self.dir
            .write_secret(&answer.machine_secret)
            .map_err(|e| Failure::from_error(&e))?;
        info!(plan, "the machine is enabled at {server}");
        self.memory.change(&self.dir, |state| {
            state.enrolment = Some(Enrolment { server, plan, at });
            state.last_success = None;
            state.last_failure = None;
        })?;
        self.rest(Reason::Enabled);
        self.wake();
        self.refresh_locked(Asked::ByHand).await
    }

    /// The id of `/etc/machine-id`, or of its own where the disk is a copy.
    pub(super) fn machine_id(&self) -> MachineId {
        let own = self.memory.state().own_id;
        own.unwrap_or_else(|| self.facts.machine_id.clone())
    }

    fn is_copy(&self) -> bool {
        self.memory.state().own_id.is_some()
    }

    /// Becomes a machine of its own: others check in with the same secret, because a disk was
    /// copied. Until it succeeds the shared secret serves; the account may have no room.
    pub(super) async fn split(&self, session: &Session) -> Result<(), Failure> {
        let wanted = match self.memory.state().wanted_id {
            Some(wanted) => wanted,
            None => MachineId::from_random_bytes(random_bytes()?),
        };
        // Before the call: if its answer is lost, the next one is for the same machine.
        self.memory.change(&self.dir, |state| {
            state.wanted_id = Some(wanted.clone());
        })?;
        let (api, secret) = (session.api(), session.secret.clone());
        let request = SplitRequest {
            machine_id: wanted.clone(),
        };
        let answer = call(move || api.split(&secret, &request)).await?;
        self.dir
            .write_secret(&answer.machine_secret)
            .map_err(|error| Failure::from_error(&error))?;
        info!("this machine's disk is a copy; it is machine {wanted} from now on");
        self.memory.change(&self.dir, |state| {
            state.own_id = Some(wanted);
            state.wanted_id = None;
        })
    }

    fn enrol_request(&self) -> EnrolRequest {
        EnrolRequest {
            machine_id: self.machine_id(),
            hostname: self.facts.hostname.clone(),
            kernel: self.facts.kernel.clone(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            // Copies of a virtual machine may have the same, and are known to be several.
            hardware: self.kernel.hardware().filter(|_| !self.is_copy()),
        }
    }

    /// Releases the machine and forgets its secret. The patch in force stays and is returned. If
    /// the server cannot be told, everything stays as it is, so that no dead machine counts.
    pub async fn disable(&self) -> Result<Option<PatchVersion>, Failure> {
        let _operation = self.operation.lock().await;
        let in_force = self.running()?.in_force;
        if self.memory.state().enrolment.is_none() {
            if self.memory.state().loaded_by_hand {
                self.memory
                    .change(&self.dir, |state| state.loaded_by_hand = false)?;
            }
            return Ok(in_force);
        }
        let session = Arc::new(self.session(config::load(&self.paths)?)?);
        self.release(session).await.map_err(|failure| {
            let advice = "the machine is still enabled, because its place at the server could not \
                          be given back; try again later";
            let hint = match &failure.hint {
                Some(hint) => format!("{advice}. {hint}"),
                None => advice.to_owned(),
            };
            failure.hint(hint)
        })?;
        self.memory.change(&self.dir, |state| {
            state.enrolment = None;
            state.loaded_by_hand = false;
            state.last_success = None;
            state.last_failure = None;
        })?;
        self.memory.witness(&self.dir, |evidence| {
            evidence.forget_events();
            Ok(())
        })?;
        self.dir
            .forget_secret()
            .map_err(|error| Failure::from_error(&error))?;
        self.rest(Reason::Disabled);
        self.wake();
        info!("the machine is disabled");
        Ok(in_force)
    }

    /// Whether check-ins make sense.
    pub fn is_enabled(&self) -> bool {
        self.memory.state().enrolment.is_some()
    }

    /// Checks in and goes where the server says. `retry_quarantined` empties this kernel's
    /// quarantine first, on an administrator's word.
    pub async fn refresh(&self, retry_quarantined: bool) -> Result<Refreshed, Failure> {
        let _operation = self.operation.lock().await;
        if !self.is_enabled() {
            return Err(not_enabled());
        }
        if retry_quarantined {
            self.lift_locked(None)?;
        }
        self.refresh_locked(Asked::ByHand).await
    }

    /// As [`Self::refresh`], when the daemon's clock says so.
    pub async fn refresh_on_time(&self) -> Result<Refreshed, Failure> {
        let _operation = self.operation.lock().await;
        self.refresh_locked(Asked::ByClock).await
    }

    /// Takes a version, or all, of this kernel's quarantine out of it, and returns them. They
    /// are tried again at the next check-in.
    pub async fn lift(&self, version: Option<PatchVersion>) -> Result<Vec<PatchVersion>, Failure> {
        let _operation = self.operation.lock().await;
        let lifted = self.lift_locked(version)?;
        match version {
            Some(version) if lifted.is_empty() => Err(Failure::new(format!(
                "patch {version} is not in quarantine for this kernel"
            ))
            .hint("`livepatch quarantine list` shows what is")),
            _ => Ok(lifted),
        }
    }

    fn lift_locked(&self, version: Option<PatchVersion>) -> Result<Vec<PatchVersion>, Failure> {
        let mut lifted = Vec::new();
        self.memory.change(&self.dir, |state| {
            lifted = state.lift(&self.facts.kernel, version);
        })?;
        for version in &lifted {
            info!(patch.version = %version, "the quarantine of patch {version} is lifted");
        }
        self.follow_kernel(Reason::Lifted);
        Ok(lifted)
    }
}

/// The words `unsupported kernel` are what enrolment tools look for.
pub(super) fn unsupported(release: &str) -> Failure {
    Failure::new(format!(
        "unsupported kernel: `{release}` was built without live patching"
    ))
    .hint("a kernel with CONFIG_LIVEPATCH=y has the folder /sys/kernel/livepatch")
}
