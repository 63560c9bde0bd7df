//! What every handler can reach.

use std::ops::Deref;
use std::sync::Arc;

use suture_rollout::RolloutId;
use suture_store::{Clock, Store};
use tokio::sync::{Notify, broadcast};

use crate::ServerConfig;
use crate::billing::Billing;
use crate::fleet::Fleet;
use crate::hooks::Hooks;
use crate::notices::Notices;
use crate::openid::OpenId;
use crate::patches::Patches;
use crate::rollouts::Executor;
use crate::web::Web;
use crate::webauthn::RelyingParty;

/// A share of the service: each request takes several.
#[derive(Clone)]
pub struct AppState(Arc<Service>);

pub struct Service {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub patches: Arc<Patches>,
    pub notices: Arc<Notices>,
    pub fleet: Arc<Fleet>,
    pub hooks: Arc<Hooks>,
    /// Looks at the rollouts. Who changes one by hand wakes it.
    pub executor: Arc<Executor>,
    /// Gets the id of a rollout after each look, exposure and change by hand, for pages that
    /// follow it. Messages may be lost to a slow reader, who reads the store again anyway.
    pub changes: broadcast::Sender<RolloutId>,
    pub web: Arc<Web>,
    /// None: nothing is sold here.
    pub billing: Option<Arc<Billing>>,
    /// None: nobody signs in at another place.
    pub openid: Option<Arc<OpenId>>,
    /// None: browsers offer no passkeys for this address.
    pub passkeys: Option<Arc<RelyingParty>>,
    /// Calls for a look at what owners should be told.
    pub attention: Arc<Notify>,
    /// Where people reach the service, without a slash at the end.
    pub public_url: Arc<str>,
    /// What the service was started with.
    pub config: Arc<ServerConfig>,
}

impl From<Service> for AppState {
    fn from(service: Service) -> Self {
        Self(Arc::new(service))
    }
}

impl Deref for AppState {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.0
    }
}

impl Service {
    /// What the plan without a limit costs, in words; none: it can't be bought here.
    pub fn price(&self) -> Option<String> {
        let price = self.billing.as_ref()?.price();
        Some(price.map_or("a monthly price".to_owned(), |price| price.to_string()))
    }

    /// How to get room for more machines, as the end of `Either release one, or …`.
    pub fn more_machines(&self) -> String {
        let Some(price) = self.price() else {
            return "ask this service's operator for more".to_owned();
        };
        let url = &self.public_url;
        format!("subscribe for any number of machines ({price}): {url}/account/subscription")
    }
}
