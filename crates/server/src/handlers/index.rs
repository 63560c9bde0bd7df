//! The front page: what this is, how to enable it, what was published.

use askama::Template;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{Html, IntoResponse};

use super::patches::{PUBLIC, find};
use crate::html::{Nav, render};
use crate::patches::PatchQuery;
use crate::picture::number;
use crate::problem::ApiResult;
use crate::state::AppState;
use crate::view::PatchSummary;

/// Live patches on the front page.
const LATEST: usize = 5;

#[derive(Template)]
#[template(path = "index.html")]
struct IndexPage {
    nav: Nav,
    patches: Vec<PatchSummary>,
    /// Live patches beyond those on the page.
    older: usize,
    /// What the plan without a limit costs; none: it can't be bought here.
    price: Option<String>,
    /// Whether people can register here.
    registers: bool,
    version: &'static str,
}

/// The front page.
#[utoipa::path(
    get,
    path = "/",
    tag = "pages",
    responses((status = OK, description = "the page", content_type = "text/html")),
)]
pub async fn index(State(app): State<AppState>) -> ApiResult<impl IntoResponse> {
    let published = app.patches.current().await.list.len();
    let latest = PatchQuery {
        limit: LATEST,
        ..PatchQuery::default()
    };
    let found = find(&app, latest).await?;
    let page = IndexPage {
        // Everyone gets the same page, so that caches may keep it.
        nav: Nav::new(None),
        older: published.saturating_sub(found.patches.len()),
        patches: found.patches,
        price: app.price(),
        registers: app.web.post.is_some(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let html = render(&page)?;
    Ok(([PUBLIC], Html(html)))
}

/// The style sheet of the pages.
#[utoipa::path(
    get,
    path = "/style.css",
    tag = "pages",
    responses((status = OK, description = "the style sheet", content_type = "text/css")),
)]
pub async fn style() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/css; charset=utf-8"),
        (CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, include_str!("../../templates/style.css"))
}

/// The pages' script: shows news as they come.
#[utoipa::path(
    get,
    path = "/follow.js",
    tag = "pages",
    responses((status = OK, description = "the script", content_type = "text/javascript")),
)]
pub async fn script() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, include_str!("../../templates/follow.js"))
}
