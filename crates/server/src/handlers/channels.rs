//! Channels as JSON, for operators.

use axum::Json;
use axum::extract::{Path, State};
use suture_advisory::PatchVersion;
use suture_protocol::Problem;
use suture_rollout::ChannelName;
use suture_store::{InvalidText, StoreError};

use crate::operator::{Operator, OperatorRefusals};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;
use crate::view::ChannelView;

/// What a channel may be called.
pub const CHANNEL_NAMES: &str = "1 to 32 lowercase letters, digits or `-`, the first a letter";

/// All channels that have versions or that a group follows, by their names.
#[utoipa::path(
    get,
    path = "/v1/channels",
    tag = "fleet",
    security(("operator_key" = [])),
    responses(
        (status = OK, description = "the channels", body = Vec<ChannelView>),
        OperatorRefusals,
    ),
)]
pub async fn list(
    State(app): State<AppState>,
    _operator: Operator,
) -> ApiResult<Json<Vec<ChannelView>>> {
    Ok(Json(all(&app).await?))
}

/// What the API lists and the page shows.
pub async fn all(app: &AppState) -> Result<Vec<ChannelView>, StoreError> {
    let channels = app.store.channels().await?;
    Ok(ChannelView::all(&channels, &app.store.groups().await?))
}

/// Lets a published version through to the machines that follow a channel, from their next
/// check-in on. Promoting it once more changes nothing.
#[utoipa::path(
    put,
    path = "/v1/channels/{name}/versions/{version}",
    tag = "fleet",
    security(("operator_key" = [])),
    params(
        ("name" = String, Path, description = "the channel's name"),
        ("version" = String, Path, description = "the version, like `104.1`"),
    ),
    responses(
        (status = OK, description = "the channel from now on", body = ChannelView),
        OperatorRefusals,
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn promote(
    State(app): State<AppState>,
    Path((name, version)): Path<(String, String)>,
    operator: Operator,
) -> ApiResult<Json<ChannelView>> {
    let (name, version) = named(&name, &version)?;
    let version = published(&app, version).await?;
    let (by, now) = (operator.actor(), app.clock.now());
    let promoted = app.store.promote(version, &name, &by, now).await;
    promoted.map_err(ApiError::of_operator)?;
    one(&app, &name).await
}

/// Takes a version out of a channel. Machines that were offered it keep it, others wait.
#[utoipa::path(
    delete,
    path = "/v1/channels/{name}/versions/{version}",
    tag = "fleet",
    security(("operator_key" = [])),
    params(
        ("name" = String, Path, description = "the channel's name"),
        ("version" = String, Path, description = "the version, like `104.1`"),
    ),
    responses(
        (status = OK, description = "the channel from now on", body = ChannelView),
        OperatorRefusals,
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn demote(
    State(app): State<AppState>,
    Path((name, version)): Path<(String, String)>,
    operator: Operator,
) -> ApiResult<Json<ChannelView>> {
    let (name, version) = named(&name, &version)?;
    let (by, now) = (operator.actor(), app.clock.now());
    let demoted = app.store.demote(version, &name, &by, now).await;
    demoted.map_err(ApiError::of_operator)?;
    one(&app, &name).await
}

async fn one(app: &AppState, name: &ChannelName) -> ApiResult<Json<ChannelView>> {
    let (channels, groups) = (app.store.channels().await?, app.store.groups().await?);
    Ok(Json(ChannelView::of(name, &channels, &groups)))
}

/// A channel and a version by their names.
pub fn named(channel: &str, version: &str) -> Result<(ChannelName, PatchVersion), InvalidText> {
    let unreadable = |what, expected| InvalidText { what, expected };
    let channel = channel.parse();
    let version = version.parse();
    Ok((
        channel.map_err(|_| unreadable("channel", CHANNEL_NAMES))?,
        version.map_err(|_| unreadable("version", "a form like `104.1`"))?,
    ))
}

/// A mistyped version would be let through silently once it is published.
pub async fn published(app: &AppState, version: PatchVersion) -> Result<PatchVersion, InvalidText> {
    let patches = app.patches.current().await;
    let known = patches
        .published
        .iter()
        .any(|patch| patch.version == version);
    known.then_some(version).ok_or(InvalidText {
        what: "version",
        expected: "one that is published",
    })
}
