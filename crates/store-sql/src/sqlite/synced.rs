//! What is committed comes to the disk.
//!
//! SQLite would sync the log within each commit, and the next transaction would wait for the disk
//! as well. Here a commit leaves its pages with the operating system, and whoever committed waits
//! for a sync of the log that began afterwards, while others work on. One sync serves all that
//! wait for it. A transaction that saw what is not yet on the disk is synced with it or after it:
//! the log has one order.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use suture_store::StoreError;
use tokio::sync::Mutex;

/// The log's way to the disk.
#[derive(Debug, Clone)]
pub struct Syncing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// Commits so far.
    committed: AtomicU64,
    synced: Mutex<Synced>,
    /// A sync failed.
    is_broken: AtomicBool,
}

#[derive(Debug)]
struct Synced {
    log: Arc<File>,
    /// Commits that are on the disk.
    commits: u64,
}

impl Syncing {
    /// The log is there as long as a connection to its database is open.
    pub fn open(path: &Path) -> io::Result<Self> {
        let log = Arc::new(File::open(path)?);
        Ok(Self::new(path, log))
    }

    fn new(path: &Path, log: Arc<File>) -> Self {
        Self(Arc::new(Inner {
            path: path.to_owned(),
            committed: AtomicU64::new(0),
            synced: Mutex::new(Synced { log, commits: 0 }),
            is_broken: AtomicBool::new(false),
        }))
    }

    /// Refuses if what is committed does not come to the disk any more.
    pub fn check(&self) -> Result<(), StoreError> {
        match self.0.is_broken.load(Ordering::Acquire) {
            true => Err(unsynced(io::Error::other("an earlier sync failed"))),
            false => Ok(()),
        }
    }

    /// Waits until all that was committed before this call survives a power cut.
    pub async fn settle(&self) -> Result<(), StoreError> {
        let own = self.0.committed.fetch_add(1, Ordering::AcqRel) + 1;
        let mut synced = self.0.synced.lock().await;
        self.check()?;
        if synced.commits >= own {
            return Ok(());
        }
        let all = self.0.committed.load(Ordering::Acquire);
        let (log, path) = (Arc::clone(&synced.log), self.0.path.clone());
        let done = tokio::task::spawn_blocking(move || sync(log, &path)).await;
        match done.map_err(io::Error::other).flatten() {
            Ok(log) => {
                synced.log = log;
                synced.commits = all;
                Ok(())
            }
            // After a failed sync the kernel may take its pages for written, and the next one
            // would say nothing of them (source: fsync(2)).
            Err(error) => {
                self.0.is_broken.store(true, Ordering::Release);
                Err(unsynced(error))
            }
        }
    }
}

/// Syncs the log, and gives it back. It is another file where SQLite had removed it, which it does
/// when the last connection is closed and all is in the database file and on the disk.
fn sync(log: Arc<File>, path: &Path) -> io::Result<Arc<File>> {
    let log = match log.metadata()?.nlink() {
        0 => match File::open(path) {
            Ok(log) => Arc::new(log),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(log),
            Err(error) => return Err(error),
        },
        _ => log,
    };
    log.sync_data()?;
    Ok(log)
}

fn unsynced(error: io::Error) -> StoreError {
    StoreError::Database {
        doing: "bring a change to the disk; look at the disk, then start the service again",
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_sync_serves_all_that_wait_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "pages").unwrap();
        let syncing = Syncing::open(&path).unwrap();
        let under_way = syncing.0.synced.lock().await;
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let syncing = syncing.clone();
                tokio::spawn(async move { syncing.settle().await })
            })
            .collect();
        while syncing.0.committed.load(Ordering::Acquire) < 8 {
            tokio::task::yield_now().await;
        }
        drop(under_way);
        for one in waiting {
            one.await.unwrap().unwrap();
        }
        assert_eq!(syncing.0.synced.lock().await.commits, 8);
        syncing.settle().await.unwrap();
        assert_eq!(syncing.0.synced.lock().await.commits, 9);
    }

    #[tokio::test]
    async fn a_log_that_was_made_anew_is_the_one_that_is_synced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "pages").unwrap();
        let syncing = Syncing::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        syncing.settle().await.unwrap();
        std::fs::write(&path, "other pages").unwrap();
        syncing.settle().await.unwrap();
        let log = Arc::clone(&syncing.0.synced.lock().await.log);
        let inode = |file: std::fs::Metadata| file.ino();
        assert_eq!(
            log.metadata().map(inode).unwrap(),
            path.metadata().map(inode).unwrap()
        );
    }

    #[tokio::test]
    async fn after_a_failed_sync_nothing_is_said_to_be_on_the_disk() {
        // A pipe is no file that could be synced.
        let (reader, _writer) = std::io::pipe().unwrap();
        let pipe = File::from(std::os::fd::OwnedFd::from(reader));
        let syncing = Syncing::new(Path::new("/dev/null"), Arc::new(pipe));
        syncing.check().unwrap();
        for _ in 0..2 {
            let error = syncing.settle().await.unwrap_err();
            assert!(error.to_string().contains("to the disk"), "{error}");
        }
        syncing.check().unwrap_err();
    }
}
