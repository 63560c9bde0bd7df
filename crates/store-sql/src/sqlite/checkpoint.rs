//! The write-ahead log, and its way into the database file.
//!
//! A commit appends the pages that it changed to the log, which is then synced. From time to time the
//! log's pages go to their places in the file (a checkpoint), and the log begins anew. SQLite would
//! do that within the commit that makes the log long: all who wait for that commit would wait for
//! thousands of pages. Here a connection of its own moves them while others commit; then the
//! writer, in its turn, moves the few that came meanwhile, so that the next commit begins the log
//! anew and cuts it. Who still reads an old state keeps the log from that and is not waited for
//! (`PASSIVE`); then all is tried again when the log has grown by as much.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;

use super::open::lasting;

/// Bytes of a log that is worth the work.
const LONG: u64 = 16 * 1024 * 1024;

/// Bytes to which a log is cut when it begins anew, as text for the statement: more than a log
/// grows to under load. Pages that are written in the place of older ones change nothing of the
/// file but its content, which alone a commit then syncs.
pub const CUT_TO: &str = "33554432";

const CHECKPOINT: &str = "PRAGMA wal_checkpoint(PASSIVE)";

/// Tells how many pages the log has, and moves none.
const LOOK: &str = "PRAGMA wal_checkpoint(NOOP)";

/// Write transactions between two looks at a log that was long once.
const LOOK_EVERY: u64 = 4;

/// Bytes before each page in the log (source: SQLite's file format, 4.1).
const FRAME_HEADER: u64 = 24;

/// Nothing to do but to look how long the log is.
const LOOKING: u8 = 0;
/// Pages are being moved.
const MOVING: u8 = 1;
/// They were moved: the writer can do the rest.
const MOVED: u8 = 2;

/// The log of a database file.
#[derive(Debug, Clone)]
pub struct WriteAheadLog(Arc<Log>);

#[derive(Debug)]
struct Log {
    path: PathBuf,
    mover: SqlitePool,
    /// Bytes of a page and its head in the log.
    frame: u64,
    state: AtomicU8,
    /// The bytes in use at which pages are moved next.
    move_at: AtomicU64,
    /// Write transactions so far.
    begun: AtomicU64,
}

impl WriteAheadLog {
    pub async fn open(database: &Path, options: SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let path = path(database);
        let mover = lasting().connect_with(options).await?;
        let page: i64 = sqlx::query_scalar("PRAGMA page_size")
            .fetch_one(&mover)
            .await?;
        Ok(Self(Arc::new(Log {
            path,
            mover,
            frame: page.unsigned_abs() + FRAME_HEADER,
            state: AtomicU8::new(LOOKING),
            move_at: AtomicU64::new(LONG),
            begun: AtomicU64::new(0),
        })))
    }

    /// Called before each write transaction; costs a stat(2) as long as the log is short. What
    /// goes wrong here costs room and nothing else, and is tried again.
    pub async fn keep_short(&self, writer: &SqlitePool) {
        match self.0.state.load(Ordering::Acquire) {
            LOOKING => {
                let Some(used) = self.look(writer).await else {
                    return;
                };
                if used < LONG {
                    self.0.move_at.store(LONG, Ordering::Release);
                } else if used >= self.0.move_at.load(Ordering::Acquire)
                    && self.pass(LOOKING, MOVING)
                {
                    tokio::spawn(self.clone().move_pages());
                }
            }
            MOVED if self.pass(MOVED, LOOKING) => {
                let next = self.used(writer).await + LONG;
                self.0.move_at.store(next, Ordering::Release);
                let _ = sqlx::query(CHECKPOINT).execute(writer).await;
            }
            _ => {}
        }
    }

    /// The bytes in use, if it is time to look and there may be many.
    async fn look(&self, writer: &SqlitePool) -> Option<u64> {
        let begun = self.0.begun.fetch_add(1, Ordering::Relaxed);
        if !begun.is_multiple_of(LOOK_EVERY) || self.length() < LONG {
            return None;
        }
        Some(self.used(writer).await)
    }

    /// Bytes of the pages in the log. The file may be longer: it is written from its start again
    /// after all pages were moved.
    async fn used(&self, writer: &SqlitePool) -> u64 {
        let looked = sqlx::query_as(LOOK).fetch_one(writer).await;
        let (_busy, pages, _moved): (i64, i64, i64) = looked.unwrap_or_default();
        u64::try_from(pages).unwrap_or_default() * self.0.frame
    }

    pub async fn close(&self) {
        self.0.mover.close().await;
    }

    async fn move_pages(self) {
        let _ = sqlx::query(CHECKPOINT).execute(&self.0.mover).await;
        self.0.state.store(MOVED, Ordering::Release);
    }

    fn length(&self) -> u64 {
        std::fs::metadata(&self.0.path).map_or(0, |file| file.len())
    }

    fn pass(&self, from: u8, to: u8) -> bool {
        let state = &self.0.state;
        let passed = state.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
        passed.is_ok()
    }
}

/// Where SQLite keeps the log of a database file.
pub fn path(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

#[cfg(test)]
mod tests {
    use super::super::SqliteStore;
    use super::*;

    /// Writes and rewrites rows of a table of its own until so many bytes have gone to the log.
    async fn write(store: &SqliteStore, bytes: u64) {
        const ROW: u64 = 1024 * 1024;
        for _ in 0..bytes / ROW {
            let mut transaction = store.begin().await.unwrap();
            sqlx::query("UPDATE heap SET bytes = randomblob($1)")
                .bind(i64::try_from(ROW).unwrap())
                .execute(&mut *transaction)
                .await
                .unwrap();
            transaction.commit().await.unwrap();
        }
    }

    async fn store(folder: &Path) -> SqliteStore {
        let store = SqliteStore::open(&folder.join("suture.db")).await.unwrap();
        let mut transaction = store.begin().await.unwrap();
        for statement in [
            "CREATE TABLE heap (bytes BLOB)",
            "INSERT INTO heap VALUES (x'')",
        ] {
            let done = sqlx::query(statement).execute(&mut *transaction).await;
            done.unwrap();
        }
        transaction.commit().await.unwrap();
        store
    }

    fn length(folder: &Path) -> u64 {
        folder.join("suture.db-wal").metadata().unwrap().len()
    }

    #[tokio::test]
    async fn a_log_that_is_written_for_long_stays_short() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        let mut longest = 0;
        for _ in 0..16 {
            write(&store, LONG / 4).await;
            longest = longest.max(length(folder.path()));
        }
        assert!(longest >= LONG, "{longest}");
        assert!(longest <= 3 * LONG, "{longest}");
    }

    #[tokio::test]
    async fn who_reads_an_old_state_keeps_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path()).await;
        let mut reading = store.snapshot().await.unwrap();
        let count = "SELECT length(bytes) FROM heap";
        let before: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut *reading)
            .await
            .unwrap();
        let begun = std::time::Instant::now();
        write(&store, 3 * LONG).await;
        assert!(begun.elapsed() < super::super::open::BUSY_TIMEOUT);
        assert!(length(folder.path()) >= 3 * LONG, "it is still needed");
        let after: i64 = sqlx::query_scalar(count)
            .fetch_one(&mut *reading)
            .await
            .unwrap();
        assert_eq!(before, after);
        drop(reading);
        write(&store, 3 * LONG).await;
        assert!(
            length(folder.path()) <= 3 * LONG,
            "{}",
            length(folder.path())
        );
    }
}
