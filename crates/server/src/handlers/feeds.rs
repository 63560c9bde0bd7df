//! Published live patches as feeds: Atom (RFC 4287) and JSON Feed 1.1.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use suture_protocol::Problem;

use super::patches::{PUBLIC, PatchSearch, find};
use crate::feed;
use crate::problem::ApiResult;
use crate::state::AppState;
use crate::view::PatchSummary;

/// Entries of a feed; who looks once a week misses nothing.
const ENTRIES: usize = 50;

/// The latest live patches as an Atom feed.
#[utoipa::path(
    get,
    path = "/patches.atom",
    tag = "pages",
    params(PatchSearch),
    responses(
        (status = OK, description = "the feed", content_type = "application/atom+xml"),
        (status = NOT_MODIFIED, description = "the client has it"),
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn atom(
    State(app): State<AppState>,
    Query(search): Query<PatchSearch>,
) -> ApiResult<impl IntoResponse> {
    let address = search.address("/patches.atom", None);
    let feed = feed::atom(&latest(&app, &search).await?, &app.public_url, &address);
    let content_type = (CONTENT_TYPE, "application/atom+xml; charset=utf-8");
    Ok(([PUBLIC, content_type], feed))
}

/// The latest live patches as a JSON Feed.
#[utoipa::path(
    get,
    path = "/patches.json",
    tag = "pages",
    params(PatchSearch),
    responses(
        (status = OK, description = "the feed", content_type = "application/feed+json"),
        (status = NOT_MODIFIED, description = "the client has it"),
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn json(
    State(app): State<AppState>,
    Query(search): Query<PatchSearch>,
) -> ApiResult<impl IntoResponse> {
    let address = search.address("/patches.json", None);
    let feed = feed::json(&latest(&app, &search).await?, &app.public_url, &address);
    let content_type = (CONTENT_TYPE, "application/feed+json");
    Ok(([PUBLIC, content_type], Json(feed)))
}

async fn latest(app: &AppState, search: &PatchSearch) -> ApiResult<Vec<PatchSummary>> {
    Ok(find(app, search.query(ENTRIES)?).await?.patches)
}
