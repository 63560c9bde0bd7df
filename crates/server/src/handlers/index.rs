//! The front page: what this is, how to enable it, what was published.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{Html, IntoResponse};
use suture_advisory::Severity;
use suture_rollout::RolloutId;
use suture_store::{Rollout, SUBSCRIPTION_DOLLARS_A_MONTH};

use crate::html::{Nav, render};
use crate::page::{MAX_PATCHES, PatchCard};
use crate::problem::ApiResult;
use crate::state::AppState;
use crate::view::RolloutState;

#[derive(Template)]
#[template(path = "index.html")]
struct IndexPage {
    nav: Nav,
    patches: Vec<ListedPatch>,
    /// Live patches beyond those on the page.
    older: usize,
    /// US dollars a month.
    price: u32,
    /// Whether people can register here.
    registers: bool,
    version: &'static str,
}

/// A live patch and how far it has come.
struct ListedPatch {
    list: Arc<[PatchCard]>,
    index: usize,
    /// None: nothing brings it to machines yet.
    rollout: Option<(RolloutId, RolloutState)>,
}

impl ListedPatch {
    fn card(&self) -> &PatchCard {
        &self.list[self.index]
    }
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
    let cards = snapshot.list.cards(&snapshot.catalogue).await;
    let rollouts = app.store.rollouts().await?;
    let older = snapshot.published.len().saturating_sub(MAX_PATCHES);
    let listed = |index: usize| ListedPatch {
        rollout: rollout_of(&cards[index], &rollouts),
        list: Arc::clone(&cards),
        index,
    };
    let page = IndexPage {
        // Everyone gets the same page, so that caches may keep it.
        nav: Nav::new(None),
        patches: (0..cards.len()).map(listed).collect(),
        older,
        price: SUBSCRIPTION_DOLLARS_A_MONTH,
        registers: app.web.post.is_some(),
        version: env!("CARGO_PKG_VERSION"),
    };
    let html = render(&page)?;
    Ok(([(CACHE_CONTROL, "public, max-age=60")], Html(html)))
}

/// The rollout that covers a patch; one that was withdrawn only if no other does.
fn rollout_of(card: &PatchCard, rollouts: &[Rollout]) -> Option<(RolloutId, RolloutState)> {
    let covering = rollouts
        .iter()
        .filter(|rollout| rollout.scope.covers(card.version, &card.kernel))
        .map(|rollout| (rollout.id, RolloutState::of(rollout)));
    covering.min_by_key(|(_, state)| *state == RolloutState::Withdrawn)
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

/// The style sheet's class of a severity.
fn severity_class(severity: &Severity) -> &'static str {
    match severity {
        Severity::Critical => "critical",
        Severity::High => "high",
        Severity::Medium | Severity::Low | Severity::None => "lower",
    }
}
