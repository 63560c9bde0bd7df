//! Subscriptions that are paid through Stripe.
//!
//! Stripe is asked, and never believed unasked: a notification only says of which customer there
//! is news. So it does not matter in which order notifications come, how often, or whether one is
//! lost; what was not asked about for a day is asked about again.

mod notification;
mod price;
mod signature;
mod stripe;

use std::sync::{Arc, RwLock};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use suture_store::{
    Account, AccountId, Clock, CustomerId, Job, ServerId, Store, StoreError, Subscription,
    SubscriptionState, SubscriptionStatus,
};
use thiserror::Error;
use tracing::{info, warn};
use url::Url;

use crate::alone::alone;
use crate::error::chain;
use crate::{ServerError, StripeConfig};

pub use notification::{InvalidNotification, Notification};
pub use price::Price;
pub use signature::InvalidSignature;
pub use stripe::StripeError;

use stripe::Stripe;

/// Answers of Stripe that may be overtaken by another writer before it is told to try later.
const TRIES: u32 = 5;

/// After so long without an answer Stripe is asked again: a notification may have been lost.
const STALE: SignedDuration = SignedDuration::from_hours(24);

/// Between two looks at what is stale.
const LOOK: Duration = Duration::from_secs(900);

/// Subscriptions that one look asks about.
const ASKED_AT_ONCE: u32 = 200;

/// Why a subscription could not be dealt with.
#[derive(Debug, Error)]
pub enum BillingError {
    #[error(transparent)]
    Stripe(#[from] StripeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Others wrote each time while Stripe was asked.
    #[error("the subscription of account `{account}` changes faster than it can be read")]
    Busy { account: AccountId },
}

/// The payment provider, and what is kept of it.
pub struct Billing {
    stripe: Stripe,
    /// What the subscription costs, as soon as Stripe said it.
    price: RwLock<Option<Price>>,
    signing: signature::Secret,
}

impl Billing {
    /// Reads the settings; Stripe is asked later, so that the service starts without it.
    pub fn open(config: &StripeConfig) -> Result<Self, ServerError> {
        let unusable = |why: String| ServerError::Billing { why };
        Ok(Self {
            stripe: Stripe::new(config).map_err(unusable)?,
            price: RwLock::new(None),
            signing: signature::Secret::new(&config.webhook_secret).map_err(unusable)?,
        })
    }

    /// What the subscription costs; none: Stripe did not say it yet.
    pub fn price(&self) -> Option<Price> {
        let price = self
            .price
            .read()
            .unwrap_or_else(|broken| broken.into_inner());
        price.clone()
    }

    /// Reads a notification that Stripe signed.
    pub fn notification(
        &self,
        body: &[u8],
        signature: &str,
        now: Timestamp,
    ) -> Result<Notification, InvalidNotification> {
        self.signing.check(body, signature, now)?;
        Notification::read(body)
    }

    /// The page at Stripe where an account pays, and by which address it comes back.
    pub async fn checkout(
        &self,
        store: &dyn Store,
        account: &Account,
        back: &str,
        now: Timestamp,
    ) -> Result<Url, BillingError> {
        let customer = self.customer(store, account, now).await?;
        Ok(self.stripe.checkout(&customer, back).await?)
    }

    /// The page at Stripe where a customer changes the card, reads invoices and cancels.
    pub async fn portal(&self, customer: &CustomerId, back: &str) -> Result<Url, BillingError> {
        Ok(self.stripe.portal(customer, back).await?)
    }

    async fn customer(
        &self,
        store: &dyn Store,
        account: &Account,
        now: Timestamp,
    ) -> Result<CustomerId, BillingError> {
        if let Some(known) = store.subscription(account.id).await? {
            return Ok(known.customer);
        }
        let made = self.stripe.create_customer(account).await?;
        Ok(store.add_customer(account.id, &made, now).await?.customer)
    }

    /// Asks Stripe about a customer and keeps what it says.
    pub async fn refresh(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        mut known: Subscription,
    ) -> Result<Subscription, BillingError> {
        for _ in 0..TRIES {
            let said = self.stripe.subscriptions(&known.customer).await?;
            let state = best(said);
            let (account, now) = (known.account, clock.now());
            let kept = store
                .set_subscription(account, known.revision, state.as_ref(), now)
                .await?;
            if let Some(kept) = kept {
                return Ok(kept);
            }
            let gone = StoreError::UnknownAccount { account };
            known = store.subscription(account).await?.ok_or(gone)?;
        }
        let account = known.account;
        Err(BillingError::Busy { account })
    }

