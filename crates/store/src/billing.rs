//! What an account pays for, as the payment provider says it.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use jiff::Timestamp;
use suture_kernel::InvalidName;

use crate::text::text;
use crate::{AccountId, StoreError};

/// The provider's ids: letters, digits and `_`, at most 255 characters (source: Stripe, "API
/// upgrades", which promises no more of them).
fn is_provider_id(text: &str) -> bool {
    let fits = |char: char| char.is_ascii_alphanumeric() || char == '_';
    (1..=255).contains(&text.len()) && text.chars().all(fits)
}

text! {
    /// The provider's id of an account, e.g. `cus_9s6XKzkNRiz8i3`.
    CustomerId, "customer id", "1 to 255 letters, digits or `_`", is_provider_id
}

text! {
    /// The provider's id of a subscription, e.g. `sub_1MowQVLkdIwHu7ix`.
    SubscriptionId, "subscription id", "1 to 255 letters, digits or `_`", is_provider_id
}

/// What is known of an account that was a customer once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub account: AccountId,
    pub customer: CustomerId,
    /// How often it was written. Whoever asked the provider may only write over what was here
    /// before the question, or an old answer could replace a newer one.
    pub revision: u64,
    /// When the provider was asked last.
    pub refreshed: Timestamp,
    /// None: a customer without a subscription.
    pub state: Option<SubscriptionState>,
}

/// A subscription as the provider says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionState {
    pub id: SubscriptionId,
    pub status: SubscriptionStatus,
    /// Until when it is paid.
    pub period_end: Option<Timestamp>,
    /// It ends at the end of the period and is not renewed.
    pub ends: bool,
}

/// Where a subscription stands (source: Stripe's API, `subscription.status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubscriptionStatus {
    Active,
    Trialing,
    /// A payment failed and is tried again.
    PastDue,
    /// The first payment was not made yet.
    Incomplete,
    IncompleteExpired,
    Unpaid,
    Canceled,
    Paused,
}

impl SubscriptionStatus {
    /// From the one that gives most to the one that gives least.
    pub const ALL: [Self; 8] = [
        Self::Active,
        Self::Trialing,
        Self::PastDue,
        Self::Incomplete,
        Self::Unpaid,
        Self::Paused,
        Self::IncompleteExpired,
        Self::Canceled,
    ];

    /// Whether it gives the plan. One whose payment failed does while the provider tries again:
    /// nobody loses anything for a card that expired.
    pub fn is_paid(self) -> bool {
        matches!(self, Self::Active | Self::Trialing | Self::PastDue)
    }

    /// Over for good.
    pub fn is_over(self) -> bool {
        matches!(self, Self::IncompleteExpired | Self::Canceled)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Trialing => "trialing",
            Self::PastDue => "past_due",
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Unpaid => "unpaid",
            Self::Canceled => "canceled",
            Self::Paused => "paused",
        }
    }
}

impl fmt::Display for SubscriptionStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for SubscriptionStatus {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let found = Self::ALL.into_iter().find(|status| status.as_str() == text);
        found.ok_or_else(|| {
            let expected = "expected one of the payment provider's states";
            InvalidName::new("status of a subscription", text, expected)
        })
    }
}

/// Subscriptions, in a database. As in [`crate::Store`], every method is one transaction.
#[async_trait]
pub trait BillingStore: Send + Sync {
    /// What is known of an account's subscription; none: it never was a customer.
    async fn subscription(&self, account: AccountId) -> Result<Option<Subscription>, StoreError>;

    async fn subscription_of_customer(
        &self,
        customer: &CustomerId,
    ) -> Result<Option<Subscription>, StoreError>;

    /// Keeps the provider's id of an account. One that is known stays, and is the answer.
    async fn add_customer(
        &self,
        account: AccountId,
        customer: &CustomerId,
        now: Timestamp,
    ) -> Result<Subscription, StoreError>;

    /// Keeps what the provider says, and gives the account the plan that follows from it. None,
    /// and nothing is changed, if another wrote since `revision` was read: ask again then.
    async fn set_subscription(
        &self,
        account: AccountId,
        revision: u64,
        state: Option<&SubscriptionState>,
        now: Timestamp,
    ) -> Result<Option<Subscription>, StoreError>;

    /// Subscriptions of which the provider was not asked since then, the oldest first.
    async fn stale_subscriptions(
        &self,
        since: Timestamp,
        at_most: u32,
    ) -> Result<Vec<Subscription>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_by_the_name_it_is_written_with() {
        for status in SubscriptionStatus::ALL {
            assert_eq!(status.to_string().parse(), Ok(status));
            assert!(!(status.is_paid() && status.is_over()));
        }
        assert!("gone".parse::<SubscriptionStatus>().is_err());
    }

    #[test]
    fn ids_of_the_provider_can_stand_in_an_address() {
        assert!("cus_9s6XKzkNRiz8i3".parse::<CustomerId>().is_ok());
        for bad in ["", "../x", "cus 1", "cus_1?a=b"] {
            assert!(bad.parse::<CustomerId>().is_err(), "{bad}");
        }
    }
}
