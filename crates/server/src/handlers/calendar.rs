//! The calendar: when regular kernel updates come, and until when kernels are covered.

use askama::Template;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::patches::{PUBLIC, covered};
use crate::calendar::{self, Day};
use crate::html::{Nav, PageResult, render};
use crate::state::AppState;

/// Regular updates that are told ahead: half a year, if they come every three weeks.
const UPDATES_AHEAD: usize = 9;

#[derive(Template)]
#[template(path = "calendar.html")]
struct CalendarPage {
    nav: Nav,
    days: Vec<Day>,
    every_days: Option<u16>,
}

/// The next regular kernel updates, and the ends of coverage.
#[utoipa::path(
    get,
    path = "/calendar",
    tag = "pages",
    responses((status = OK, description = "the page", content_type = "text/html")),
)]
pub async fn page(State(app): State<AppState>) -> PageResult<impl IntoResponse> {
    let updates = app.notices.regular_updates();
    let page = CalendarPage {
        nav: Nav::new(None),
        days: days(&app).await,
        every_days: updates.map(|updates| updates.every_days),
    };
    Ok(([PUBLIC], Html(render(&page)?)))
}

/// The same for calendar programs (RFC 5545).
#[utoipa::path(
    get,
    path = "/calendar.ics",
    tag = "pages",
    responses((status = OK, description = "the calendar", content_type = "text/calendar")),
)]
pub async fn ics(State(app): State<AppState>) -> impl IntoResponse {
    let content_type = (CONTENT_TYPE, "text/calendar; charset=utf-8");
    let text = calendar::ics(&days(&app).await, &app.public_url, app.clock.now());
    ([PUBLIC, content_type], text)
}

async fn days(app: &AppState) -> Vec<Day> {
    let today: Date = TimeZone::UTC.to_datetime(app.clock.now()).date();
    let updates = app.notices.regular_updates();
    let updates = updates.map_or_else(Vec::new, |it| it.upcoming(today, UPDATES_AHEAD));
    calendar::days(&updates, &covered(app).await.kernels, today)
}
