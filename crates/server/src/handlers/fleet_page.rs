//! The whole fleet as pages, for operators.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use serde::Deserialize;
use suture_protocol::MachineId;
use suture_rollout::EarlyPreference;
use suture_store::{InvalidText, Plan, StoreError, TokenId};

use super::accounts::{AccountSearch, account_id, plan, summary};
use super::audit::{AuditSearch, page as audit_lines};
use super::fleet::{MachineSearch, of_account, view};
use super::ways_in;
use crate::html::{Nav, PageResult, private};
use crate::lists;
use crate::operator::OperatorSession;
use crate::own_form::OperatorsForm;
use crate::picture::{Layers, MAX_LAYERS, layers, number};
use crate::problem::{ApiError, ApiResult};
use crate::session::form_token;
use crate::state::AppState;
use crate::view::{
    AccountPage, AccountSummary, AuditPage, Counted, FleetMoment, FleetView, MachinePage,
    TokenSummary,
};

/// Lines of a list on one page.
const ON_A_PAGE: u32 = 50;

/// Kernels on the overview; the list of machines finds the others.
const KERNELS: usize = 10;

#[derive(Template)]
#[template(path = "fleet.html")]
struct FleetPage {
    nav: Nav,
    view: FleetView,
    states: String,
    versions: String,
    heard: String,
}

#[derive(Template)]
#[template(path = "fleet_machines.html")]
struct MachinesPage {
    nav: Nav,
    search: MachineSearch,
    refusal: Option<String>,
    found: MachinePage,
    next: Option<String>,
    now: Timestamp,
}

#[derive(Template)]
#[template(path = "fleet_accounts.html")]
struct AccountsPage {
    nav: Nav,
    text: String,
    refusal: Option<String>,
    found: AccountPage,
    next: Option<String>,
    now: Timestamp,
}

#[derive(Template)]
#[template(path = "fleet_account.html")]
struct OneAccountPage {
    nav: Nav,
    account: AccountSummary,
    machines: MachinePage,
    tokens: Vec<TokenSummary>,
    audit: AuditPage,
    forms: Forms,
    now: Timestamp,
    /// By what its owner signs in, each in a few words.
    ways_in: Vec<String>,
}

/// Hidden fields of the page's forms.
struct Forms {
    plan: String,
    limit: String,
    release: String,
    revoke: String,
}

#[derive(Template)]
#[template(path = "audit.html")]
struct LogPage {
    nav: Nav,
    found: AuditPage,
    account: String,
}

/// The overview.
#[utoipa::path(
    get,
    path = "/fleet",
    tag = "pages",
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not an operator", content_type = "text/html"),
    ),
)]
pub async fn overview(
    State(app): State<AppState>,
    OperatorSession(session): OperatorSession,
) -> PageResult<Response> {
    let view = view(&app).await?;
    let states = FleetView::STATES.map(str::to_owned);
    let versions = newest(&view);
    let page = FleetPage {
        nav: Nav::new(Some(&session)),
        states: course(&view, "states", "States", &states, |moment, name| {
            moment.states.get(name).copied().unwrap_or(0)
        }),
        versions: course(&view, "versions", "Versions", &versions, |moment, name| {
            moment.versions.get(name).copied().unwrap_or(0)
        }),
        heard: course(
            &view,
            "heard",
            "Check-ins",
            &["heard of".to_owned()],
            |moment, _| moment.heard,
        ),
        view,
    };
    Ok(private(StatusCode::OK, &page)?)
}

/// The versions that the picture tells apart: those that most machines had, by their names.
fn newest(view: &FleetView) -> Vec<String> {
    let mut most: std::collections::BTreeMap<&String, u64> = std::collections::BTreeMap::new();
    for moment in &view.course {
        for (name, machines) in &moment.versions {
            let known = most.entry(name).or_default();
            *known = (*known).max(*machines);
        }
    }
    let mut names: Vec<_> = most.into_iter().collect();
    names.sort_by_key(|(_, machines)| std::cmp::Reverse(*machines));
    names
        .into_iter()
        .take(MAX_LAYERS - 1)
        .map(|(name, _)| name.clone())
        .collect()
}

