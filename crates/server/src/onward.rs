//! A page that leads somewhere else. A redirect would not do: what a form leads to must be this site
//! by its own policy, and browsers send no session along a redirect that began at another site.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use url::Url;

use crate::html::{Nav, private};
use crate::problem::{ApiError, ApiResult};
use crate::session::Session;
use crate::state::AppState;

#[derive(Template)]
#[template(path = "onward.html")]
struct OnwardPage {
    nav: Nav,
    to: Url,
}

/// Leads to another site.
pub fn onward(session: Option<&Session>, to: Url) -> ApiResult<Response> {
    let page = OnwardPage {
        nav: Nav::new(session),
        to,
    };
    private(StatusCode::OK, &page)
}

/// Leads whoever comes from another site to one of our own pages.
pub fn onward_here(app: &AppState, page: &str) -> ApiResult<Response> {
    let to = format!("{}{page}", app.public_url);
    let to = to.parse().map_err(|source| ApiError::Internal {
        doing: "read the service's public address",
        source: Box::new(source),
    })?;
    onward(None, to)
}
