//! The store in an SQLite file or in PostgreSQL.
//!
//! The statements are in `tables`, once. That folder is compiled for each database: with the
//! driver's own types, so that nothing is lost or decided at run time, and with the few words that
//! the database says in its own way, which are in its `dialect`. A database that speaks
//! PostgreSQL's protocol will do as well: no statement needs what distributed ones lack.

#![allow(
    clippy::duplicate_mod,
    reason = "the tables' statements are compiled once for each database"
)]

mod address;
mod backup;
mod column;
mod error;
mod group_commit;
mod postgres;
mod retry;
mod sqlite;

use std::sync::Arc;

use suture_store::Store;

pub use address::{AddressError, DatabaseAddress, has_password};
pub use backup::{BackupError, Summary as BackupSummary, backup, restore};
pub use error::OpenError;
pub use postgres::PostgresStore;
pub use sqlite::SqliteStore;

/// Opens a database, and brings its tables to this program's version.
pub async fn open(address: &DatabaseAddress) -> Result<Arc<dyn Store>, OpenError> {
    Ok(match address {
        DatabaseAddress::File(path) => Arc::new(SqliteStore::open(path).await?),
        DatabaseAddress::Postgres(options) => Arc::new(PostgresStore::open(options).await?),
    })
}