/// A picture of the course; what no name counts is in the last layer.
fn course(
    view: &FleetView,
    id: &str,
    title: &str,
    names: &[String],
    machines: impl Fn(&FleetMoment, &str) -> u64,
) -> String {
    let mut moments: Vec<(Timestamp, Vec<u64>)> = Vec::with_capacity(view.course.len());
    let mut names = names.to_vec();
    let whole = names.len() > 1;
    for moment in &view.course {
        let mut counted: Vec<u64> = names.iter().map(|name| machines(moment, name)).collect();
        if whole {
            counted.push(moment.machines.saturating_sub(counted.iter().sum()));
        }
        moments.push((moment.at, counted));
    }
    if whole {
        names.push("others".to_owned());
    }
    layers(&Layers {
        name: id,
        title,
        names: &names,
        moments: &moments,
    })
}

/// What was found, with the answer's status; or nothing, with the reason why nothing was looked for.
async fn looked<Q, T: Default>(
    query: Result<Q, InvalidText>,
    find: impl AsyncFnOnce(Q) -> Result<T, StoreError>,
) -> ApiResult<(StatusCode, T, Option<String>)> {
    match query {
        Ok(query) => Ok((StatusCode::OK, find(query).await?, None)),
        Err(invalid) => {
            let why = ApiError::from(invalid).detail();
            Ok((StatusCode::UNPROCESSABLE_ENTITY, T::default(), Some(why)))
        }
    }
}

/// Machines of all accounts.
#[utoipa::path(
    get,
    path = "/fleet/machines",
    tag = "pages",
    params(MachineSearch),
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not an operator", content_type = "text/html"),
        (status = UNPROCESSABLE_ENTITY, description = "something that can't be looked for",
            content_type = "text/html"),
    ),
)]
pub async fn machines(
    State(app): State<AppState>,
    OperatorSession(session): OperatorSession,
    Query(search): Query<MachineSearch>,
) -> PageResult<Response> {
    let now = app.clock.now();
    let query = search.query(now, ON_A_PAGE);
    let found = looked(query, async |query| {
        lists::machines(app.store.as_ref(), &query).await
    })
    .await?;
    let (status, found, refusal) = found;
    let next = found.next.as_deref();
    let page = MachinesPage {
        nav: Nav::new(Some(&session)),
        next: next.map(|next| search.address("/fleet/machines", next)),
        search,
        refusal,
        found,
        now,
    };
    Ok(private(status, &page)?)
}

/// All accounts.
#[utoipa::path(
    get,
    path = "/fleet/accounts",
    tag = "pages",
    params(AccountSearch),
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not an operator", content_type = "text/html"),
        (status = UNPROCESSABLE_ENTITY, description = "something that can't be looked for",
            content_type = "text/html"),
    ),
)]
pub async fn accounts(
    State(app): State<AppState>,
    OperatorSession(session): OperatorSession,
    Query(search): Query<AccountSearch>,
) -> PageResult<Response> {
    let query = search.query(ON_A_PAGE);
    let found = looked(query, async |query| {
        lists::accounts(app.store.as_ref(), &query).await
    })
    .await?;
    let (status, found, refusal) = found;
    let next = found.next.as_ref().map(|next| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("text", &search.text);
        query.append_pair("after", next);
        format!("/fleet/accounts?{}", query.finish())
    });
    let page = AccountsPage {
        nav: Nav::new(Some(&session)),
        text: search.text,
        refusal,
        found,
        next,
        now: app.clock.now(),
    };
    Ok(private(status, &page)?)
}

/// An account with its machines, its tokens and what was done to it.
#[utoipa::path(
    get,
    path = "/fleet/accounts/{id}",
    tag = "pages",
    params(("id" = String, Path, description = "the account's id")),
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not an operator", content_type = "text/html"),
        (status = NOT_FOUND, description = "no such account", content_type = "text/html"),
    ),
)]
pub async fn account(
    State(app): State<AppState>,
    Path(id): Path<String>,
    OperatorSession(session): OperatorSession,
) -> PageResult<Response> {
    let id = account_id(&id)?;
    let account = summary(&app, id).await?;
    let tokens = app.store.tokens(id).await?;
    let search = AuditSearch {
        account: id.to_string(),
        ..AuditSearch::default()
    };
    let token = |action: &str| form_token(session.secret.expose(), &form(&account.id, action));
    let page = OneAccountPage {
        nav: Nav::new(Some(&session)),
        machines: of_account(&app, id).await?,
        tokens: tokens.iter().map(TokenSummary::from).collect(),
        audit: audit_lines(&app, &search, ON_A_PAGE).await?,
        ways_in: ways_in::kinds(&app, id).await?,
        forms: Forms {
            plan: token("plan"),
            limit: token("limit"),
            release: token("release"),
            revoke: token("revoke"),
        },
        account,
        now: app.clock.now(),
    };
    Ok(private(StatusCode::OK, &page)?)
}

