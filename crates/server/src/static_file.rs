//! Answers with a file of the repository, as a stream.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use tokio::fs::File;
use tokio_util::io::ReaderStream;

use crate::problem::{ApiError, ApiResult};

/// How long a cache may keep a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// For good: the content under this name never changes.
    Immutable,
    /// For good, but in the client's own cache alone: others need a secret to get it.
    PrivateImmutable,
    /// A minute: so long may a new live patch stay unseen behind a cache.
    Short,
}

impl Caching {
    fn header(self) -> &'static str {
        match self {
            Self::Immutable => "public, max-age=31536000, immutable",
            Self::PrivateImmutable => "private, max-age=31536000, immutable",
            Self::Short => "public, max-age=60",
        }
    }
}

/// A file to answer with.
pub struct StaticFile<'path> {
    pub path: &'path Path,
    pub content_type: &'static str,
    pub caching: Caching,
    /// Names the content; none: made of the file's inode, length and time of change.
    pub tag: Option<&'path str>,
}

impl StaticFile<'_> {
    /// 200 with the file, or 304 if the client has it already.
    pub async fn answer(self, request: &HeaderMap) -> ApiResult<Response> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => ApiError::NoSuchFile,
            _ => ApiError::Internal {
                doing: "read a file of the repository",
                source: source.into(),
            },
        };
        let file = File::open(self.path).await.map_err(failed)?;
        let metadata = file.metadata().await.map_err(failed)?;
        if !metadata.is_file() {
            return Err(ApiError::NoSuchFile);
        }
        let tag = match self.tag {
            Some(tag) => format!("\"{tag}\""),
            None => {
                let (inode, length) = (metadata.ino(), metadata.len());
                let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
                format!("\"{inode:x}-{length:x}-{seconds:x}-{nanoseconds:x}\"")
            }
        };
        let mut response = if matches(request, &tag) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut response = Body::from_stream(ReaderStream::new(file)).into_response();
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.content_type));
            headers.insert(CONTENT_LENGTH, HeaderValue::from(metadata.len()));
            response
        };
        let headers = response.headers_mut();
        headers.insert(
            CACHE_CONTROL,
            HeaderValue::from_static(self.caching.header()),
        );
        headers.extend(HeaderValue::try_from(tag).ok().map(|tag| (ETAG, tag)));
        Ok(response)
    }
}

/// Whether the client already has the content (source: RFC 9110, 13.1.2: weak comparison).
pub(crate) fn matches(request: &HeaderMap, tag: &str) -> bool {
    let known = request
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok());
    known.flat_map(|value| value.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_every_form_a_client_may_send() {
        let sent = |value: &'static str| {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, HeaderValue::from_static(value))]);
            matches(&headers, "\"abc\"")
        };
        assert!(sent("\"abc\"") && sent("W/\"abc\"") && sent("\"x\", \"abc\"") && sent("*"));
        assert!(!sent("\"abcd\"") && !sent("abc"));
        assert!(!matches(&HeaderMap::new(), "\"abc\""));
    }
}
