//! The store in an SQLite file.
//!
//! One connection writes, so writers wait for each other in turn; several read at the same time
//! (write-ahead log). A write transaction starts with `BEGIN IMMEDIATE`, so that another process
//! on the same file (the command line beside the service) can't come between its reading and
//! its writing.

mod account;
mod application;
mod audit;
mod check_in;
mod column;
mod course;
mod draw;
mod event;
mod exposure;
mod finding;
mod kernels;
mod look;
mod machine;
mod observe;
mod open;
mod operator_key;
mod operator_store;
mod password_reset;
mod rollout;
mod rollout_store;
mod session;
mod sign_up_store;
mod silence;
mod sizes;
mod store;
mod token;

pub use open::{OpenError, SqliteStore};
