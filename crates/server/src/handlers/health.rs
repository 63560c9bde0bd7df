//! Whether the service is alive, whether it can work, and what to watch.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::Serialize;
use suture_protocol::{Problem, ProblemKind};
use tracing::warn;
use utoipa::ToSchema;

use crate::error::chain;
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;

/// How long database and repository may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// The database answers and the repository can be read.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Live patches that are published.
    live_patches: usize,
    /// When the first of the repository's metadata expires. Machines refuse expired metadata, so
    /// watch this: `suture repository refresh` signs anew.
    #[schema(value_type = String)]
    metadata_expires: Option<Timestamp>,
}

/// Whether requests may be sent here, and if not, why.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    ready: bool,
    /// What the service can't work without.
    parts: [Part; 2],
}

/// [`Readiness`] as a problem: what is not ready is an extension of it (source: RFC 9457, 3.2).
#[derive(Debug, Serialize, ToSchema)]
pub struct NotReady {
    #[serde(flatten)]
    problem: Problem,
    #[serde(flatten)]
    readiness: Readiness,
}

/// Something that the service can't work without.
#[derive(Debug, Serialize, ToSchema)]
pub struct Part {
    /// `database` or `repository`.
    name: &'static str,
    ready: bool,
    /// Why it is not ready; the cause is in the service's log.
    reason: Option<&'static str>,
}

/// 200 as long as the process answers at all; one that does not is to be started anew.
#[utoipa::path(
    get,
    path = "/livez",
    tag = "service",
    responses((status = OK, description = "the process answers")),
)]
pub async fn livez() -> impl IntoResponse {
    ([(CACHE_CONTROL, "no-store")], StatusCode::OK)
}

/// 200 if requests may be sent to this copy of the service; 503 with the reasons while the database
/// or the repository can't be reached.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "service",
    responses(
        (status = OK, description = "the service can work", body = Readiness),
        (status = SERVICE_UNAVAILABLE, description = "internal", body = NotReady,
            content_type = "application/problem+json"),
    ),
)]
pub async fn readyz(State(app): State<AppState>) -> Response {
    let (database, repository) = tokio::join!(database(&app), repository(&app));
    let parts = [
        Part::new("database", database),
        Part::new("repository", repository),
    ];
    let ready = parts.iter().all(|part| part.ready);
    let readiness = Readiness { ready, parts };
    let fresh = (CACHE_CONTROL, "no-store");
    if ready {
        return ([fresh], Json(readiness)).into_response();
    }
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let detail = "The service cannot work at present; `parts` says why.".to_owned();
    let problem = Problem::new(ProblemKind::Internal, status.as_u16(), detail);
    let headers = [fresh, (CONTENT_TYPE, Problem::MEDIA_TYPE)];
    (status, headers, Json(NotReady { problem, readiness })).into_response()
}

/// 200 with what to watch if the database answers and the repository can be read, 503 otherwise.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "service",
    responses(
        (status = OK, description = "the service can work", body = Health),
        (status = SERVICE_UNAVAILABLE, description = "internal", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn healthz(State(app): State<AppState>) -> ApiResult<Json<Health>> {
    database(&app).await?;
    repository(&app).await?;
    let patches = app.patches.current().await;
    let expiries = patches.catalogue.expiries().iter();
    Ok(Json(Health {
        live_patches: patches.published.len(),
        metadata_expires: expiries.map(|expiry| expiry.at).min(),
    }))
}

impl Part {
    fn new(name: &'static str, seen: ApiResult<()>) -> Self {
        let reason = seen.err().map(|error| match error {
            ApiError::Unavailable { doing, source } => {
                let cause = chain(source.as_ref());
                warn!(part = name, error = cause, "cannot {doing}: {cause}");
                if source.is::<tokio::time::error::Elapsed>() {
                    "it does not answer within 3 seconds"
                } else {
                    "it can't be reached or read"
                }
            }
            _ => "it fails",
        });
        Self {
            name,
            ready: reason.is_none(),
            reason,
        }
    }
}

async fn database(app: &AppState) -> ApiResult<()> {
    within_patience("reach the database", app.store.ping()).await
}

async fn repository(app: &AppState) -> ApiResult<()> {
    let timestamp = app.patches.layout().timestamp();
    let reading = async { tokio::fs::read(timestamp).await.map(drop) };
    within_patience("read the repository", reading).await
}

async fn within_patience<E>(
    doing: &'static str,
    asking: impl Future<Output = Result<(), E>>,
) -> ApiResult<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let source: Box<dyn std::error::Error + Send + Sync> =
        match tokio::time::timeout(PATIENCE, asking).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.into(),
            Err(late) => late.into(),
        };
    Err(ApiError::Unavailable { doing, source })
}
