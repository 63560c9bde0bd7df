//! Stories of a machine: real HTTP, a real repository, a kernel of our own.

mod apply;
mod circumstances;
mod enrol;
mod evidence;
mod load;
mod restart;
mod rollout;

use crate::failure::Failure;
use crate::testing::{Machine, TOKEN};

/// Enables a machine and returns why the patch on offer was not applied.
async fn patch_failure(machine: &Machine) -> Failure {
    let refreshed = machine.engine.enable(TOKEN).await.unwrap();
    assert_eq!(refreshed.check, Ok(()), "the server was reached");
    refreshed.patch.unwrap_err()
}
