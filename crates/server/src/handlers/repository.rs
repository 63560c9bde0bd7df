//! The repository's files. Everyone may read what a live patch is and where it comes from; the
//! modules themselves are for enrolled machines.

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use suture_protocol::{Problem, TargetKind};

use crate::bearer::{Bearer, ModuleReader};
use crate::names::{MetadataName, TargetFile};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;
use crate::static_file::{Caching, StaticFile};

/// A metadata file of the TUF repository: `timestamp.json`, `N.root.json`, `N.snapshot.json`,
/// `N.targets.json`.
#[utoipa::path(
    get,
    path = "/v1/repository/metadata/{file}",
    tag = "repository",
    params(("file" = String, Path, example = "timestamp.json")),
    responses(
        (status = OK, description = "the file", content_type = "application/json"),
        (status = NOT_MODIFIED, description = "the client has it"),
        (status = NOT_FOUND, description = "not-found", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn metadata(
    State(app): State<AppState>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let name: MetadataName = file.parse().map_err(|_| ApiError::NoSuchFile)?;
    let caching = match name {
        MetadataName::Timestamp => Caching::Short,
        MetadataName::Versioned { .. } => Caching::Immutable,
    };
    let path = name.path(app.patches.layout());
    let file = StaticFile {
        path: &path,
        content_type: "application/json",
        caching,
        tag: None,
    };
    file.answer(&headers).await
}

/// A target of the TUF repository: `SHA256.NAME`. Modules (`.ko`) need a machine's secret, or the
/// token of an account whose machines have no limit, for a service that mirrors this one.
#[utoipa::path(
    get,
    path = "/v1/repository/targets/{file}",
    tag = "repository",
    security((), ("machine_secret" = []), ("account_token" = [])),
    params(("file" = String, Path, description = "`<sha256>.<target name>`")),
    responses(
        (status = OK, description = "the file", content_type = "application/octet-stream"),
        (status = NOT_MODIFIED, description = "the client has it"),
        (status = UNAUTHORIZED, description = "unknown-machine", body = Problem,
            content_type = "application/problem+json"),
        (status = FORBIDDEN, description = "machine-limit: the token's account has a limit",
            body = Problem, content_type = "application/problem+json"),
        (status = NOT_FOUND, description = "not-found", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub async fn target(
    State(app): State<AppState>,
    Path(file): Path<String>,
    reader: Result<Bearer<ModuleReader>, ApiError>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let target: TargetFile = file.parse().map_err(|_| ApiError::NoSuchFile)?;
    let (content_type, caching) = match target.kind() {
        TargetKind::Module => {
            require_reader(&app, reader?.0).await?;
            ("application/octet-stream", Caching::PrivateImmutable)
        }
        TargetKind::Manifest => ("application/json", Caching::Immutable),
        TargetKind::Source => ("application/gzip", Caching::Immutable),
    };
    let path = target.path(app.patches.layout());
    let file = StaticFile {
        path: &path,
        content_type,
        caching,
        tag: Some(target.sha256()),
    };
    file.answer(&headers).await
}

/// Behind a mirror there may be any number of machines, so its account must have no limit.
async fn require_reader(app: &AppState, reader: ModuleReader) -> ApiResult<()> {
    match reader {
        ModuleReader::Machine(secret) => {
            app.store.authenticate_machine(&secret).await?;
        }
        ModuleReader::Mirror(token) => {
            let account = app.store.authenticate_token(&token).await?.account;
            if let Some(limit) = account.machine_limit() {
                return Err(ApiError::MirrorWithLimit { limit });
            }
        }
    }
    Ok(())
}
