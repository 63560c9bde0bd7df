//! Tells browsers that a rollout changed (source: HTML standard, server-sent events).

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use suture_rollout::RolloutId;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::rollouts::rollout_id;
use crate::client_address::ClientAddress;
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;
use crate::streams::Place;

/// Comments between two messages, so that proxies and browsers see the connection live.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// From one message to the next at least; what changes meanwhile is one change.
const PAUSE: Duration = Duration::from_secs(1);

/// How long a browser waits before it connects again.
pub(super) const RETRY: Duration = Duration::from_secs(3);

/// Follows one rollout: a message `change` after each change.
#[utoipa::path(
    get,
    path = "/rollouts/{id}/stream",
    tag = "pages",
    params(("id" = String, Path, description = "the rollout's id")),
    responses(
        (status = OK, description = "messages `change` with the rollout's id as data",
            content_type = "text/event-stream"),
        (status = NOT_FOUND, description = "no such rollout"),
        (status = TOO_MANY_REQUESTS, description = "too many streams are open"),
    ),
)]
pub async fn one(
    State(app): State<AppState>,
    Path(id): Path<String>,
    Ok(address): Result<ClientAddress, Infallible>,
) -> ApiResult<Response> {
    let rollout = app.store.rollout(rollout_id(&id)?).await?;
    open(&app, address, Some(rollout.id))
}

/// Follows all rollouts.
#[utoipa::path(
    get,
    path = "/rollouts/stream",
    tag = "pages",
    responses(
        (status = OK, description = "messages `change` with a rollout's id as data",
            content_type = "text/event-stream"),
        (status = TOO_MANY_REQUESTS, description = "too many streams are open"),
    ),
)]
pub async fn all(
    State(app): State<AppState>,
    Ok(address): Result<ClientAddress, Infallible>,
) -> ApiResult<Response> {
    open(&app, address, None)
}

/// One browser that follows.
struct Follower {
    changes: Receiver<RolloutId>,
    /// None: all of them.
    only: Option<RolloutId>,
    place: Place,
    stage: Stage,
}

enum Stage {
    /// Nothing was sent.
    New,
    Quiet,
    /// A change was just sent.
    Pausing,
}

fn open(app: &AppState, address: ClientAddress, only: Option<RolloutId>) -> ApiResult<Response> {
    let place = app.web.streams.take(address);
    let follower = Follower {
        changes: app.changes.subscribe(),
        only,
        place: place.ok_or(ApiError::TooManyStreams)?,
        stage: Stage::New,
    };
    Ok(answer(messages(follower)))
}

/// Messages as they come, for as long as the browser listens.
pub(super) fn answer(
    messages: impl Stream<Item = Result<Event, Infallible>> + Send + 'static,
) -> Response {
    let messages = Sse::new(messages).keep_alive(KeepAlive::new().interval(HEARTBEAT));
    let mut response = messages.into_response();
    // nginx would hold messages back otherwise.
    response.headers_mut().insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

fn messages(follower: Follower) -> impl Stream<Item = Result<Event, Infallible>> {
    futures_util::stream::unfold(follower, |mut follower| async move {
        let message = follower.next().await?;
        Some((Ok(message), follower))
    })
}

impl Follower {
    /// The next message; none when the service stops.
    async fn next(&mut self) -> Option<Event> {
        match self.stage {
            Stage::New => {
                self.stage = Stage::Quiet;
                return Some(Event::default().retry(RETRY).comment("following"));
            }
            Stage::Pausing => {
                tokio::select! {
                    () = tokio::time::sleep(PAUSE) => {}
                    () = self.place.closing() => return None,
                }
            }
            Stage::Quiet => {}
        }
        let id = loop {
            let change = tokio::select! {
                change = self.changes.recv() => change,
                () = self.place.closing() => return None,
            };
            match change {
                Ok(id) if self.only.is_none_or(|only| only == id) => break Some(id),
                Ok(_) => {}
                // Some were missed; the one that is followed may be among them.
                Err(RecvError::Lagged(_)) => break self.only,
                Err(RecvError::Closed) => return None,
            }
        };
        self.stage = Stage::Pausing;
        let data = id.map_or_else(|| "all".to_owned(), |id| id.to_string());
        Some(Event::default().event("change").data(data))
    }
}
