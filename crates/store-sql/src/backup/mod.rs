//! Backup and restore: one file with the rows of all tables, the same from either database.
//!
//! A backup reads one state while the service goes on writing. A restore goes into an empty
//! database, of whichever kind, in one transaction: it happens wholly or not at all, and not
//! before the file was read to its end and is what its checksum says. What the two databases keep
//! differently is put right on the way (`restored`, beside each one's dialect).
//!
//! Which tables and columns there are is asked of the database, so that a new one can't be
//! forgotten. Left out is what belongs to running servers: leases, and the migrations' own.

mod file;
mod order;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;

use jiff::Timestamp;
use suture_store::StoreError;
use thiserror::Error;

use crate::address::DatabaseAddress;
use crate::error::OpenError;
use crate::{PostgresStore, SqliteStore};

pub use file::{Header, Reader, Record, Writer};
pub use order::in_order;

/// Tables of running servers.
pub const LEFT_OUT: [&str; 3] = ["_sqlx_migrations", "migration_guard", "lease"];

#[derive(Debug, Error)]
pub enum BackupError {
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot {doing} the backup")]
    File {
        doing: &'static str,
        source: io::Error,
    },
    #[error("the file is no backup of Suture's database: {reason}")]
    NoBackup { reason: &'static str },
    #[error("the backup has format {found}; this program reads format {known}")]
    Format { found: u32, known: u32 },
    #[error("the backup is damaged: {reason}")]
    Damaged { reason: &'static str },
    #[error("a backup is restored into an empty database only, and table `{table}` has rows")]
    NotEmpty { table: String },
    #[error("the backup has {what}, which this program does not know; restore it with a newer one")]
    Newer { what: String },
    #[error("table `{table}` has a column `{column}` of type `{of}`, which no backup knows")]
    UnknownType {
        table: String,
        column: String,
        of: String,
    },
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub made: Timestamp,
    pub tables: usize,
    pub rows: u64,
}

/// A column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer,
    /// Hexadecimal digits in the file.
    Bytes,
    Boolean,
}

impl Kind {
    /// By the database's name of a type.
    fn named(of: &str) -> Option<Self> {
        match of.to_ascii_lowercase().as_str() {
            "text" => Some(Self::Text),
            "integer" | "bigint" => Some(Self::Integer),
            "blob" | "bytea" => Some(Self::Bytes),
            "boolean" => Some(Self::Boolean),
            _ => None,
        }
    }
}

/// A table of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    pub columns: Vec<(String, Kind)>,
}

/// Tables from rows of table, column and type, in this order.
pub fn tables(rows: Vec<(String, String, String)>) -> Result<Vec<Table>, BackupError> {
    let mut tables: Vec<Table> = Vec::new();
    for (table, column, of) in rows {
        if LEFT_OUT.contains(&table.as_str()) {
            continue;
        }
        let Some(kind) = Kind::named(&of) else {
            return Err(BackupError::UnknownType { table, column, of });
        };
        match tables.last_mut().filter(|last| last.name == table) {
            Some(last) => last.columns.push((column, kind)),
            None => tables.push(Table {
                name: table,
                columns: vec![(column, kind)],
            }),
        }
    }
    Ok(tables)
}

/// Writes a backup of a database into an open file.
pub async fn backup(
    address: &DatabaseAddress,
    file: File,
    now: Timestamp,
) -> Result<Summary, BackupError> {
    match address {
        DatabaseAddress::File(path) => SqliteStore::open(path).await?.back_up(file, now).await,
        DatabaseAddress::Postgres(options) => {
            let store = PostgresStore::open(options).await?;
            store.back_up(file, now).await
        }
    }
}

/// Restores a backup into an empty database, which may be another one than it came from.
pub async fn restore(address: &DatabaseAddress, path: &Path) -> Result<Summary, BackupError> {
    // To the end first: nothing is begun with a file that is not whole.
    let mut reading = open(path)?;
    while reading.next()?.is_some() {}
    match address {
        DatabaseAddress::File(file) => SqliteStore::open(file).await?.restore(open(path)?).await,
        DatabaseAddress::Postgres(options) => {
            let store = PostgresStore::open(options).await?;
            store.restore(open(path)?).await
        }
    }
}

fn open(path: &Path) -> Result<Reader<BufReader<File>>, BackupError> {
    let file = File::open(path).map_err(failed("open"))?;
    Reader::new(BufReader::new(file))
}

pub(crate) fn failed(doing: &'static str) -> impl Fn(io::Error) -> BackupError {
    move |source| BackupError::File { doing, source }
}
