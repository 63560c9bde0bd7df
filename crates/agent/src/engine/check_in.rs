//! Asking the server.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use suture_protocol::{CheckInRequest, CheckInResponse, MachineState};
use tracing::warn;
use url::Url;

use super::Engine;
use crate::api::{Api, ApiError};
use crate::config::Settings;
use crate::failure::Failure;
use crate::http;
use crate::stage::{Reason, Stage};
use crate::state::{CheckSuccess, Enrolment};
use crate::status::{Known, PatchState, patch_state};
use crate::transport::HttpTransport;

/// What a call to the server of this machine's enrolment needs.
pub(super) struct Session {
    pub settings: Settings,
    pub server: Url,
    pub secret: String,
    agent: ureq::Agent,
}

impl Session {
    pub fn transport(&self) -> HttpTransport {
        HttpTransport::new(self.agent.clone(), self.server.clone(), self.secret.clone())
    }

    pub(super) fn api(&self) -> Api {
        Api::new(self.agent.clone(), self.server.clone())
    }
}

/// Runs a blocking call off the daemon's only thread.
pub(super) async fn call<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(call).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(error) => Err(Failure::from_error(&error)),
    }
}

impl Engine {
    /// The machine's secret goes to the server that gave it and to no other.
    pub(super) fn session(&self, settings: Settings) -> Result<Session, Failure> {
        let enrolment = self.memory.state().enrolment.ok_or_else(not_enabled)?;
        if let Some(configured) = &settings.remote_server
            && *configured != enrolment.server
        {
            return Err(moved(&enrolment, configured));
        }
        let server = enrolment.server;
        let secret = self
            .dir
            .secret()
            .map_err(|error| Failure::from_error(&error))?;
        let secret = secret.ok_or_else(|| {
            Failure::new("the secret of this machine is missing")
                .hint("enable the machine again: `livepatch enable TOKEN`")
        })?;
        let agent = http::patient_client(&settings, &server, self.patience())
            .map_err(|error| Failure::from_error(&error))?;
        Ok(Session {
            settings,
            server,
            secret,
            agent,
        })
    }

    /// Asks the server once, for `patience` if one is named, and notes how that went.
    pub(super) async fn check_in(
        &self,
        session: &Session,
        patience: Option<Duration>,
    ) -> Result<CheckInResponse, Failure> {
        self.enter(Reason::CheckDue, Stage::Checking);
        let asked = self.ask(session, patience).await;
        // An answer is followed by whoever asked.
        match &asked {
            Err(_) => self.rest(Reason::NoAnswer),
            Ok(answer) if answer.copied => self.tell_apart(session).await?,
            Ok(_) => {}
        }
        asked
    }

    async fn ask(
        &self,
        session: &Session,
        patience: Option<Duration>,
    ) -> Result<CheckInResponse, Failure> {
        let api = session.api();
        let (secret, request) = (session.secret.clone(), self.check_in_request()?);
        let applied = request.applied;
        let told: HashSet<_> = request.events.known.iter().map(|event| event.id).collect();
        let answer = call(move || api.check_in(&secret, &request));
        let answer = match patience {
            None => answer.await,
            Some(patience) => tokio::time::timeout(patience, answer)
                .await
                .unwrap_or_else(|_| Err(too_late(&session.server, patience))),
        };
        let at = self.clock.now();
        let kernel = self.facts.kernel.clone();
        self.memory.change(&self.dir, |state| match &answer {
            Ok(response) => {
                if let Some(withdrawal) = &response.withdrawn {
                    state.withdraw(&kernel, withdrawal);
                }
                state.check_succeeded(CheckSuccess::new(at, kernel, response, applied));
            }
            Err(failure) => state.check_failed(failure.one_line(), failure.hint.clone(), at),
        })?;
        if answer.is_ok() {
            self.memory.witness(&self.dir, |evidence| {
                evidence.told(&told);
                Ok(())
            })?;
        }
        answer
    }

