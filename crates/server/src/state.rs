//! What every handler can reach.

use std::sync::Arc;

use suture_rollout::RolloutId;
use suture_store::{Clock, Store};
use tokio::sync::broadcast;

use crate::fleet::Fleet;
use crate::notices::Notices;
use crate::patches::Patches;
use crate::rollouts::Executor;
use crate::web::Web;

#[derive(Clone)]
pub struct AppState {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub patches: Arc<Patches>,
    pub notices: Arc<Notices>,
    pub fleet: Arc<Fleet>,
    /// Looks at the rollouts. Who changes one by hand wakes it.
    pub executor: Arc<Executor>,
    /// Gets the id of a rollout after each look, exposure and change by hand, for pages that
    /// follow it. Messages may be lost to a slow reader, who reads the store again anyway.
    pub changes: broadcast::Sender<RolloutId>,
    pub web: Arc<Web>,
    /// Where people reach the service, without a slash at the end.
    pub public_url: Arc<str>,
    /// Seconds.
    pub check_in_interval_secs: u64,
}