    /// Ends whatever an account pays for, at once: before it is deleted.
    pub async fn cancel(&self, store: &dyn Store, account: AccountId) -> Result<(), BillingError> {
        let Some(known) = store.subscription(account).await? else {
            return Ok(());
        };
        for subscription in self.stripe.subscriptions(&known.customer).await? {
            if !subscription.status.is_over() {
                self.stripe.cancel(&subscription.id).await?;
            }
        }
        Ok(())
    }

    /// Asks for the price, and again for subscriptions that were not asked about for long, for
    /// ever. Of several copies of the service one at a time does the second.
    pub async fn run(self: Arc<Self>, store: Arc<dyn Store>, clock: Arc<dyn Clock>) {
        let server = ServerId::random();
        loop {
            if let Err(error) = self.learn_price().await {
                let cause = chain(&error);
                warn!(error = cause, "cannot ask Stripe for the price: {cause}");
            }
            let work = self.refresh_stale(store.as_ref(), clock.as_ref());
            let job = (Job::RefreshSubscriptions, server);
            if let Err(error) = alone(store.as_ref(), job, work).await {
                let cause = chain(&error);
                warn!(error = cause, "cannot refresh subscriptions: {cause}");
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn learn_price(&self) -> Result<(), StripeError> {
        let price = self.stripe.price().await?;
        let mut known = self
            .price
            .write()
            .unwrap_or_else(|broken| broken.into_inner());
        *known = Some(price);
        Ok(())
    }

    async fn refresh_stale(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
    ) -> Result<(), BillingError> {
        let since = clock.now().saturating_sub(STALE).unwrap_or(Timestamp::MIN);
        let stale = store.stale_subscriptions(since, ASKED_AT_ONCE).await?;
        for known in stale {
            let account = known.account;
            let kept = self.refresh(store, clock, known).await?;
            let status = status_words(kept.state.as_ref());
            info!(%account, status, "asked Stripe about account {account}: {status}");
        }
        Ok(())
    }
}

/// In a word, for logs and pages.
pub fn status_words(state: Option<&SubscriptionState>) -> &'static str {
    match state.map(|state| (state.status, state.ends)) {
        None => "no subscription",
        Some((SubscriptionStatus::Active | SubscriptionStatus::Trialing, true)) => {
            "cancelled: it ends with the time that is paid"
        }
        Some((SubscriptionStatus::Active, false)) => "active",
        Some((SubscriptionStatus::Trialing, false)) => "on trial",
        Some((SubscriptionStatus::PastDue, _)) => {
            "the last payment failed and is tried again; check your card"
        }
        Some((SubscriptionStatus::Incomplete, _)) => "the first payment is still missing",
        Some((SubscriptionStatus::Unpaid, _)) => "not paid",
        Some((SubscriptionStatus::Paused, _)) => "paused",
        Some((SubscriptionStatus::IncompleteExpired | SubscriptionStatus::Canceled, _)) => "over",
    }
}

/// The one that counts of all that a customer ever had: the one that gives most, and of those the
/// one that lasts longest.
fn best(subscriptions: Vec<SubscriptionState>) -> Option<SubscriptionState> {
    let rank = |status| SubscriptionStatus::ALL.iter().position(|it| *it == status);
    subscriptions
        .into_iter()
        .min_by_key(|state| (rank(state.status), std::cmp::Reverse(state.period_end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(id: &str, status: SubscriptionStatus, end: i64) -> SubscriptionState {
        SubscriptionState {
            id: id.parse().unwrap(),
            status,
            period_end: Some(Timestamp::from_second(end).unwrap()),
            ends: false,
        }
    }

    #[test]
    fn the_subscription_that_gives_most_counts() {
        use SubscriptionStatus::{Active, Canceled, PastDue};
        assert_eq!(best(Vec::new()), None);
        let (old, late, new) = (
            state("sub_1", Canceled, 900),
            state("sub_2", PastDue, 500),
            state("sub_3", Active, 100),
        );
        let longer = state("sub_4", Active, 200);
        let all = vec![old.clone(), late.clone(), new, longer.clone()];
        assert_eq!(best(all), Some(longer));
        assert_eq!(best(vec![old.clone(), late.clone()]), Some(late));
        assert_eq!(best(vec![old.clone()]), Some(old));
    }
}
