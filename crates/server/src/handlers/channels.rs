//! Channels as JSON, for operators.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use suture_advisory::PatchVersion;
use suture_protocol::Problem;
use suture_rollout::{ChannelName, Published};
use suture_store::{Actor, ChannelChange, InvalidText, StoreError};

use crate::operator::{Operator, OperatorRefusals};
use crate::problem::ApiResult;
use crate::state::AppState;
use crate::view::ChannelView;

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
    // Says nothing, but who sends one keeps the connection only if it is read.
    _body: Bytes,
) -> ApiResult<Json<ChannelView>> {
    let change = wanted(&name, &version, true)?;
    carry_out(&app, &change, &operator.actor()).await?;
    one(&app, &change.channel).await
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
    let change = wanted(&name, &version, false)?;
    carry_out(&app, &change, &operator.actor()).await?;
    one(&app, &change.channel).await
}

async fn one(app: &AppState, name: &ChannelName) -> ApiResult<Json<ChannelView>> {
    let (channels, groups) = (app.store.channels().await?, app.store.groups().await?);
    Ok(Json(ChannelView::of(name, &channels, &groups)))
}

/// A change by the names of the channel and the version.
pub fn wanted(channel: &str, version: &str, promoted: bool) -> Result<ChannelChange, InvalidText> {
    Ok(ChannelChange {
        version: version.parse::<PatchVersion>()?,
        channel: channel.parse::<ChannelName>()?,
        promoted,
    })
}

/// Refuses to promote what is not published: a mistyped version would be let through silently once
/// there is one.
pub async fn carry_out(app: &AppState, change: &ChannelChange, by: &Actor) -> ApiResult<()> {
    let patches = app.patches.current().await;
    let is_published = |patch: &Published| patch.version == change.version;
    if change.promoted && !patches.published.iter().any(is_published) {
        let (what, expected) = ("version", "one that is published");
        return Err(InvalidText { what, expected }.into());
    }
    Ok(app
        .store
        .change_channel(change, by, app.clock.now())
        .await?)
}
