//! Channels as a page, for operators.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::channels::{all, carry_out, wanted};
use crate::html::{Nav, PageResult, private};
use crate::operator::OperatorSession;
use crate::own_form::OperatorsForm;
use crate::session::form_token;
use crate::state::AppState;
use crate::view::ChannelView;

/// Where the forms go.
const CHANNELS: &str = "/fleet/channels";

#[derive(Template)]
#[template(path = "fleet_channels.html")]
struct ChannelsPage {
    nav: Nav,
    channels: Vec<ChannelView>,
    /// What is published, the newest first.
    versions: Vec<String>,
    token: String,
}

/// The channels and what was promoted to them.
#[utoipa::path(
    get,
    path = "/fleet/channels",
    tag = "pages",
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not an operator", content_type = "text/html"),
    ),
)]
pub async fn show(
    State(app): State<AppState>,
    OperatorSession(session): OperatorSession,
) -> PageResult<Response> {
    let patches = app.patches.current().await;
    let mut versions: Vec<_> = patches.published.iter().map(|it| it.version).collect();
    versions.sort_unstable();
    versions.dedup();
    let page = ChannelsPage {
        nav: Nav::new(Some(&session)),
        channels: all(&app).await?,
        versions: versions.iter().rev().map(ToString::to_string).collect(),
        token: form_token(session.secret.expose(), CHANNELS),
    };
    Ok(private(StatusCode::OK, &page)?)
}

/// A version, and where it goes.
#[derive(Deserialize)]
pub struct ChannelForm {
    channel: String,
    version: String,
    /// `yes`: the version is taken out.
    #[serde(default)]
    demote: String,
}

/// Promotes a version to a channel, or takes it out of one.
#[utoipa::path(
    post,
    path = "/fleet/channels",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "done; the page"),
        (status = FORBIDDEN, description = "not an operator, or a form from elsewhere",
            content_type = "text/html"),
        (status = UNPROCESSABLE_ENTITY, description = "a name or version that can't be taken",
            content_type = "text/html"),
    ),
)]
pub async fn change(
    State(app): State<AppState>,
    OperatorsForm { by, form, .. }: OperatorsForm<ChannelForm>,
) -> PageResult<Response> {
    let promoted = form.demote != "yes";
    let change = wanted(form.channel.trim(), form.version.trim(), promoted)?;
    carry_out(&app, &change, &by).await?;
    Ok(Redirect::to(CHANNELS).into_response())
}
