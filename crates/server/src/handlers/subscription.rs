//! What an account pays for: its page, the ways to Stripe and back, and Stripe's news.

use askama::Template;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Redirect, Response};
use jiff::Timestamp;
use serde::Deserialize;
use suture_protocol::Problem;
use suture_store::{Account, Subscription};
use tracing::info;

use crate::billing::{Billing, status_words};
use crate::html::{Nav, PageResult, private};
use crate::onward::{onward, onward_here};
use crate::own_form::{OwnForm, OwnersForm};
use crate::problem::{ApiError, ApiResult};
use crate::session::{MaybeSession, Session};
use crate::state::AppState;

const PAGE: &str = "/account/subscription";

#[derive(Template)]
#[template(path = "subscription.html")]
struct SubscriptionPage {
    nav: Nav,
    account: Account,
    machines: usize,
    /// None: never a customer.
    known: Option<Subscription>,
    price: Option<String>,
    checkout: String,
    portal: String,
}

impl SubscriptionPage {
    fn is_paid(&self) -> bool {
        let state = self.known.as_ref().and_then(|known| known.state.as_ref());
        state.is_some_and(|state| state.status.is_paid())
    }

    fn status(&self) -> &'static str {
        status_words(self.known.as_ref().and_then(|known| known.state.as_ref()))
    }

    fn paid_until(&self) -> Option<Timestamp> {
        self.known.as_ref()?.state.as_ref()?.period_end
    }

    fn over_limit(&self) -> usize {
        let limit = self.account.machine_limit();
        let limit = limit.and_then(|limit| usize::try_from(limit).ok());
        limit.map_or(0, |limit| self.machines.saturating_sub(limit))
    }
}

#[derive(Deserialize)]
pub struct CheckoutForm {}

impl OwnForm for CheckoutForm {
    const ACTION: &'static str = "/account/subscription/checkout";
    const PAGE: &'static str = PAGE;
}

#[derive(Deserialize)]
pub struct PortalForm {}

impl OwnForm for PortalForm {
    const ACTION: &'static str = "/account/subscription/portal";
    const PAGE: &'static str = PAGE;
}

/// Whether somebody comes from Stripe for the first time.
#[derive(Deserialize)]
pub struct Way {
    again: Option<String>,
}

/// What the account pays for.
#[utoipa::path(
    get,
    path = "/account/subscription",
    tag = "pages",
    responses(
        (status = OK, description = "the page", content_type = "text/html"),
        (status = SEE_OTHER, description = "sign in first"),
        (status = FORBIDDEN, description = "not the owner", content_type = "text/html"),
        (status = NOT_FOUND, description = "nothing is sold here", content_type = "text/html"),
    ),
)]
pub async fn show(
    State(app): State<AppState>,
    MaybeSession(session): MaybeSession,
) -> PageResult<Response> {
    billing(&app)?;
    let Some(session) = session else {
        return Ok(sign_in());
    };
    let id = session.owner().ok_or(ApiError::NotTheOwner)?;
    let page = SubscriptionPage {
        nav: Nav::new(Some(&session)),
        account: app.store.account(id).await?,
        machines: app.store.machines(id).await?.len(),
        known: app.store.subscription(id).await?,
        price: app.price(),
        checkout: CheckoutForm::token(&session),
        portal: PortalForm::token(&session),
    };
    Ok(private(StatusCode::OK, &page)?)
}

/// Leads to the page where the account pays.
#[utoipa::path(
    post,
    path = "/account/subscription/checkout",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = OK, description = "a page that leads to the payment", content_type = "text/html"),
        (status = SEE_OTHER, description = "it is paid for already, or sign in first"),
        (status = FORBIDDEN, description = "not the owner, or a form from elsewhere",
            content_type = "text/html"),
        (status = NOT_FOUND, description = "nothing is sold here", content_type = "text/html"),
        (status = SERVICE_UNAVAILABLE, description = "Stripe does not answer",
            content_type = "text/html"),
    ),
)]
pub async fn checkout(
    State(app): State<AppState>,
    sent: OwnersForm<CheckoutForm>,
) -> PageResult<Response> {
    let billing = billing(&app)?;
    let known = app.store.subscription(sent.account).await?;
    // Another tab may have paid since the page was made; nobody is to pay twice.
    if let Some(known) = known {
        let known = billing
            .refresh(app.store.as_ref(), app.clock.as_ref(), known)
            .await?;
        if known.state.is_some_and(|state| state.status.is_paid()) {
            return Ok(Redirect::to(PAGE).into_response());
        }
    }
    let account = app.store.account(sent.account).await?;
    let (back, now) = (back(&app), app.clock.now());
    let to = billing
        .checkout(app.store.as_ref(), &account, &back, now)
        .await?;
    Ok(onward(Some(&sent.session), to)?)
}

