//! Published live patches and the kernels that they are for, as pages for everyone.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse};

use super::patches::{PUBLIC, PatchSearch, covered, find, in_full};
use suture_protocol::SmokeTest;

use crate::html::{Nav, PageResult, render};
use crate::picture::number;
use crate::problem::ApiError;
use crate::state::AppState;
use crate::view::{CoveredKernel, PatchPage, PatchView};

/// Live patches on a page.
const ON_A_PAGE: usize = 25;

#[derive(Template)]
#[template(path = "patches.html")]
struct ListPage {
    nav: Nav,
    search: PatchSearch,
    /// Why nothing was looked for.
    refusal: Option<String>,
    found: PatchPage,
    /// Addresses of what follows, and of the same search as feeds.
    next: Option<String>,
    atom: String,
    json: String,
}

#[derive(Template)]
#[template(path = "patch.html")]
struct PatchPageInFull {
    nav: Nav,
    patch: PatchView,
    public_url: String,
}

#[derive(Template)]
#[template(path = "kernels.html")]
struct KernelsPage {
    nav: Nav,
    kernels: Vec<CoveredKernel>,
}

/// Live patches, by kernel or by hole.
#[utoipa::path(
    get,
    path = "/patches",
    tag = "pages",
    params(PatchSearch),
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = UNPROCESSABLE_ENTITY, description = "no such identifier",
            content_type = "text/html"),
    ),
)]
pub async fn list(
    State(app): State<AppState>,
    Query(search): Query<PatchSearch>,
) -> PageResult<impl IntoResponse> {
    let (query, refusal) = match search.query(search.limit.unwrap_or(ON_A_PAGE)) {
        Ok(query) => (Some(query), None),
        Err(invalid) => (None, Some(ApiError::from(invalid).detail())),
    };
    let found = match query {
        Some(query) => find(&app, query).await?,
        None => PatchPage {
            patches: Vec::new(),
            next: None,
        },
    };
    let status = match refusal {
        Some(_) => StatusCode::UNPROCESSABLE_ENTITY,
        None => StatusCode::OK,
    };
    let page = ListPage {
        // Everyone gets the same page, so that caches may keep it.
        nav: Nav::new(None),
        next: found
            .next
            .as_deref()
            .map(|next| search.address("/patches", Some(next))),
        atom: search.address("/patches.atom", None),
        json: search.address("/patches.json", None),
        search,
        refusal,
        found,
    };
    Ok((status, [PUBLIC], Html(render(&page)?)))
}

/// A live patch with its functions, its fixes and its source.
#[utoipa::path(
    get,
    path = "/patches/{name}",
    tag = "pages",
    params(("name" = String, Path, description = "`RELEASE_ARCHITECTURE_BUILDID_VERSION`")),
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = NOT_FOUND, description = "no such patch", content_type = "text/html"),
    ),
)]
pub async fn show(
    State(app): State<AppState>,
    Path(name): Path<String>,
) -> PageResult<impl IntoResponse> {
    let page = PatchPageInFull {
        nav: Nav::new(None),
        patch: in_full(&app, name).await?,
        public_url: app.public_url.to_string(),
    };
    Ok(([PUBLIC], Html(render(&page)?)))
}

/// The kernels covered, and until when.
#[utoipa::path(
    get,
    path = "/kernels",
    tag = "pages",
    responses((status = OK, description = "the page", content_type = "text/html")),
)]
pub async fn kernels(State(app): State<AppState>) -> PageResult<impl IntoResponse> {
    let page = KernelsPage {
        nav: Nav::new(None),
        kernels: covered(&app).await.kernels,
    };
    Ok(([PUBLIC], Html(render(&page)?)))
}
