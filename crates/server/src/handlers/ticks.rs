//! Tells pages whose numbers change by themselves when to look again.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use axum::response::sse::Event;

use super::rollouts_stream::{RETRY, answer};
use crate::client_address::ClientAddress;
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;

/// From one message to the next.
const TICK: Duration = Duration::from_secs(15);

/// A message `change` every quarter of a minute.
#[utoipa::path(
    get,
    path = "/ticks",
    tag = "pages",
    responses(
        (status = OK, description = "messages `change`", content_type = "text/event-stream"),
        (status = TOO_MANY_REQUESTS, description = "too many streams are open"),
    ),
)]
pub async fn follow(
    State(app): State<AppState>,
    Ok(address): Result<ClientAddress, Infallible>,
) -> ApiResult<Response> {
    let place = app.web.streams.take(address);
    let place = place.ok_or(ApiError::TooManyStreams)?;
    let ticks = futures_util::stream::unfold((place, true), |(place, first)| async move {
        if first {
            let hello = Event::default().retry(RETRY).comment("following");
            return Some((Ok::<_, Infallible>(hello), (place, false)));
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = place.closing() => return None,
        }
        let tick = Event::default().event("change").data("tick");
        Some((Ok(tick), (place, false)))
    });
    Ok(answer(ticks))
}
