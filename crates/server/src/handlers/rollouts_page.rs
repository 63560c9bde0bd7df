//! Rollouts as pages.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use suture_rollout::Unit;

use super::rollouts::{ChangeKind, load, rollout_id, summaries};
use crate::html::{Nav, PageResult, private};
use crate::picture::{self, PER_THOUSAND_A_DAY, number};
use crate::session::{MaybeSession, Session};
use crate::state::AppState;
use crate::view::{
    Audience, EventView, HarmRow, Rate, RateUnit, RolloutState, RolloutSummary, RolloutView,
};

/// Events on the page; the rest is in the API.
const SHOWN_EVENTS: usize = 12;

#[derive(Template)]
#[template(path = "rollouts.html")]
struct ListPage {
    nav: Nav,
    rollouts: Vec<RolloutSummary>,
}

#[derive(Template)]
#[template(path = "rollout.html")]
struct RolloutPage {
    nav: Nav,
    view: RolloutView,
    staircase: String,
    evidence: String,
    rates: String,
    /// What the visitor can do with it now.
    changes: Vec<ChangeKind>,
}

/// All rollouts.
#[utoipa::path(
    get,
    path = "/rollouts",
    tag = "pages",
    responses((status = OK, description = "the page", content_type = "text/html")),
)]
pub async fn list(
    State(app): State<AppState>,
    MaybeSession(session): MaybeSession,
) -> PageResult<Response> {
    let page = ListPage {
        nav: Nav::new(session.as_ref()),
        rollouts: summaries(&app).await?,
    };
    Ok(private(StatusCode::OK, &page)?)
}

/// One rollout as a picture.
#[utoipa::path(
    get,
    path = "/rollouts/{id}",
    tag = "pages",
    params(("id" = String, Path, description = "the rollout's id")),
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = NOT_FOUND, description = "no such rollout", content_type = "text/html"),
    ),
)]
pub async fn show(
    State(app): State<AppState>,
    Path(id): Path<String>,
    MaybeSession(session): MaybeSession,
) -> PageResult<Response> {
    let operator = session.as_ref().and_then(|session| session.operator());
    let audience = match operator {
        Some(_) => Audience::Operator,
        None => Audience::Public,
    };
    let view = load(&app, rollout_id(&id)?, audience).await?;
    let page = RolloutPage::new(view, session.as_ref(), audience);
    Ok(private(StatusCode::OK, &page)?)
}

/// What can be done by hand in a state.
pub fn possible(state: RolloutState) -> Vec<ChangeKind> {
    match state {
        RolloutState::Planned
        | RolloutState::Running
        | RolloutState::Held
        | RolloutState::Complete => vec![ChangeKind::Halt, ChangeKind::Withdraw],
        RolloutState::Halted => vec![ChangeKind::Resume, ChangeKind::Withdraw],
        RolloutState::Withdrawn => Vec::new(),
    }
}

impl ChangeKind {
    /// On its button.
    pub fn words(self) -> &'static str {
        match self {
            Self::Halt => "■ Halt the rollout",
            Self::Resume => "▶ Resume",
            Self::Withdraw => "✕ Withdraw for good",
        }
    }
}

impl RolloutPage {
    fn new(view: RolloutView, session: Option<&Session>, audience: Audience) -> Self {
        Self {
            nav: Nav::new(session),
            staircase: picture::staircase(&view),
            evidence: picture::evidence(&view.evidence),
            rates: picture::rates(&view.harms),
            changes: match audience {
                Audience::Operator => possible(view.summary.state),
                Audience::Public => Vec::new(),
            },
            view,
        }
    }

    fn unit(&self) -> &'static str {
        match self.view.plan.unit {
            Unit::Account => "accounts",
            Unit::Machine => "machines",
        }
    }

    fn shown_events(&self) -> &[EventView] {
        &self.view.events[..self.view.events.len().min(SHOWN_EVENTS)]
    }
}

fn tolerated_words(row: &HarmRow) -> String {
    row.tolerated
        .map_or_else(|| "–".to_owned(), |value| value_words(value, row.unit))
}

fn value_words(value: f64, unit: RateUnit) -> String {
    match unit {
        RateUnit::PerMachineHour => number::real(value * PER_THOUSAND_A_DAY),
        RateUnit::Share => number::percent(value),
    }
}

/// Value and interval, for the table.
fn rate_words(rate: &Option<Rate>, unit: RateUnit) -> String {
    let Some(rate) = rate else {
        return "nothing seen".to_owned();
    };
    let interval = rate.interval;
    format!(
        "{} ({} to {})",
        value_words(rate.value, unit),
        value_words(interval.low, unit),
        value_words(interval.high, unit)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::html::render;
    use crate::view::sample::Sample;

    fn page(sample: &Sample, audience: Audience) -> String {
        let (machine, event) = ([sample.machine()], [sample.event()]);
        let (rollout, looks) = (&sample.rollout, &sample.looks);
        let view = RolloutView::new(rollout, looks, &machine, &event, sample.now(), audience);
        render(&RolloutPage::new(view, None, audience)).unwrap()
    }

    #[test]
    fn a_halted_rollout_says_in_words_what_its_colours_say() {
        let sample = Sample::after(30, 3);
        let text = page(&sample, Audience::Public);
        for expected in [
            "■ Halted",
            "went down uncleanly",
            ">stopped here<",
            "halts here: 100",
            "A machine had a kernel oops that names the patch",
        ] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
        for hidden in ["secret-host", "/halt\"", "style="] {
            assert!(!text.contains(hidden), "{hidden}");
        }
        let operators = page(&sample, Audience::Operator);
        assert!(operators.contains("/resume\"") && operators.contains("secret-host"));
    }

    #[test]
    fn the_pictures_say_what_the_numbers_are() {
        let sample = Sample::after(20, 0);
        let text = page(&sample, Audience::Public);
        // The second step of a standard plan: 0.05 % of 120,000 machines.
        assert!(text.contains(">60</text>"), "{text}");
        assert!(
            text.contains("60 of 120,000 machines were offered the version, 119,940 are waiting.")
        );
        assert_eq!(text.matches("<polyline").count(), 1);
        let points = text
            .split("points=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        assert_eq!(points.split(' ').count(), 20, "one for each look");
        assert_eq!(
            text.matches("<svg").count(),
            text.matches("</desc>").count()
        );
    }

    #[test]
    fn a_rollout_that_has_not_begun_is_a_page_too() {
        let text = page(&Sample::planned(), Audience::Operator);
        assert!(
            text.contains("○ Planned") && text.contains("No look was taken yet"),
            "{text}"
        );
    }
}
