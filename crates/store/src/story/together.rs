//! Check-ins at the same moment, of which the database refuses one.

use std::sync::Arc;

use super::{account_with_token, at, check_in, enrol};
use crate::{CheckIn, MachineSecret, ReportedState, Store, StoreError};

/// The agent's version that the database is told to refuse, in a statement of its own kind.
pub const REFUSED_AGENT: &str = "0.0.13";

/// One of many is refused by the database and one by its secret; the others are kept.
pub async fn a_refused_check_in_fails_alone(store: Arc<dyn Store>) {
    let mut secrets = Vec::new();
    for account in 0..5 {
        let email = format!("crowd-{account}@example.org");
        let (_, token) = account_with_token(store.as_ref(), &email).await;
        for number in 1..=3 {
            let machine = enrol(store.as_ref(), &token.secret, number).await;
            secrets.push(machine.expect("enrolled").secret);
        }
    }
    secrets.push(MachineSecret::generate().expect("random bytes"));
    let tasks: Vec<_> = secrets
        .into_iter()
        .enumerate()
        .map(|(number, secret)| {
            let (store, refused) = (Arc::clone(&store), number == 7);
            tokio::spawn(async move {
                let agent = if refused { REFUSED_AGENT } else { "0.1.0" };
                let report = CheckIn {
                    agent_version: agent.parse().expect("valid"),
                    ..check_in(ReportedState::Unapplied)
                };
                let published = Arc::default();
                let told = store.check_in(&secret, &report, &[], &published, at(5));
                told.await
            })
        })
        .collect();
    for (number, task) in tasks.into_iter().enumerate() {
        let told = task.await.expect("no panic");
        match number {
            7 => assert!(matches!(told, Err(StoreError::Database { .. })), "{told:?}"),
            15 => assert!(matches!(told, Err(StoreError::UnknownMachine)), "{told:?}"),
            _ => assert!(told.is_ok(), "machine {number}: {told:?}"),
        }
    }
}
