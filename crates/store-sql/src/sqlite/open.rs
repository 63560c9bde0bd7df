//! Opening the file.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, SqlitePool, Transaction};
use suture_store::StoreError;

use super::checkpoint::{self, CUT_TO, WriteAheadLog};
use super::synced::Syncing;
use super::tables::{Courses, Report};
use crate::OpenError;
use crate::column::database;
use crate::group_commit::Queue;
use crate::retry::Line;

/// How long one process waits for another that writes.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Rows that a statement may be ahead of who reads them: those of a whole batch of check-ins, so that
/// the thread that works with the file need not wait for a reader in between.
const ROW_BUFFER: usize = 256;

/// Bytes of a page of a new file. A check-in changes one row of a few hundred bytes, and the log
/// gets the whole page; smaller ones would leave more room unused beside such rows.
const PAGE_SIZE: u32 = 2048;

/// Memory in which the connection that writes keeps pages of the file, at most, in negative KiB
/// (source: SQLite's `PRAGMA cache_size`): those of some 65,000 machines. It takes what it needs.
const WRITER_CACHE: &str = "-32768";

/// Connections that read at the same time.
const READERS: u32 = 4;

/// The store in an SQLite file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    writer: SqlitePool,
    reader: SqlitePool,
    log: WriteAheadLog,
    syncing: Syncing,
    pub(super) courses: Arc<Courses>,
    pub(super) reports: Queue<Box<Report>>,
    pub(super) line: Line,
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
            // Commits are synced by ourselves; see `synced`.
            .synchronous(SqliteSynchronous::Normal)
            // In the way of nobody who waits for a commit; see `checkpoint`.
            .pragma("wal_autocheckpoint", "0")
            .pragma("journal_size_limit", CUT_TO)
            // What a statement over many rows would need to take itself back is kept in memory,
            // and not in a file that each such statement makes and removes.
            .pragma("temp_store", "MEMORY")
            .row_buffer_size(ROW_BUFFER)
            .page_size(PAGE_SIZE)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let open = |source| OpenError::Open {
            path: path.into(),
            source,
        };
        let writer = lasting()
            .connect_with(options.clone().pragma("cache_size", WRITER_CACHE))
            .await
            .map_err(open)?;
        let migrate = |source| OpenError::Migrate {
            path: path.into(),
            source,
        };
        sqlx::migrate!("migrations/sqlite")
            .run(&writer)
            .await
            .map_err(migrate)?;
        let log = WriteAheadLog::open(path, options.clone())
            .await
            .map_err(open)?;
        let syncing =
            Syncing::open(&checkpoint::path(path)).map_err(|source| open(source.into()))?;
        let several = SqlitePoolOptions::new().max_connections(READERS);
        let reader = several
            .connect_with(options.read_only(true))
            .await
            .map_err(open)?;
        Ok(Self {
            writer,
            reader,
            log,
            syncing,
            courses: Arc::default(),
            reports: Queue::default(),
            line: Line::default(),
        })
    }

    /// Waits for open transactions and closes the file.
    pub async fn close(&self) {
        self.reader.close().await;
        self.log.close().await;
        self.writer.close().await;
    }

    /// A transaction that holds the write lock from its start.
    pub(super) async fn begin(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.log.keep_short(&self.writer).await;
        let begun = self.writer.begin_with("BEGIN IMMEDIATE").await;
        begun.map_err(database("start a transaction"))
    }

    /// Waits until all that was committed before survives a power cut: a machine that was told
    /// its new secret must find it here afterwards.
    pub(super) async fn settle(&self) -> Result<(), StoreError> {
        self.syncing.settle().await
    }

    /// Refuses if what is committed does not come to the disk any more.
    pub(super) fn check_disk(&self) -> Result<(), StoreError> {
        self.syncing.check()
    }

    /// A connection for single statements that only read.
    pub(super) async fn read(&self) -> Result<PoolConnection<Sqlite>, StoreError> {
        let acquired = self.reader.acquire().await;
        acquired.map_err(database("open a connection"))
    }

    /// A transaction whose statements read one state.
    pub(super) async fn snapshot(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        let begun = self.reader.begin().await;
        begun.map_err(database("start a transaction"))
    }
}

/// One connection for as long as the program runs: what it knows of the file and its statements is
/// not read again, and the log stays where it is.
pub(super) fn lasting() -> SqlitePoolOptions {
    let options = SqlitePoolOptions::new().max_connections(1);
    options.idle_timeout(None).max_lifetime(None)
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
