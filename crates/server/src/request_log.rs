//! One line in the log for each request, and an id that joins it with the client's view.

use std::sync::Arc;
use std::time::Instant;

use axum::http::{HeaderName, HeaderValue, Method, Request};
use axum::response::Response;
use tracing::{Span, info, info_span};

/// Names a request in the answer and in the log; a proxy's own id is kept.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request that is being answered. Its route is the pattern and not the path, and no header is
/// logged, so no secret and no machine's address gets there.
pub struct RequestLog {
    started: Instant,
    method: Method,
    route: Option<Arc<str>>,
    id: String,
}

impl RequestLog {
    pub fn begin<B>(request: &Request<B>, route: Option<Arc<str>>) -> Self {
        Self {
            started: Instant::now(),
            method: request.method().clone(),
            route,
            id: request_id(request),
        }
    }

    /// Around all that is logged for the request.
    pub fn span(&self) -> Span {
        info_span!("request", request.id = self.id)
    }

    /// Logs method, route, status and duration, and names the request in its answer.
    pub fn end(self, mut response: Response) -> Response {
        let Self {
            started,
            method,
            route,
            id,
        } = self;
        let route = route.as_deref().unwrap_or("(none)");
        let status = response.status().as_u16();
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(%method, route, status, duration_ms, "{method} {route}: {status}");
        if let Ok(value) = HeaderValue::try_from(id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }
}

/// Tells requests apart and is no secret, so it costs no call of the kernel.
fn random_id() -> String {
    uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes())
        .into_uuid()
        .to_string()
}

fn request_id<B>(request: &Request<B>) -> String {
    let sent = request
        .headers()
        .get(REQUEST_ID)
        .and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    sent.filter(harmless).map_or_else(random_id, str::to_owned)
}
