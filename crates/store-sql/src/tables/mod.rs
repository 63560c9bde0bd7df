//! The tables' statements, compiled once for each database.
//!
//! The parent module is the database: its `dialect` has what the databases say differently, its
//! `store` the handle. A statement that all of them understand stands here once; `$1` is a
//! placeholder for all.

use super::dialect;

/// Does something in a transaction, again if it loses a race against another, and commits. `$work`
/// is a future that gets the connection and may be made several times.
macro_rules! transaction {
    ($database:expr, |$connection:ident| $work:expr) => {
        match unsettled!($database, |$connection| $work) {
            Ok(done) => $database.settle().await.map(|()| done),
            refused => refused,
        }
    };
}

/// The same for who sees to it by itself that what was committed is on the disk.
macro_rules! unsettled {
    ($database:expr, |$connection:ident| $work:expr) => {{
        let mut repeats = $crate::retry::Repeats::default();
        loop {
            let done = async {
                let mut transaction = $database.begin().await?;
                let $connection = &mut *transaction;
                let done = $work.await?;
                let committed = transaction.commit().await;
                committed.map_err($crate::column::database("commit"))?;
                Ok(done)
            };
            match done.await {
                Ok(done) => break Ok(done),
                Err(error) => {
                    let lost = dialect::lost_race(&error);
                    repeats.next(&$database.line, error, lost).await?;
                }
            }
        }
    }};
}

mod account;
mod application;
mod attention;
mod audit;
mod backup;
mod caller;
mod ceremony;
mod channel;
mod check_in;
mod course;
mod draw;
mod event;
mod exposure;
mod finding;
mod fleet;
mod fleet_store;
mod group;
mod heard;
mod hook;
mod identity;
mod kernels;
mod lease;
mod look;
mod machine;
mod observe;
mod operator_key;
mod operator_store;
mod passkey;
mod password_reset;
mod replaced;
mod retention;
mod rollout;
mod rollout_store;
mod session;
mod sign_in_store;
mod sign_up_store;
mod silence;
mod sizes;
mod store;
mod subscription;
mod token;
mod way_in;

pub use check_in::Report;
pub use course::Courses;
