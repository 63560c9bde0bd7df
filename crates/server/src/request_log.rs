//! One line in the log for each request, and an id that joins it with the client's view.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument as _, info, info_span};
use uuid::Uuid;

/// Names a request in the answer and in the log; a proxy's own id is kept.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Logs method, route, status and duration. The route is the pattern and not the path, and no
/// header is logged, so no secret and no machine's address gets there.
pub async fn log(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("(none)", MatchedPath::as_str).to_owned();
    let id = request_id(&request);
    let span = info_span!("request", request.id = id);
    async move {
        let mut response = next.run(request).await;
        let status = response.status().as_u16();
        let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(%method, route, status, duration_ms, "{method} {route}: {status}");
        if let Ok(value) = HeaderValue::try_from(id) {
            response.headers_mut().insert(REQUEST_ID, value);
        }
        response
    }
    .instrument(span)
    .await
}

fn request_id(request: &Request) -> String {
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
    sent.filter(harmless)
        .map_or_else(|| Uuid::new_v4().to_string(), str::to_owned)
}
