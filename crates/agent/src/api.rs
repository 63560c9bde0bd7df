//! The calls of a machine to its server.

use std::io::Read;

use serde::Serialize;
use serde::de::DeserializeOwned;
use suture_protocol::{
    CheckInRequest, CheckInResponse, EnrolRequest, EnrolResponse, Problem, ProblemKind,
    SplitRequest,
};
use thiserror::Error;
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body};
use url::Url;

use crate::failure::Failure;
use crate::network_trouble::{NetworkTrouble, is_web_page};
use crate::text;

/// Largest answer that is read.
const ANSWER_LIMIT: u64 = 64 * 1024;

/// Calls of one machine to one server. Blocking.
#[derive(Debug, Clone)]
pub struct Api {
    agent: Agent,
    server: Url,
}

/// A call that did not bring the answer.
#[derive(Debug, Error)]
pub enum ApiError {
    #[error("cannot reach `{server}`")]
    Unreachable {
        server: Url,
        source: Box<ureq::Error>,
    },
    /// The service's own no.
    #[error("{}", refusal(problem))]
    Refused { problem: Problem },
    /// A no from something before the service, or a broken service.
    #[error("`{server}` answered {status}")]
    Status { server: Url, status: StatusCode },
    /// A web page stands in the place of the answer.
    #[error("something between here and `{server}` answered with a web page")]
    WebPage { server: Url },
    /// The service never leads elsewhere.
    #[error("`{server}` answered {status}, which leads to `{location}`")]
    LedAway {
        server: Url,
        status: StatusCode,
        location: String,
    },
    #[error("the answer of `{server}` is not what this agent understands")]
    Answer {
        server: Url,
        source: serde_json::Error,
    },
    #[error("the answer of `{server}` is larger than {ANSWER_LIMIT} bytes")]
    TooLarge { server: Url },
}

/// The words `Unknown Auth-Token` are what enrolment tools look for.
fn refusal(problem: &Problem) -> String {
    let Problem {
        kind,
        title,
        detail,
        ..
    } = problem;
    let detail = if detail.is_empty() { title } else { detail };
    match kind {
        ProblemKind::UnknownToken if !detail.contains("Unknown Auth-Token") => {
            format!("the server refused the token: Unknown Auth-Token: {detail}")
        }
        ProblemKind::UnknownToken => format!("the server refused the token: {detail}"),
        ProblemKind::UnknownMachine => format!("the server does not know this machine: {detail}"),
        ProblemKind::MachineLimit => format!("the account has no room for this machine: {detail}"),
        ProblemKind::NotFound
        | ProblemKind::BadRequest
        | ProblemKind::TooLarge
        | ProblemKind::UnknownOperator
        | ProblemKind::Forbidden
        | ProblemKind::Conflict
        | ProblemKind::TooMany
        | ProblemKind::Internal => format!("the server refused the request: {detail}"),
    }
}

impl ApiError {
    pub fn is_unknown_machine(&self) -> bool {
        matches!(self, Self::Refused { problem } if problem.kind == ProblemKind::UnknownMachine)
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Unreachable { source, .. } => NetworkTrouble::of(source).hint(),
            Self::Refused { problem } => match problem.kind {
                ProblemKind::UnknownToken => {
                    "copy the token anew from the service's page; it may have been revoked"
                }
                ProblemKind::UnknownMachine => "enable the machine again: `livepatch enable TOKEN`",
                ProblemKind::MachineLimit => {
                    "release a machine with `livepatch disable`, or choose a plan with more"
                }
                _ => return None,
            },
            Self::WebPage { .. } => NetworkTrouble::WebPage.hint(),
            Self::LedAway { .. } => {
                "a network that wants a login first, or a service that moved: its own address \
                 belongs into `livepatch config remote-server=`; nothing was sent elsewhere"
            }
            Self::Status { status, .. } if status.is_server_error() => {
                "the trouble is on the service's side; the agent tries again by itself"
            }
            Self::Status { .. } | Self::Answer { .. } | Self::TooLarge { .. } => {
                "is `remote-server` right? `livepatch config remote-server` shows it"
            }
        };
        Some(text.to_owned())
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self {
            hint: error.hint(),
            ..Self::from_error(&error)
        }
    }
}

impl Api {
    pub fn new(agent: Agent, server: Url) -> Self {
        Self { agent, server }
    }

    /// `POST /v1/machines`.
    pub fn enrol(&self, token: &str, request: &EnrolRequest) -> Result<EnrolResponse, ApiError> {
        self.post("v1/machines", token, request)
    }

    /// `POST /v1/machines/self/split`.
    pub fn split(&self, secret: &str, request: &SplitRequest) -> Result<EnrolResponse, ApiError> {
        self.post("v1/machines/self/split", secret, request)
    }

    /// `POST /v1/check-in`.
    pub fn check_in(
        &self,
        secret: &str,
        request: &CheckInRequest,
    ) -> Result<CheckInResponse, ApiError> {
        self.post("v1/check-in", secret, request)
    }

