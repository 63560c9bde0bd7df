//! Calls to Stripe's API.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use suture_store::{Account, CustomerId, SubscriptionId, SubscriptionState, SubscriptionStatus};
use thiserror::Error;
use ureq::http;
use url::Url;

use super::price::Price;
use crate::{StripeConfig, outgoing};

/// The version of the API that the answers are read as; Stripe keeps serving it.
const VERSION: &str = "2024-06-20";

/// For a whole call. Below the time that this service's own answers may take.
const PATIENCE: Duration = Duration::from_secs(15);

/// Bytes of an answer: a hundred subscriptions with their items.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// Characters of Stripe's own words about an error that are kept.
const MAX_MESSAGE: usize = 300;

#[derive(Debug, Error)]
pub enum StripeError {
    #[error("Stripe cannot be reached")]
    Unreachable(#[source] Box<ureq::Error>),
    /// Stripe's own words hold no secret: it masks keys that it repeats.
    #[error("Stripe refuses ({status}): {message}")]
    Refused { status: u16, message: String },
    #[error("Stripe's answer cannot be read")]
    Unreadable(#[from] serde_json::Error),
    #[error("Stripe's answer has an unusable {what}")]
    Unusable { what: &'static str },
    #[error("the call was broken off")]
    BrokenOff,
}

/// Stripe's API with an account's key.
#[derive(Clone)]
pub struct Stripe {
    inner: Arc<Inner>,
}

struct Inner {
    config: StripeConfig,
    agent: ureq::Agent,
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

#[derive(Deserialize)]
struct Page {
    url: Url,
}

#[derive(Deserialize)]
struct List {
    data: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    status: String,
    #[serde(default)]
    current_period_end: Option<i64>,
    #[serde(default)]
    cancel_at_period_end: bool,
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalWords,
}

#[derive(Deserialize)]
struct RefusalWords {
    message: String,
}

impl Stripe {
    pub fn new(config: &StripeConfig) -> Result<Self, String> {
        let api = &config.api;
        if !outgoing::is_protected(api) {
            return Err(format!(
                "`{api}` would carry Stripe's key unprotected: expected https"
            ));
        }
        let agent = outgoing::client(outgoing::system_roots(), PATIENCE);
        let config = config.clone();
        let inner = Arc::new(Inner { config, agent });
        Ok(Self { inner })
    }

    /// What the subscription costs.
    pub async fn price(&self) -> Result<Price, StripeError> {
        let price = self.inner.config.price.clone();
        self.call("GET", &["prices", &price], &[], None).await
    }

    /// Makes a customer of an account. Asked twice for the same account, as when the first
    /// answer was lost, Stripe makes one.
    pub async fn create_customer(&self, account: &Account) -> Result<CustomerId, StripeError> {
        let id = account.id.to_string();
        let form = [
            ("email", account.email.as_str()),
            ("metadata[account]", id.as_str()),
        ];
        let once = format!("suture-customer-{id}");
        let made: Made = self.call("POST", &["customers"], &form, Some(once)).await?;
        made.id
            .parse()
            .map_err(|_| StripeError::Unusable { what: "customer" })
    }

    /// All subscriptions that a customer ever had, the last hundred at most.
    pub async fn subscriptions(
        &self,
        customer: &CustomerId,
    ) -> Result<Vec<SubscriptionState>, StripeError> {
        let query = [
            ("customer", customer.as_str()),
            ("status", "all"),
            ("limit", "100"),
        ];
        let list: List = self.call("GET", &["subscriptions"], &query, None).await?;
        list.data.into_iter().map(read).collect()
    }

    /// A page where the customer pays.
    pub async fn checkout(&self, customer: &CustomerId, back: &str) -> Result<Url, StripeError> {
        let form = [
            ("mode", "subscription"),
            ("customer", customer.as_str()),
            ("line_items[0][price]", &self.inner.config.price),
            ("line_items[0][quantity]", "1"),
            ("success_url", back),
            ("cancel_url", back),
        ];
        let path = ["checkout", "sessions"];
        let page: Page = self.call("POST", &path, &form, None).await?;
        self.leads_out(page)
    }

    /// A page where the customer manages what it pays.
    pub async fn portal(&self, customer: &CustomerId, back: &str) -> Result<Url, StripeError> {
        let form = [("customer", customer.as_str()), ("return_url", back)];
        let path = ["billing_portal", "sessions"];
        let page: Page = self.call("POST", &path, &form, None).await?;
        self.leads_out(page)
    }

    pub async fn cancel(&self, subscription: &SubscriptionId) -> Result<(), StripeError> {
        let path = ["subscriptions", subscription.as_str()];
        let _: serde_json::Value = self.call("DELETE", &path, &[], None).await?;
        Ok(())
    }

    /// A page is opened by people: nothing but a web address will do.
    fn leads_out(&self, page: Page) -> Result<Url, StripeError> {
        let scheme = page.url.scheme();
        if scheme == "https" || scheme == self.inner.config.api.scheme() {
            Ok(page.url)
        } else {
            Err(StripeError::Unusable { what: "address" })
        }
    }

    /// `form` is the query of what is read and the body of what is made.
    async fn call<T: DeserializeOwned + Send + 'static>(
        &self,
        method: &'static str,
        path: &[&str],
        form: &[(&str, &str)],
        once: Option<String>,
    ) -> Result<T, StripeError> {
        let mut url = self.inner.config.api.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        let encoded = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let mut body = String::new();
        match method {
            "POST" => body = encoded,
            _ if encoded.is_empty() => {}
            _ => url.set_query(Some(&encoded)),
        }
        let inner = Arc::clone(&self.inner);
        let called =
            tokio::task::spawn_blocking(move || inner.call(method, &url, body, once.as_deref()));
        let answer = called.await.map_err(|_| StripeError::BrokenOff)??;
        Ok(serde_json::from_slice(&answer)?)
    }
}

impl Inner {
    fn call(
        &self,
        method: &str,
        url: &Url,
        body: String,
        once: Option<&str>,
    ) -> Result<Vec<u8>, StripeError> {
        let unreachable = |error| StripeError::Unreachable(Box::new(error));
        let mut request = http::Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(
                "authorization",
                format!("Bearer {}", self.config.key.expose()),
            )
            .header("stripe-version", VERSION)
            .header("content-type", "application/x-www-form-urlencoded");
        if let Some(once) = once {
            request = request.header("idempotency-key", once);
        }
        let request = request
            .body(body)
            .map_err(|error| unreachable(error.into()))?;
        let mut response = self.agent.run(request).map_err(unreachable)?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(MAX_ANSWER);
        let body = body.read_to_vec().map_err(unreachable)?;
        if status.is_success() {
            return Ok(body);
        }
        let words = serde_json::from_slice::<Refusal>(&body);
        let message = words.map_or_else(|_| "no words".to_owned(), |said| said.error.message);
        Err(StripeError::Refused {
            status: status.as_u16(),
            message: message.chars().take(MAX_MESSAGE).collect(),
        })
    }
}

fn read(listed: Listed) -> Result<SubscriptionState, StripeError> {
    let unusable = |what| StripeError::Unusable { what };
    let status: SubscriptionStatus = listed.status.parse().map_err(|_| unusable("status"))?;
    let end = listed.current_period_end;
    Ok(SubscriptionState {
        id: listed.id.parse().map_err(|_| unusable("subscription"))?,
        status,
        period_end: end
            .map(Timestamp::from_second)
            .transpose()
            .map_err(|_| unusable("time"))?,
        ends: listed.cancel_at_period_end,
    })
}
