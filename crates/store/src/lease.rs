//! Work that one of several servers on a database does for all of them.

use std::time::Duration;

use async_trait::async_trait;

use crate::StoreError;
use crate::random_id::random_id;

random_id! {
    /// A server on a database, from its start to its end.
    ServerId
}

/// What is done by one server for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Job {
    /// Looking at the evidence of rollouts.
    LookAtRollouts,
    /// Asking the payment provider what became of subscriptions.
    RefreshSubscriptions,
    /// Telling owners by e-mail which of their machines need them.
    WriteLetters,
    /// Forgetting history.
    ForgetHistory,
    /// Telling other systems what the audit log says.
    CallHooks,
}

impl Job {
    /// As the database keeps it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LookAtRollouts => "look-at-rollouts",
            Self::RefreshSubscriptions => "refresh-subscriptions",
            Self::WriteLetters => "write-letters",
            Self::ForgetHistory => "forget-history",
            Self::CallHooks => "call-hooks",
        }
    }
}

/// Who does a job now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// The server that asked.
    Ours {
        /// How often servers called for the job since the database was made.
        calls: u64,
    },
    /// Another one, whose lease is not over.
    Theirs,
}

/// Leases on jobs. They keep servers from doing the same twice; what must not be done twice is
/// secured by itself, since a server that stood still may wake up after its lease.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// Takes the lease, or renews it, for so long from now by the database's clock.
    async fn take_lease(
        &self,
        job: Job,
        server: ServerId,
        length: Duration,
    ) -> Result<LeaseState, StoreError>;

    /// Ends the server's lease, so that another need not wait for its end. No error if it has
    /// none.
    async fn give_up_lease(&self, job: Job, server: ServerId) -> Result<(), StoreError>;

    /// Asks whoever has the lease to do the job soon: [`LeaseState::Ours`] counts it.
    async fn call_holder(&self, job: Job) -> Result<(), StoreError>;
}
