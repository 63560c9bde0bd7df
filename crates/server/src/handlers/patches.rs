//! Published live patches as JSON, and what pages and feeds ask of them.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, LINK};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use suture_protocol::Problem;
use suture_store::InvalidText;
use utoipa::IntoParams;

use crate::patches::{MAX_PIECE, PatchQuery};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;
use crate::view::{CoveredKernels, PatchPage, PatchSummary, PatchView};

/// Everyone gets the same, so that caches may keep it.
pub(super) const PUBLIC: (axum::http::HeaderName, &str) = (CACHE_CONTROL, "public, max-age=60");

/// Longest part of a kernel's release to look for.
const MAX_KERNEL: usize = 64;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PatchSearch {
    /// A part of the kernel's release, e.g. `6.1.0-53`.
    #[serde(default)]
    pub kernel: String,
    /// A hole that the patch closes, e.g. `CVE-2026-89603`.
    #[serde(default)]
    pub cve: String,
    /// What the piece before gave as `next`.
    pub after: Option<String>,
    /// Patches wanted (default and most: 100).
    pub limit: Option<usize>,
}

impl PatchSearch {
    /// What was not filled in is not looked for.
    pub(super) fn query(&self, limit: usize) -> Result<PatchQuery, InvalidText> {
        let kernel = self.kernel.trim();
        if kernel.len() > MAX_KERNEL {
            return Err(InvalidText {
                what: "kernel",
                expected: "a part of a release such as `6.1.0-53`",
            });
        }
        let cve = match self.cve.trim() {
            "" => None,
            text => Some(text.parse().map_err(|_| InvalidText {
                what: "CVE identifier",
                expected: "a form like `CVE-2026-89603`",
            })?),
        };
        Ok(PatchQuery {
            kernel: Some(kernel.to_owned()).filter(|kernel| !kernel.is_empty()),
            cve,
            after: self.after.clone(),
            limit: limit.clamp(1, MAX_PIECE),
        })
    }

    /// The same search, as it stands in an address; `next` goes on after that patch.
    pub(super) fn address(&self, path: &str, next: Option<&str>) -> String {
        let after = next.map(|name| ("after", name));
        let limit = self.limit.map(|limit| limit.to_string());
        let words = [("kernel", self.kernel.trim()), ("cve", self.cve.trim())];
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(words.iter().filter(|(_, value)| !value.is_empty()));
        query.extend_pairs(limit.iter().map(|limit| ("limit", limit)));
        query.extend_pairs(after);
        match query.finish() {
            query if query.is_empty() => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }
}

/// Published live patches, the latest first. The header `Link` names what follows (RFC 8288).
#[utoipa::path(
    get,
    path = "/v1/patches",
    tag = "patches",
    params(PatchSearch),
    responses(
        (status = OK, description = "the patches", body = PatchPage),
        (status = NOT_MODIFIED, description = "the client has them"),
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn list(
    State(app): State<AppState>,
    Query(search): Query<PatchSearch>,
) -> ApiResult<Response> {
    let page = find(&app, search.query(search.limit.unwrap_or(MAX_PIECE))?).await?;
    let next = page.next.as_deref();
    let link = next.map(|next| {
        let address = search.address("/v1/patches", Some(next));
        HeaderValue::try_from(format!("<{address}>; rel=\"next\""))
    });
    let mut response = ([PUBLIC], Json(&page)).into_response();
    response
        .headers_mut()
        .extend(link.and_then(Result::ok).map(|link| (LINK, link)));
    Ok(response)
}

/// A live patch in full, with its signed manifest.
#[utoipa::path(
    get,
    path = "/v1/patches/{name}",
    tag = "patches",
    params(("name" = String, Path, description = "`RELEASE_ARCHITECTURE_BUILDID_VERSION`")),
    responses(
        (status = OK, description = "the patch", body = PatchView),
        (status = NOT_MODIFIED, description = "the client has it"),
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn show(
    State(app): State<AppState>,
    Path(name): Path<String>,
) -> ApiResult<impl IntoResponse> {
    Ok(([PUBLIC], Json(in_full(&app, name).await?)))
}

/// The kernel builds that live patches are made for.
#[utoipa::path(
    get,
    path = "/v1/kernels",
    tag = "patches",
    responses(
        (status = OK, description = "the kernels", body = CoveredKernels),
        (status = NOT_MODIFIED, description = "the client has them"),
    ),
)]
pub async fn kernels(State(app): State<AppState>) -> impl IntoResponse {
    ([PUBLIC], Json(covered(&app).await))
}

pub(super) async fn find(app: &AppState, query: PatchQuery) -> ApiResult<PatchPage> {
    let snapshot = app.patches.current().await;
    let piece = snapshot.piece(query).await;
    let rollouts = app.store.rollouts().await?;
    let summary = |card: &std::sync::Arc<_>| PatchSummary::new(card, &rollouts);
    Ok(PatchPage {
        patches: piece.cards.iter().map(summary).collect(),
        next: piece.next(),
    })
}

pub(super) async fn in_full(app: &AppState, name: String) -> ApiResult<PatchView> {
    let snapshot = app.patches.current().await;
    let patch = snapshot.in_full(name).await.ok_or(ApiError::NoSuchPatch)?;
    let rollouts = app.store.rollouts().await?;
    Ok(PatchView::new(patch, &rollouts))
}

pub(super) async fn covered(app: &AppState) -> CoveredKernels {
    let snapshot = app.patches.current().await;
    CoveredKernels::new(&snapshot.published, |kernel| {
        app.notices.of(&kernel.release)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(kernel: &str, cve: &str) -> PatchSearch {
        PatchSearch {
            kernel: kernel.to_owned(),
            cve: cve.to_owned(),
            ..PatchSearch::default()
        }
    }

    #[test]
    fn a_search_is_as_it_was_filled_in() {
        let query = search(" 6.1.0 ", "cve-2026-89603").query(500).unwrap();
        assert_eq!(query.kernel.as_deref(), Some("6.1.0"));
        assert_eq!(query.cve.unwrap().as_str(), "CVE-2026-89603");
        assert_eq!(query.limit, MAX_PIECE);
        let empty = search("", " ").query(0).unwrap();
        assert_eq!((empty.kernel, empty.cve, empty.limit), (None, None, 1));
        let refused = search("", "2026-1").query(1).unwrap_err().to_string();
        assert!(refused.contains("CVE-2026-89603"), "{refused}");
        assert!(search(&"6".repeat(65), "").query(1).is_err());
    }

    #[test]
    fn addresses_keep_the_search() {
        let search = search("6.1+deb", "");
        assert_eq!(search.address("/p", None), "/p?kernel=6.1%2Bdeb");
        let next = search.address("/p", Some("6.1+x_1"));
        assert_eq!(next, "/p?kernel=6.1%2Bdeb&after=6.1%2Bx_1");
        assert_eq!(PatchSearch::default().address("/p", None), "/p");
    }
}