/// Where a form about an account goes.
fn form(account: &str, action: &str) -> String {
    format!("/fleet/accounts/{account}/{action}")
}

/// What an operator does to an account; each form has what it needs.
#[derive(Deserialize)]
pub struct AccountForm {
    #[serde(default)]
    plan: String,
    /// A number of machines; empty: what the plan says.
    #[serde(default)]
    limit: String,
    #[serde(default)]
    machine: String,
    #[serde(default)]
    id: String,
    /// `yes` if the box is ticked.
    #[serde(default)]
    confirmed: String,
}

/// Changes an account: its plan (`plan`), its limit (`limit`), a machine (`release`) or a token (`revoke`).
#[utoipa::path(
    post,
    path = "/fleet/accounts/{id}/{change}",
    tag = "pages",
    params(("id" = String, Path, description = "the account's id"),
        ("change" = String, Path, description = "`plan`, `limit`, `release` or `revoke`")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = SEE_OTHER, description = "done; the account's page"),
        (status = FORBIDDEN, description = "not an operator, or a form from elsewhere",
            content_type = "text/html"),
        (status = NOT_FOUND, description = "no such account, machine or token",
            content_type = "text/html"),
        (status = UNPROCESSABLE_ENTITY, description = "not confirmed, or no such plan",
            content_type = "text/html"),
    ),
)]
pub async fn change(
    State(app): State<AppState>,
    Path((id, change)): Path<(String, String)>,
    OperatorsForm { by, form: sent, .. }: OperatorsForm<AccountForm>,
) -> PageResult<Response> {
    let (account, now) = (account_id(&id)?, app.clock.now());
    let done = match change.as_str() {
        "plan" => {
            let plan: Plan = plan(&sent.plan)?;
            let changed = app.store.set_plan(account, plan, &by, now).await;
            changed.map(|_| ())
        }
        "limit" => {
            let limit = sent.limit()?;
            let changed = app.store.set_machine_limit(account, limit, &by, now).await;
            changed.map(|_| ())
        }
        "release" => {
            confirmed(&sent)?;
            let machine: MachineId = sent.machine.parse().map_err(|_| ApiError::NoSuchMachine)?;
            let released = app.store.release_machine(account, &machine, &by, now).await;
            released.map(|_| ())
        }
        "revoke" => {
            confirmed(&sent)?;
            let token: TokenId = sent.id.parse().map_err(|_| ApiError::NoSuchToken)?;
            let revoked = app.store.revoke_token(token, &by, now).await;
            revoked.map(|_| ())
        }
        _ => return Err(ApiError::NoSuchChange.into()),
    };
    done.map_err(ApiError::of_operator)?;
    Ok(Redirect::to(&format!("/fleet/accounts/{account}")).into_response())
}

impl AccountForm {
    fn limit(&self) -> Result<Option<u32>, InvalidText> {
        let unreadable = InvalidText {
            what: "limit",
            expected: "a number of machines, or nothing",
        };
        match self.limit.trim() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| unreadable),
        }
    }
}

fn confirmed(form: &AccountForm) -> ApiResult<()> {
    if form.confirmed == "yes" {
        return Ok(());
    }
    Err(ApiError::from(InvalidText {
        what: "form",
        expected: "the box to be ticked that confirms it",
    }))
}

/// The audit log.
#[utoipa::path(
    get,
    path = "/fleet/audit",
    tag = "pages",
    params(AuditSearch),
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not an operator", content_type = "text/html"),
    ),
)]
pub async fn audit(
    State(app): State<AppState>,
    OperatorSession(session): OperatorSession,
    Query(search): Query<AuditSearch>,
) -> PageResult<Response> {
    let page = LogPage {
        nav: Nav::new(Some(&session)),
        found: audit_lines(&app, &search, ON_A_PAGE).await?,
        account: search.account,
    };
    Ok(private(StatusCode::OK, &page)?)
}

fn shown(kernels: &[Counted]) -> &[Counted] {
    &kernels[..kernels.len().min(KERNELS)]
}

fn early_words(account: &AccountSummary) -> &'static str {
    match account.early {
        EarlyPreference::Drawn => "as the plan says",
        EarlyPreference::Always => "always",
        EarlyPreference::Never => "never",
    }
}
