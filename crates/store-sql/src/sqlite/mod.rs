//! The store in an SQLite file.
//!
//! One connection writes, so writers wait for each other in turn; several read at the same time
//! (write-ahead log). A write transaction starts with `BEGIN IMMEDIATE`, so that another process
//! on the same file (the command line beside the service) can't come between its reading and
//! its writing.

mod checkpoint;
mod dialect;
mod open;
mod restored;
mod synced;
#[path = "../tables/mod.rs"]
mod tables;

pub use open::SqliteStore;
