//! Groups of machines as a page, for operators.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::civil::Date;
use serde::Deserialize;
use suture_rollout::{ChannelName, GroupPolicy};
use suture_store::{GroupName, InvalidText};

use crate::html::{Nav, PageResult, private};
use crate::lists::end_of;
use crate::operator::OperatorSession;
use crate::own_form::OperatorsForm;
use crate::session::form_token;
use crate::state::AppState;
use crate::view::{GroupView, PolicyView};

/// Where the form goes.
const POLICY: &str = "/fleet/groups";

#[derive(Template)]
#[template(path = "fleet_groups.html")]
struct GroupsPage {
    nav: Nav,
    groups: Vec<GroupView>,
    token: String,
}

/// The groups and their policies.
#[utoipa::path(
    get,
    path = "/fleet/groups",
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
    let groups = app.store.groups().await?;
    let page = GroupsPage {
        nav: Nav::new(Some(&session)),
        groups: groups.iter().map(GroupView::from).collect(),
        token: form_token(session.secret.expose(), POLICY),
    };
    Ok(private(StatusCode::OK, &page)?)
}

/// A policy as a form has it: what is empty says nothing.
#[derive(Deserialize)]
pub struct PolicyForm {
    name: String,
    /// `yes` if the box is ticked.
    #[serde(default)]
    hold: String,
    #[serde(default)]
    pin: String,
    #[serde(default)]
    delay_days: String,
    /// A day: the policy lets in what began on it.
    #[serde(default)]
    cut_off: String,
    #[serde(default)]
    channel: String,
}

impl PolicyForm {
    fn policy(&self) -> Result<GroupPolicy, InvalidText> {
        let unreadable = |what, expected| InvalidText { what, expected };
        let filled = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        let pin = filled(&self.pin).map(|text| text.parse()).transpose();
        let delay = filled(&self.delay_days)
            .map(|text| text.parse())
            .transpose();
        let day = filled(&self.cut_off).map(|text| text.parse()).transpose();
        let channel = filled(&self.channel).map(|name| name.parse::<ChannelName>());
        let day: Option<Date> =
            day.map_err(|_| unreadable("cut-off", "a day like `2026-12-31`"))?;
        PolicyView {
            hold: self.hold == "yes",
            pin: pin.map_err(|_| unreadable("version", "a form like `104.1`"))?,
            delay_days: delay.map_err(|_| unreadable("delay", "a number of days"))?,
            cut_off: day.map(end_of).transpose()?,
            channel: channel.transpose()?,
        }
        .try_into()
    }
}

/// Sets a group's policy.
#[utoipa::path(
    post,
    path = "/fleet/groups",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "done; the page"),
        (status = FORBIDDEN, description = "not an operator, or a form from elsewhere",
            content_type = "text/html"),
        (status = UNPROCESSABLE_ENTITY, description = "a policy that can't be taken",
            content_type = "text/html"),
    ),
)]
pub async fn set(
    State(app): State<AppState>,
    OperatorsForm { by, form, .. }: OperatorsForm<PolicyForm>,
) -> PageResult<Response> {
    let name: GroupName = form.name.trim().parse()?;
    let (policy, now) = (form.policy()?, app.clock.now());
    app.store.set_group_policy(&name, &policy, &by, now).await?;
    Ok(Redirect::to(POLICY).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(pin: &str, delay_days: &str, cut_off: &str) -> PolicyForm {
        PolicyForm {
            name: "slow".to_owned(),
            hold: String::new(),
            pin: pin.to_owned(),
            delay_days: delay_days.to_owned(),
            cut_off: cut_off.to_owned(),
            channel: String::new(),
        }
    }

    #[test]
    fn what_is_empty_says_nothing_and_a_day_counts_whole() {
        assert!(form("", " ", "").policy().unwrap().is_empty());
        let policy = form("104.1", "7", "2026-12-31").policy().unwrap();
        assert_eq!(policy.delay_days, Some(7));
        let cut_off = policy.cut_off.unwrap().to_string();
        assert_eq!(cut_off, "2026-12-31T23:59:59.999Z");
        for (pin, days, day) in [
            ("x", "", ""),
            ("", "-1", ""),
            ("", "367", ""),
            ("", "", "soon"),
        ] {
            assert!(form(pin, days, day).policy().is_err(), "{pin}{days}{day}");
        }
    }
}
