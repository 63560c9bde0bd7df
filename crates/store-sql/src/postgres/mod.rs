//! The store in PostgreSQL, or in a database that speaks its protocol.
//!
//! Every write transaction is `SERIALIZABLE`: what the database lets through could have happened
//! one after the other, so limits and caps hold without a lock of ours, whoever else writes. What
//! it refuses for that reason is done again ([`crate::retry`]).
//!
//! Nothing is used that distributed databases of this kind lack: no notifications, no advisory
//! locks, no extensions, no stored procedures. Tables under load have keys that spread.

mod dialect;
mod migrate;
mod open;
mod restored;
#[path = "../tables/mod.rs"]
mod tables;

pub use open::PostgresStore;
