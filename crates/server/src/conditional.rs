//! Answers that a client already has: a tag for each whole body that everyone may keep.

use aws_lc_rs::digest;
use axum::body::{Body, HttpBody as _, to_bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};

use crate::static_file::matches;

/// Bytes of a body for which a tag is made.
const MAX_BODY: u64 = 4 * 1024 * 1024;

/// What a request says of the answer that its client has.
pub enum Condition {
    /// It asks for something to be done.
    None,
    /// It reads, and has these headers.
    Read(HeaderMap),
}

impl Condition {
    pub fn of<B>(request: &Request<B>) -> Self {
        match *request.method() {
            Method::GET => Self::Read(request.headers().clone()),
            _ => Self::None,
        }
    }

    /// Adds a tag, and answers 304 without the body where the client's tag is the same
    /// (source: RFC 9110, 13.1.2). What has a tag, may not be kept or is a stream is left as it is.
    pub async fn answer(self, response: Response) -> Response {
        match self {
            Self::Read(asked) if wants_a_tag(&response) => tagged(&asked, response).await,
            _ => response,
        }
    }
}

fn wants_a_tag(response: &Response) -> bool {
    let headers = response.headers();
    let public = headers
        .get(CACHE_CONTROL)
        .is_some_and(|value| value.as_bytes().starts_with(b"public"));
    let whole = response.body().size_hint().exact();
    response.status() == StatusCode::OK
        && public
        && !headers.contains_key(ETAG)
        && whole.is_some_and(|length| length <= MAX_BODY)
}

async fn tagged(asked: &HeaderMap, response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY as usize).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let hash = digest::digest(&digest::SHA256, &body);
    let tag = format!("\"{}\"", hex::encode(&hash.as_ref()[..16]));
    let known = matches(asked, &tag);
    parts
        .headers
        .extend(HeaderValue::try_from(tag).ok().map(|tag| (ETAG, tag)));
    if !known {
        return Response::from_parts(parts, Body::from(body));
    }
    parts.status = StatusCode::NOT_MODIFIED;
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.remove(CONTENT_TYPE);
    Response::from_parts(parts, Body::empty())
}
