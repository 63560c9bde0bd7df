//! Which of several servers looks at the rollouts.

use std::sync::Arc;
use std::time::Duration;

use suture_store::{Job, LeaseState, ServerId, Store};
use tracing::{info, warn};

use crate::error::chain;

/// From one renewal to the next.
pub const RENEWAL: Duration = Duration::from_secs(5);

/// How long a server that died keeps the others from its work.
const LENGTH: Duration = Duration::from_secs(15);

/// This server's part in the looks at rollouts.
pub struct Lease {
    store: Arc<dyn Store>,
    server: ServerId,
    ours: bool,
    calls: u64,
}

/// What a renewal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// This server looks, and other servers called for it since the last renewal or did not.
    Ours { called: bool },
    /// Another server looks, or nobody knows.
    Theirs,
}

impl Lease {
    pub fn new(store: Arc<dyn Store>, server: ServerId) -> Self {
        Self {
            store,
            server,
            ours: false,
            calls: 0,
        }
    }

    /// Takes the lease if nobody has it, or renews ours.
    pub async fn renew(&mut self) -> Turn {
        let taken = self
            .store
            .take_lease(Job::LookAtRollouts, self.server, LENGTH);
        let state = match taken.await {
            Ok(state) => state,
            Err(error) => {
                let cause = chain(&error);
                warn!(error = cause, "cannot renew the lease on looks: {cause}");
                LeaseState::Theirs
            }
        };
        match state {
            LeaseState::Ours { calls } => {
                if !self.ours {
                    info!(server.id = %self.server, "this server looks at the rollouts now");
                }
                let called = self.ours && calls > self.calls;
                (self.ours, self.calls) = (true, calls);
                Turn::Ours { called }
            }
            LeaseState::Theirs => {
                self.ours = false;
                Turn::Theirs
            }
        }
    }

    /// Does something while the lease is renewed.
    pub async fn renewed_during(&mut self, work: impl Future<Output = ()>) {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                () = &mut work => return,
                () = tokio::time::sleep(RENEWAL) => {
                    // If it is lost meanwhile, the store still keeps one look of two.
                    let _ = self.renew().await;
                }
            }
        }
    }

    /// Tells the server that looks that there is something to see.
    pub async fn call_holder(&self) {
        if let Err(error) = self.store.call_holder(Job::LookAtRollouts).await {
            let cause = chain(&error);
            warn!(error = cause, "cannot call for a look: {cause}");
        }
    }
}