/// Leads to the page where a customer changes the card, reads invoices and cancels.
#[utoipa::path(
    post,
    path = "/account/subscription/portal",
    tag = "pages",
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = OK, description = "a page that leads there", content_type = "text/html"),
        (status = SEE_OTHER, description = "never a customer, or sign in first"),
        (status = FORBIDDEN, description = "not the owner, or a form from elsewhere",
            content_type = "text/html"),
        (status = NOT_FOUND, description = "nothing is sold here", content_type = "text/html"),
        (status = SERVICE_UNAVAILABLE, description = "Stripe does not answer",
            content_type = "text/html"),
    ),
)]
pub async fn portal(
    State(app): State<AppState>,
    sent: OwnersForm<PortalForm>,
) -> PageResult<Response> {
    let billing = billing(&app)?;
    let Some(known) = app.store.subscription(sent.account).await? else {
        return Ok(Redirect::to(PAGE).into_response());
    };
    let to = billing.portal(&known.customer, &back(&app)).await?;
    Ok(onward(Some(&sent.session), to)?)
}

/// Where Stripe sends people back to: what they did counts at once, and not only when its
/// notification comes.
#[utoipa::path(
    get,
    path = "/account/subscription/back",
    tag = "pages",
    params(("again" = Option<String>, Query, description = "this site itself led here")),
    responses(
        (status = OK, description = "a page that leads here again", content_type = "text/html"),
        (status = SEE_OTHER, description = "the page of the subscription, or sign in first"),
        (status = NOT_FOUND, description = "nothing is sold here", content_type = "text/html"),
        (status = SERVICE_UNAVAILABLE, description = "Stripe does not answer",
            content_type = "text/html"),
    ),
)]
pub async fn come_back(
    State(app): State<AppState>,
    MaybeSession(session): MaybeSession,
    Query(way): Query<Way>,
) -> PageResult<Response> {
    let billing = billing(&app)?;
    let Some(account) = session.as_ref().and_then(Session::owner) else {
        // Browsers do not send the cookie where another site leads; the page leads here again.
        return match way.again {
            None => Ok(onward_here(&app, &format!("{PAGE}/back?again=yes"))?),
            Some(_) => Ok(sign_in()),
        };
    };
    if let Some(known) = app.store.subscription(account).await? {
        billing
            .refresh(app.store.as_ref(), app.clock.as_ref(), known)
            .await?;
    }
    Ok(Redirect::to(PAGE).into_response())
}

/// Takes news from Stripe: it says of whom, and Stripe is asked what.
#[utoipa::path(
    post,
    path = "/v1/stripe",
    tag = "billing",
    params(("stripe-signature" = String, Header, description = "by the endpoint's secret")),
    request_body(content = Object, content_type = "application/json"),
    responses(
        (status = NO_CONTENT, description = "taken, or about nobody here"),
        (status = BAD_REQUEST, description = "not Stripe's, or not readable", body = Problem,
            content_type = "application/problem+json"),
        (status = NOT_FOUND, description = "nothing is sold here", body = Problem,
            content_type = "application/problem+json"),
        (status = SERVICE_UNAVAILABLE, description = "to be sent again", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn notified(
    State(app): State<AppState>,
    headers: HeaderMap,
    body: Bytes,
) -> ApiResult<StatusCode> {
    let billing = billing(&app)?;
    let signature = headers.get("stripe-signature");
    let signature = signature.and_then(|value| value.to_str().ok());
    let news = billing
        .notification(&body, signature.unwrap_or_default(), app.clock.now())
        .map_err(|source| ApiError::NotFromStripe {
            reason: source.to_string(),
        })?;
    let Some(customer) = &news.customer else {
        return Ok(StatusCode::NO_CONTENT);
    };
    // Stripe's account may have customers of other services.
    let Some(known) = app.store.subscription_of_customer(customer).await? else {
        return Ok(StatusCode::NO_CONTENT);
    };
    let (account, kind) = (known.account, news.kind.escape_debug());
    let kept = billing
        .refresh(app.store.as_ref(), app.clock.as_ref(), known)
        .await?;
    let status = status_words(kept.state.as_ref());
    info!(%account, status, "Stripe has news ({kind}) of account {account}: {status}");
    Ok(StatusCode::NO_CONTENT)
}

fn billing(app: &AppState) -> ApiResult<&Billing> {
    app.billing.as_deref().ok_or(ApiError::NothingSold)
}

fn sign_in() -> Response {
    Redirect::to(&format!("/sign-in?next={PAGE}")).into_response()
}

fn back(app: &AppState) -> String {
    format!("{}{PAGE}/back", app.public_url)
}