    /// `DELETE /v1/machines/self`; a machine that is not known any more is released already.
    pub fn release(&self, secret: &str) -> Result<(), ApiError> {
        let request = self.agent.delete(self.url("v1/machines/self").as_str());
        let answer = request
            .config()
            .max_redirects(0)
            .build()
            .header("authorization", format!("Bearer {secret}"))
            .call();
        match self.success(answer) {
            Ok(_) => Ok(()),
            Err(error) if error.is_unknown_machine() => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn url(&self, path: &str) -> Url {
        let mut url = self.server.clone();
        url.set_path(&format!("{}{path}", self.server.path()));
        url
    }

    fn post<T: Serialize, R: DeserializeOwned>(
        &self,
        path: &str,
        bearer: &str,
        body: &T,
    ) -> Result<R, ApiError> {
        let request = self.agent.post(self.url(path).as_str());
        let answer = request
            .config()
            .max_redirects(0)
            .build()
            .header("authorization", format!("Bearer {bearer}"))
            .send_json(body);
        let answer = self.success(answer)?;
        let content_type = header(&answer, "content-type");
        let bytes = self.bounded(answer)?;
        if is_web_page(content_type.as_deref(), &bytes) {
            let server = self.server.clone();
            return Err(ApiError::WebPage { server });
        }
        serde_json::from_slice(&bytes).map_err(|source| ApiError::Answer {
            server: self.server.clone(),
            source,
        })
    }

    /// A 2xx answer, or the reason in it.
    fn success(
        &self,
        answer: Result<Response<Body>, ureq::Error>,
    ) -> Result<Response<Body>, ApiError> {
        let unreachable = |source: ureq::Error| ApiError::Unreachable {
            server: self.server.clone(),
            source: source.into(),
        };
        let answer = answer.map_err(unreachable)?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        if status.is_redirection() {
            let location = header(&answer, "location").unwrap_or_default();
            return Err(ApiError::LedAway {
                server: self.server.clone(),
                status,
                location: text::one_line(&location, 200),
            });
        }
        // Only the service speaks problem+json; a proxy's page of HTML is not for a terminal.
        let problem = self
            .bounded(answer)
            .ok()
            .and_then(|body| serde_json::from_slice(&body).ok());
        match problem {
            Some(problem) => Err(ApiError::Refused {
                problem: shortened(problem),
            }),
            None => Err(ApiError::Status {
                server: self.server.clone(),
                status,
            }),
        }
    }

    fn bounded(&self, answer: Response<Body>) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::new();
        let mut reader = answer.into_body().into_reader().take(ANSWER_LIMIT + 1);
        let unreachable = |error: std::io::Error| ApiError::Unreachable {
            server: self.server.clone(),
            source: Box::new(error.into()),
        };
        reader.read_to_end(&mut bytes).map_err(unreachable)?;
        if bytes.len() as u64 > ANSWER_LIMIT {
            return Err(ApiError::TooLarge {
                server: self.server.clone(),
            });
        }
        Ok(bytes)
    }
}

fn header(answer: &Response<Body>, name: &str) -> Option<String> {
    let value = answer.headers().get(name)?;
    value.to_str().ok().map(str::to_owned)
}

/// What a server writes is shown on terminals: no control characters, no novels.
fn shortened(mut problem: Problem) -> Problem {
    for shown in [&mut problem.title, &mut problem.detail] {
        *shown = text::one_line(shown, 500);
    }
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(kind: ProblemKind, detail: &str) -> String {
        let problem = Problem {
            kind,
            title: "No".to_owned(),
            status: 403,
            detail: detail.to_owned(),
        };
        Failure::from(ApiError::Refused { problem }).to_string()
    }

    #[test]
    fn a_wrong_token_is_told_in_the_words_that_tools_look_for() {
        insta::assert_snapshot!(failure(ProblemKind::UnknownToken, "Unknown Auth-Token"), @r"
        error: the server refused the token: Unknown Auth-Token

        hint: copy the token anew from the service's page; it may have been revoked
        ");
        let own_words = failure(ProblemKind::UnknownToken, "This token was revoked.");
        assert!(
            own_words.contains("Unknown Auth-Token: This token was revoked."),
            "{own_words}"
        );
    }

    #[test]
    fn a_full_plan_is_told_with_the_servers_words() {
        let detail = "The plan `free` has room for 3 machines.";
        insta::assert_snapshot!(failure(ProblemKind::MachineLimit, detail), @r"
        error: the account has no room for this machine: The plan `free` has room for 3 machines.

        hint: release a machine with `livepatch disable`, or choose a plan with more
        ");
    }

    #[test]
    fn what_a_server_writes_cannot_steer_a_terminal() {
        let problem = Problem {
            kind: ProblemKind::Internal,
            title: String::new(),
            status: 500,
            detail: format!("\u{1b}[2J{}", "x".repeat(1000)),
        };
        let detail = shortened(problem).detail;
        assert_eq!(detail.len(), 500);
        assert!(detail.starts_with("[2J"));
    }
}
