//! Pages as answers.

use askama::Template;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{Html, IntoResponse, Response};
use suture_store::Visitor;

use crate::problem::{ApiError, ApiResult};
use crate::session::{Session, form_token};

/// What stands above every page.
pub struct Nav {
    /// Who signed in, in words.
    pub who: Option<String>,
    /// The visitor owns an account and may change it.
    pub owner: bool,
    /// The visitor may see the whole fleet.
    pub operator: bool,
    /// See [`form_token`]; empty if nobody signed in.
    pub sign_out_token: String,
}

/// Address of the form that ends a session.
pub const SIGN_OUT: &str = "/sign-out";

impl Nav {
    pub fn new(session: Option<&Session>) -> Self {
        let who = |session: &Session| match &session.visitor {
            Visitor::Operator(name) => format!("operator {name}"),
            Visitor::Owner(_) => "account owner".to_owned(),
            Visitor::TokenHolder(_) => "token holder".to_owned(),
        };
        let token = |session: &Session| form_token(session.secret.expose(), SIGN_OUT);
        Self {
            who: session.map(who),
            owner: session.is_some_and(|session| session.owner().is_some()),
            operator: session.is_some_and(|session| session.operator().is_some()),
            sign_out_token: session.map(token).unwrap_or_default(),
        }
    }
}

/// A page that only its reader may keep, and asks for anew each time.
pub fn private(status: StatusCode, page: &impl Template) -> ApiResult<Response> {
    let html = Html(render(page)?);
    let caching = [(CACHE_CONTROL, "private, no-store")];
    Ok((status, caching, html).into_response())
}

pub fn render(page: &impl Template) -> ApiResult<String> {
    page.render().map_err(|source| ApiError::Internal {
        doing: "render a page",
        source: Box::new(source),
    })
}

/// A refusal as a page.
pub struct PageError(ApiError);

pub type PageResult<T> = Result<T, PageError>;

impl<E: Into<ApiError>> From<E> for PageError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

#[derive(Template)]
#[template(path = "refusal.html")]
struct RefusalPage {
    nav: Nav,
    title: &'static str,
    detail: String,
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let page = RefusalPage {
            nav: Nav::new(None),
            title: error.title(),
            detail: error.detail(),
        };
        let Ok(mut response) = private(error.status(), &page) else {
            return error.into_response();
        };
        error.log();
        if let Some(secs) = error.retry_secs() {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}
