//! The front page: what this is, how to enable it, what was published.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{Html, IntoResponse};
use suture_advisory::Severity;
use suture_store::SUBSCRIPTION_DOLLARS_A_MONTH;

use crate::page::{MAX_PATCHES, PatchCard};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;

#[derive(Template)]
#[template(path = "index.html")]
struct IndexPage {
    patches: Arc<[PatchCard]>,
    /// Live patches beyond those on the page.
    older: usize,
    /// US dollars a month.
    price: u32,
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
    let snapshot = app.patches.current().await;
    let patches = snapshot.list.cards(&snapshot.catalogue).await;
    let older = snapshot.published.len().saturating_sub(MAX_PATCHES);
    let page = IndexPage {
        patches,
        older,
        price: SUBSCRIPTION_DOLLARS_A_MONTH,
        version: env!("CARGO_PKG_VERSION"),
    };
    let failed = |source| ApiError::Internal {
        doing: "render a page",
        source: Box::new(source),
    };
    let html = page.render().map_err(failed)?;
    Ok(([(CACHE_CONTROL, "public, max-age=60")], Html(html)))
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

/// The style sheet's class of a severity.
fn severity_class(severity: &Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::High => "high",
        Severity::Medium | Severity::Low | Severity::None => "lower",
    }
}
