//! Opening the file.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};
use suture_store::StoreError;
use thiserror::Error;

use crate::column::database;
use crate::course::Courses;

/// How long one process waits for another that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that read at the same time.
const READERS: u32 = 4;

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("cannot create the database `{}`; its folder must exist and be writable", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot open the database `{}`", path.display())]
    Open { path: PathBuf, source: sqlx::Error },
    #[error("cannot bring the database `{}` to this program's version", path.display())]
    Migrate { path: PathBuf, source: MigrateError },
}

/// The store in an SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: SqlitePool,
    pub(crate) reader: SqlitePool,
    pub(crate) courses: Arc<Courses>,
}

impl SqliteStore {
    /// Opens the file, creates it where there is none (readable by its owner only), and brings
    /// its tables to this program's version.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        create_private(path).map_err(|source| OpenError::Create {
            path: path.into(),
            source,
        })?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // A machine that was told its new secret must find it here after a power cut.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let open = |source| OpenError::Open {
            path: path.into(),
            source,
        };
        let one = SqlitePoolOptions::new().max_connections(1);
        let writer = one.connect_with(options.clone()).await.map_err(open)?;
        let migrate = |source| OpenError::Migrate {
            path: path.into(),
            source,
        };
        sqlx::migrate!().run(&writer).await.map_err(migrate)?;
        let several = SqlitePoolOptions::new().max_connections(READERS);
        let reader = several
            .connect_with(options.read_only(true))
            .await
            .map_err(open)?;
        Ok(Self {
            writer,
            reader,
            courses: Arc::default(),
        })
    }

    /// Waits for open transactions and closes the file.
    pub async fn close(&self) {
        self.reader.close().await;
        self.writer.close().await;
    }

    /// A transaction that holds the write lock from its start.
    pub(crate) async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        begun.map_err(database("start a transaction"))
    }
}

pub(crate) async fn commit(transaction: Transaction<'static, Sqlite>) -> Result<(), StoreError> {
    transaction.commit().await.map_err(database("commit"))
}

/// SQLite gives its log files the mode of the database file.
fn create_private(path: &Path) -> io::Result<()> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map(drop)
}