    /// What this answer offers is taken with the shared secret, which stays good for others.
    async fn tell_apart(&self, session: &Session) -> Result<(), Failure> {
        let Err(failure) = self.split(session).await else {
            return Ok(());
        };
        let why = failure.one_line();
        warn!("this machine's disk is a copy, and it could not become one of its own: {why}");
        let held = format!("its disk is a copy of another machine's: {why}");
        self.memory.change(&self.dir, |state| {
            if let Some(last) = &mut state.last_success {
                last.held = Some(held);
            }
        })
    }

    fn check_in_request(&self) -> Result<CheckInRequest, Failure> {
        let patch = self.patch_state()?;
        Ok(CheckInRequest {
            kernel: self.facts.kernel.clone(),
            boot_id: self.facts.boot_id.clone(),
            boot_time: self.facts.boot_time,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            state: machine_state(&patch),
            applied: patch.in_force(),
            failure: failure(&patch),
            events: self.memory.evidence().next().into(),
        })
    }

    /// See [`patch_state`].
    pub(super) fn patch_state(&self) -> Result<PatchState, Failure> {
        let state = self.memory.state();
        let kernel = &self.facts.kernel;
        let (record, running) = (self.memory.journal(), self.running()?);
        let quarantine = state.quarantine_of(kernel);
        let withdrawn = state.withdrawn_of(kernel);
        let known = Known {
            offer: state.offer_for(kernel),
            record: record.as_ref(),
            refusal: state.refusal.as_ref(),
            series: state.series.as_ref(),
            quarantine: &quarantine,
            withdrawn: &withdrawn,
        };
        Ok(patch_state(kernel, &running, &known))
    }

    /// Releases the machine at its server.
    pub(super) async fn release(&self, session: Arc<Session>) -> Result<(), Failure> {
        call(move || session.api().release(&session.secret)).await
    }
}

fn too_late(server: &Url, patience: Duration) -> Failure {
    let seconds = patience.as_secs();
    Failure::new(format!(
        "`{server}` did not answer within {seconds} seconds"
    ))
    .hint("the agent asks again by itself")
}

pub(super) fn not_enabled() -> Failure {
    Failure::new("this machine is not enabled")
        .hint("enable it with the token of your account: `livepatch enable TOKEN`")
}

fn moved(enrolment: &Enrolment, configured: &Url) -> Failure {
    let Enrolment { server, .. } = enrolment;
    Failure::new(format!(
        "this machine is enabled at `{server}`, but `remote-server` is `{configured}`"
    ))
    .hint(format!(
        "enable it there with a token: `livepatch enable TOKEN`; or go back: `livepatch config \
         remote-server={server}`"
    ))
}

fn machine_state(patch: &PatchState) -> MachineState {
    match patch {
        PatchState::Applying { .. } | PatchState::Reversing { .. } => MachineState::Applying,
        PatchState::Failed { .. } | PatchState::Quarantined { .. } => MachineState::ApplyFailed,
        PatchState::Applied { .. } => MachineState::Applied,
        PatchState::NotChecked
        | PatchState::NothingToApply
        | PatchState::NotCovered
        | PatchState::NotBuiltYet
        | PatchState::HeldBack
        | PatchState::Withdrawn { .. }
        | PatchState::Deferred { .. }
        | PatchState::Pending { .. } => match patch.in_force() {
            Some(_) => MachineState::Applied,
            None => MachineState::Unapplied,
        },
    }
}

/// At most 1,000 characters, as the protocol asks.
fn failure(patch: &PatchState) -> Option<String> {
    let text = match patch {
        PatchState::Failed { wanted, reason, .. } => format!("patch {wanted}: {reason}"),
        PatchState::Quarantined { wanted, reason, .. } => {
            format!("patch {wanted} is quarantined: {reason}")
        }
        _ => return None,
    };
    Some(text.chars().take(1000).collect())
}
