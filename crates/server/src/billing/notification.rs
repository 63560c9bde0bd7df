//! What Stripe notifies of, as far as it matters here.

use serde::Deserialize;
use suture_store::CustomerId;
use thiserror::Error;

use super::InvalidSignature;

/// News of a customer (source: Stripe's API, "The Event object").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// E.g. `customer.subscription.deleted`.
    pub kind: String,
    /// None: it is about no customer.
    pub customer: Option<CustomerId>,
}

#[derive(Debug, Error)]
pub enum InvalidNotification {
    #[error(transparent)]
    Signature(#[from] InvalidSignature),
    #[error("the notification cannot be read")]
    Unreadable(#[from] serde_json::Error),
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    #[serde(default)]
    object: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    customer: Option<Customer>,
}

/// Its id, or the whole of it where somebody set the endpoint up so.
#[derive(Deserialize)]
#[serde(untagged)]
enum Customer {
    Id(String),
    Whole { id: String },
}

impl Notification {
    pub(super) fn read(body: &[u8]) -> Result<Self, InvalidNotification> {
        let event: Event = serde_json::from_slice(body)?;
        let object = event.data.object;
        let customer = match object.customer {
            Some(Customer::Id(id) | Customer::Whole { id }) => Some(id),
            None if object.object == "customer" => object.id,
            None => None,
        };
        Ok(Self {
            kind: event.kind,
            customer: customer.and_then(|id| id.parse().ok()),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(object: serde_json::Value) -> Option<String> {
        let event = json!({
            "id": "evt_1", "type": "customer.subscription.updated", "data": { "object": object },
        });
        let body = serde_json::to_vec(&event).unwrap();
        let read = Notification::read(&body).unwrap();
        read.customer.map(|id| id.to_string())
    }

    #[test]
    fn the_customer_is_found_wherever_stripe_puts_it() {
        let subscription = json!({ "object": "subscription", "id": "sub_1", "customer": "cus_1" });
        assert_eq!(read(subscription).as_deref(), Some("cus_1"));
        let whole = json!({ "object": "invoice", "customer": { "id": "cus_2", "email": "x" } });
        assert_eq!(read(whole).as_deref(), Some("cus_2"));
        let customer = json!({ "object": "customer", "id": "cus_3" });
        assert_eq!(read(customer).as_deref(), Some("cus_3"));
        let other = json!({ "object": "balance", "customer": null });
        assert_eq!(read(other), None);
        assert!(Notification::read(b"{}").is_err());
    }
}
