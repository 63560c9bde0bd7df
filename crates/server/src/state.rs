//! What every handler can reach.

use std::sync::Arc;

use suture_store::{Clock, Store};

use crate::patches::Patches;

#[derive(Clone)]
pub struct AppState {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    pub patches: Arc<Patches>,
    /// Seconds.
    pub check_in_interval_secs: u64,
}
