//! A connection to a server, kept open.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use suture_protocol::{CheckInRequest, CheckInResponse, EnrolRequest, EnrolResponse};
use thiserror::Error;

/// A call in all. A server whose database is slow is slow itself, but answers within its own
/// limit of 20 seconds.
const CALL_TIMEOUT: Duration = Duration::from_secs(40);

/// Calls over kept connections.
#[derive(Debug)]
pub struct Line {
    client: ureq::Agent,
}

/// Why a call brought no answer.
#[derive(Debug, Error)]
pub enum LineError {
    /// Worth another try: the server is away, or says that it failed.
    #[error("no answer from the server: {0}")]
    NoAnswer(String),
    /// The server refuses, and will the next time.
    #[error("the server refused with status {status}: {body}")]
    Refused { status: u16, body: String },
}

impl Default for Line {
    fn default() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(CALL_TIMEOUT))
            .build();
        Self {
            client: config.into(),
        }
    }
}

impl Line {
    /// Enrols at `server`, like `http://127.0.0.1:8080`.
    pub fn enrol(
        &self,
        server: &str,
        token: &str,
        request: &EnrolRequest,
    ) -> Result<EnrolResponse, LineError> {
        self.post(&format!("{server}/v1/machines"), token, request)
    }

    pub fn check_in(
        &self,
        server: &str,
        secret: &str,
        request: &CheckInRequest,
    ) -> Result<CheckInResponse, LineError> {
        self.post(&format!("{server}/v1/check-in"), secret, request)
    }

    fn post<T: DeserializeOwned>(
        &self,
        url: &str,
        bearer: &str,
        request: &impl Serialize,
    ) -> Result<T, LineError> {
        let no_answer = |error: ureq::Error| LineError::NoAnswer(error.to_string());
        let mut response = self
            .client
            .post(url)
            .header("authorization", format!("Bearer {bearer}"))
            .send_json(request)
            .map_err(no_answer)?;
        let status = response.status().as_u16();
        let body = response.body_mut().read_to_string().map_err(no_answer)?;
        match status {
            200 => serde_json::from_str(&body).map_err(|error| LineError::Refused {
                status,
                body: format!("{body}: {error}"),
            }),
            // The request took too long, or the server failed over it.
            408 | 500.. => Err(LineError::NoAnswer(format!("status {status}: {body}"))),
            _ => Err(LineError::Refused { status, body }),
        }
    }
}
