//! How the service says no: always as a problem document, with words for the client and others
//! for the log.

use axum::body::{Body, to_bytes};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use suture_protocol::{Problem, ProblemKind};
use suture_store::{InvalidText, Plan, StoreError};
use tracing::{error, warn};

use crate::billing::BillingError;
use crate::error::chain;
use crate::guesses::TooManyTries;
use crate::openid::OpenIdError;
use crate::webauthn::InvalidPasskey;

/// Bytes of a plain-text refusal that are worth passing on.
const MAX_REASON_BYTES: usize = 1024;

/// Why a request was refused.
#[derive(Debug)]
pub enum ApiError {
    UnknownToken,
    UnknownMachine,
    UnknownOperator,
    MachineLimit {
        plan: Plan,
        limit: u32,
        /// The second way out, as the end of `Either release one, or …`.
        or: String,
    },
    /// A notification that Stripe did not sign for this service, or that can't be read.
    NotFromStripe {
        reason: String,
    },
    /// A module was asked for by the token of an account with a limit.
    MirrorWithLimit {
        limit: u32,
    },
    /// This service sells no subscriptions.
    NothingSold,
    /// Nobody signs in at another place.
    NoProvider,
    /// The service has no address for which browsers offer passkeys.
    NoPasskeys,
    /// What came back from a provider or an authenticator is not what this browser began.
    NotBegunHere,
    /// A provider or an authenticator answered, and nobody is signed in by that.
    NotSignedIn {
        reason: String,
    },
    /// The provider of identities does not answer as it should.
    ProviderFailed(OpenIdError),
    /// No such file in the repository.
    NoSuchFile,
    NoSuchRollout,
    NoSuchPatch,
    NoSuchAccount,
    NoSuchMachine,
    NoSuchToken,
    NoSuchKey,
    NoSuchHook,
    /// No such thing to do with a rollout.
    NoSuchChange,
    /// A form that no page of this service gave to this browser.
    ForeignForm,
    /// Signed in, but as somebody who may not do this.
    NotAnOperator,
    /// Not signed in with the account's password.
    NotTheOwner,
    /// Signed in too long ago for what outlasts the session.
    SignInAgain,
    /// A link from an e-mail that holds no more.
    NoSuchLink,
    /// No e-mails leave this service.
    NoRegistration,
    /// The rollout's phase has no such edge, or another rollout is in the way.
    Conflict {
        reason: String,
    },
    TooManyGuesses {
        /// Seconds until a key is looked at again.
        retry_secs: u64,
    },
    TooManyStreams,
    /// The request can be read, yet one of its values can't be taken.
    Unacceptable(InvalidText),
    /// Not the client's fault; the cause goes to the log.
    Internal {
        doing: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The repository or the database does not answer.
    Unavailable {
        doing: &'static str,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

pub type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::UnknownToken | Self::UnknownMachine | Self::UnknownOperator => {
                StatusCode::UNAUTHORIZED
            }
            Self::MachineLimit { .. }
            | Self::MirrorWithLimit { .. }
            | Self::ForeignForm
            | Self::NotAnOperator
            | Self::NotTheOwner
            | Self::SignInAgain
            | Self::NotBegunHere
            | Self::NotSignedIn { .. }
            | Self::NoRegistration => StatusCode::FORBIDDEN,
            Self::NoSuchFile
            | Self::NothingSold
            | Self::NoProvider
            | Self::NoPasskeys
            | Self::NoSuchPatch
            | Self::NoSuchAccount
            | Self::NoSuchMachine
            | Self::NoSuchToken
            | Self::NoSuchKey
            | Self::NoSuchHook
            | Self::NoSuchRollout
            | Self::NoSuchChange
            | Self::NoSuchLink => StatusCode::NOT_FOUND,
            Self::NotFromStripe { .. } => StatusCode::BAD_REQUEST,
            Self::Conflict { .. } => StatusCode::CONFLICT,
            Self::TooManyGuesses { .. } | Self::TooManyStreams => StatusCode::TOO_MANY_REQUESTS,
            Self::Unacceptable(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
            Self::ProviderFailed(_) | Self::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub fn kind(&self) -> ProblemKind {
        match self {
            Self::UnknownToken => ProblemKind::UnknownToken,
            Self::UnknownMachine => ProblemKind::UnknownMachine,
            Self::UnknownOperator => ProblemKind::UnknownOperator,
            Self::MachineLimit { .. } | Self::MirrorWithLimit { .. } => ProblemKind::MachineLimit,
            Self::NoSuchFile
            | Self::NothingSold
            | Self::NoProvider
            | Self::NoPasskeys
            | Self::NoSuchPatch
            | Self::NoSuchAccount
            | Self::NoSuchMachine
            | Self::NoSuchToken
            | Self::NoSuchKey
            | Self::NoSuchHook
            | Self::NoSuchRollout
            | Self::NoSuchChange
            | Self::NoSuchLink => ProblemKind::NotFound,
            Self::NotFromStripe { .. } => ProblemKind::BadRequest,
            Self::ForeignForm
            | Self::NotAnOperator
            | Self::NotTheOwner
            | Self::SignInAgain
            | Self::NotBegunHere
            | Self::NotSignedIn { .. }
            | Self::NoRegistration => ProblemKind::Forbidden,
            Self::Conflict { .. } => ProblemKind::Conflict,
            Self::TooManyGuesses { .. } | Self::TooManyStreams => ProblemKind::TooMany,
            Self::Unacceptable(_) => ProblemKind::BadRequest,
            Self::ProviderFailed(_) | Self::Internal { .. } | Self::Unavailable { .. } => {
                ProblemKind::Internal
            }
        }
    }

    /// What happened, as a page's heading.
    pub fn title(&self) -> &'static str {
        match self {
            Self::NotBegunHere | Self::NotSignedIn { .. } | Self::ProviderFailed(_) => {
                "That did not work"
            }
            other => other.kind().title(),
        }
    }

    /// What happened and what to do.
    pub fn detail(&self) -> String {
        match self {
            // Existing integrations look for the words `Unknown Auth-Token`.
            Self::UnknownToken => "Unknown Auth-Token: this token was never issued, or was \
                revoked. Copy it again, or ask for a new one, and run \
                `sudo livepatch enable TOKEN`."
                .to_owned(),
            Self::UnknownMachine => "This machine's secret is not known: the machine was \
                released (by somebody, or after a long silence), or enrolled again since. Run `sudo livepatch enable TOKEN` to enrol it."
                .to_owned(),
            Self::MachineLimit { plan, limit, or } => format!(
                "The {plan} plan covers {limit} machines here, and {limit} are enrolled. Either \
                 release one (`sudo livepatch disable` on it), or {or}. Then enable this machine \
                 again."
            ),
            Self::NotFromStripe { reason } => format!("{}.", sentence(reason)),
            Self::MirrorWithLimit { limit } => format!(
                "A mirror needs the token of an account without a limit of machines; this one's \
                 is {limit}."
            ),
            Self::NothingSold => {
                "This service sells no subscriptions; its operator gives accounts their plans."
                    .to_owned()
            }
            Self::UnknownOperator => "This operator's key was never issued, or was revoked. \
                `suture admin operator-key` at the vendor's command line makes and lists keys."
                .to_owned(),
            Self::NoSuchFile => "The repository has no file of this name.".to_owned(),
            Self::NoSuchAccount => "There is no such account.".to_owned(),
            Self::NoSuchMachine => {
                "The account has no such machine; it may have been released.".to_owned()
            }
            Self::NoSuchToken => "There is no token with this id.".to_owned(),
            Self::NoSuchKey => "There is no operator's key with this id.".to_owned(),
            Self::NoSuchHook => "The file of hooks has none with this name.".to_owned(),
            Self::NoSuchPatch => "There is no live patch with this name; the page of live patches \
                finds them by kernel and by hole."
                .to_owned(),
            Self::NoSuchRollout => "There is no rollout with this id.".to_owned(),
            Self::NoSuchChange => {
                "A rollout can be changed by `halt`, `resume` and `withdraw`.".to_owned()
            }
            Self::ForeignForm => "This form was not made for this browser, or is too old. Open \
                the page again and send it from there."
                .to_owned(),
            Self::NotAnOperator => {
                "Only operators may do this. Sign in with an operator's key.".to_owned()
            }
            Self::NotTheOwner => {
                "Only the account's owner may do this. Sign in as you do on its page, with the \
                e-mail address and password for one; a token is not enough."
                    .to_owned()
            }
            Self::SignInAgain => {
                "You signed in more than 15 minutes ago. Sign in again, then add a way to sign in."
                    .to_owned()
            }
            Self::NoProvider => {
                "Nobody signs in to this service at another place.".to_owned()
            }
            Self::NoPasskeys => "Browsers offer passkeys only where the service has a name and TLS: \
                its operator gives it both, by `suture serve --public-url`."
                .to_owned(),
            Self::NotBegunHere => "This was not begun in this browser, was finished before, or \
                took too long. Begin again on the page for signing in, or on your account's page."
                .to_owned(),
            Self::NotSignedIn { reason } => format!("{}.", sentence(reason)),
            Self::ProviderFailed(_) => "The place where you sign in does not answer as it should; \
                this service's log has the reason. Try again later, or sign in another way."
                .to_owned(),
            Self::NoSuchLink => "This link was used, is over, or was never sent. Have a new one \
                sent: register again, or ask for a new password."
                .to_owned(),
            Self::NoRegistration => "This service sends no e-mails, so nobody can register or \
                choose a password here. Ask its operator for an account and a token."
                .to_owned(),
            Self::Conflict { reason } => format!("{}.", sentence(reason)),
            Self::TooManyGuesses { retry_secs } => format!(
                "Too many tries came from this address. Wait {} minutes and try again.",
                retry_secs.div_ceil(60)
            ),
            Self::TooManyStreams => "Too many pages are being followed at present. Reload the \
                page for news."
                .to_owned(),
            Self::Unacceptable(reason) => format!("{}.", sentence(&reason.to_string())),
            Self::Internal { .. } => {
                "The service failed at this request; its log has the reason under the id in \
                 `x-request-id`. Try again later."
                    .to_owned()
            }
            Self::Unavailable { .. } => {
                "The service cannot work at present; its log has the reason. Try again later."
                    .to_owned()
            }
        }
    }

    /// Seconds to wait, for the header `retry-after`.
    pub fn retry_secs(&self) -> Option<u64> {
        match self {
            Self::TooManyGuesses { retry_secs } => Some(*retry_secs),
            Self::TooManyStreams => Some(60),
            _ => None,
        }
    }

    /// The one place where a failure of the service itself is logged.
    pub fn log(&self) {
        if let Self::Internal { doing, source } | Self::Unavailable { doing, source } = self {
            let cause = chain(source.as_ref());
            error!(error = cause, "cannot {doing}: {cause}");
        }
        if let Self::ProviderFailed(source) = self {
            let cause = chain(source);
            error!(error = cause, "cannot sign in by OpenID Connect: {cause}");
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.log();
        let mut response = problem(self.kind(), self.status(), self.detail());
        if let Some(secs) = self.retry_secs() {
            response.headers_mut().insert(RETRY_AFTER, secs.into());
        }
        response
    }
}

impl From<InvalidText> for ApiError {
    fn from(reason: InvalidText) -> Self {
        Self::Unacceptable(reason)
    }
}

impl ApiError {
    /// What an operator is told of things that they named.
    pub fn of_operator(error: StoreError) -> Self {
        match error {
            StoreError::UnknownAccount { .. } | StoreError::UnknownEmail { .. } => {
                Self::NoSuchAccount
            }
            StoreError::UnknownMachineId { .. } => Self::NoSuchMachine,
            StoreError::UnknownTokenId { .. } => Self::NoSuchToken,
            StoreError::UnknownOperatorKey { .. } => Self::NoSuchKey,
            error @ StoreError::EmailTaken { .. } => Self::Conflict {
                reason: error.to_string(),
            },
            other => other.into(),
        }
    }
}

impl From<BillingError> for ApiError {
    fn from(error: BillingError) -> Self {
        match error {
            BillingError::Store(error) => error.into(),
            other => Self::Unavailable {
                doing: "deal with a subscription",
                source: Box::new(other),
            },
        }
    }
}

impl From<OpenIdError> for ApiError {
    fn from(error: OpenIdError) -> Self {
        match error {
            error @ (OpenIdError::Refused { .. } | OpenIdError::IdToken(_)) => {
                let reason = chain(&error);
                warn!(error = reason, "nobody is signed in: {reason}");
                Self::NotSignedIn { reason }
            }
            other => Self::ProviderFailed(other),
        }
    }
}

impl From<TooManyTries> for ApiError {
    fn from(TooManyTries { retry_secs }: TooManyTries) -> Self {
        Self::TooManyGuesses { retry_secs }
    }
}

impl From<InvalidPasskey> for ApiError {
    fn from(error: InvalidPasskey) -> Self {
        let reason = error.to_string();
        warn!(error = reason, "nobody is signed in: {reason}");
        Self::NotSignedIn { reason }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::UnknownToken => Self::UnknownToken,
            // The second: two releases at the same moment.
            StoreError::UnknownMachine | StoreError::UnknownMachineId { .. } => {
                Self::UnknownMachine
            }
            StoreError::MachineLimit { plan, limit } => Self::MachineLimit {
                plan,
                limit,
                or: "ask this service's operator for more".to_owned(),
            },
            error @ (StoreError::NotCopied
            | StoreError::IdentityTaken
            | StoreError::PasskeyTaken
            | StoreError::TooManyWays { .. }
            | StoreError::LastWay) => Self::Conflict {
                reason: error.to_string(),
            },
            StoreError::UnknownOperator => Self::UnknownOperator,
            StoreError::UnknownLink => Self::NoSuchLink,
            StoreError::UnknownRollout { .. } => Self::NoSuchRollout,
            StoreError::RolloutPhase { source, .. } => Self::Conflict {
                reason: source.to_string(),
            },
            error @ StoreError::RolloutExists { .. } => Self::Conflict {
                reason: error.to_string(),
            },
            StoreError::EmailTaken { .. }
            | StoreError::UnknownAccount { .. }
            | StoreError::UnknownEmail { .. }
            | StoreError::UnknownTokenId { .. }
            | StoreError::UnknownOperatorKey { .. }
            | StoreError::InconsistentRow(_)
            | StoreError::NoRandomBytes
            | StoreError::Database { .. } => Self::Internal {
                doing: "use the store",
                source: error.into(),
            },
        }
    }
}

fn problem(kind: ProblemKind, status: StatusCode, detail: String) -> Response {
    let body = Problem::new(kind, status.as_u16(), detail);
    let mut response = (status, axum::Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(Problem::MEDIA_TYPE));
    if status == StatusCode::UNAUTHORIZED {
        // RFC 6750, 3: a refused bearer is told the scheme.
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Gives refusals of the framework itself (no such route, wrong method, unreadable or oversize
/// body, timeout) the form that all others have.
pub async fn in_one_form(response: Response) -> Response {
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    // A page for people says it in words of its own.
    let is_told = content_type
        .is_some_and(|value| value == Problem::MEDIA_TYPE || value.starts_with("text/html"));
    if is_told || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let reason = reason(body).await;
    let mut answer = problem(kind_of(status), status, detail_of(status, &reason));
    // What the framework said beside the body, e.g. `allow` with a 405.
    for (name, value) in &parts.headers {
        if !answer.headers().contains_key(name) && name != axum::http::header::CONTENT_LENGTH {
            answer.headers_mut().insert(name, value.clone());
        }
    }
    answer
}

async fn reason(body: Body) -> String {
    let bytes = to_bytes(body, MAX_REASON_BYTES).await.unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn kind_of(status: StatusCode) -> ProblemKind {
    match status {
        StatusCode::NOT_FOUND => ProblemKind::NotFound,
        StatusCode::PAYLOAD_TOO_LARGE => ProblemKind::TooLarge,
        status if status.is_client_error() => ProblemKind::BadRequest,
        _ => ProblemKind::Internal,
    }
}

fn detail_of(status: StatusCode, reason: &str) -> String {
    match status {
        StatusCode::NOT_FOUND => {
            "There is nothing at this address; `/openapi.json` lists what there is.".to_owned()
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            "This address does not take this method; the header `allow` lists those that it takes."
                .to_owned()
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            format!(
                "The body is longer than {} bytes.",
                crate::router::MAX_BODY_BYTES
            )
        }
        StatusCode::REQUEST_TIMEOUT => "The request took too long; send it again.".to_owned(),
        _ if reason.is_empty() => "The request cannot be taken.".to_owned(),
        _ => sentence(reason),
    }
}

/// With a capital letter in front.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_uppercase().chain(chars).collect())
        .unwrap_or_default()
}
