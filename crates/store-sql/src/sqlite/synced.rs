//! What is committed comes to the disk.
//!
//! SQLite would sync the log within each commit, and the next transaction would wait for the disk
//! as well. Here a commit leaves its pages with the operating system, and whoever committed waits
//! for a sync of the log that began afterwards, while others work on. One sync serves all that
//! wait for it. A transaction that saw what is not yet on the disk is synced with it or after it:
//! the log has one order.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use suture_store::StoreError;
use tokio::sync::Mutex;

/// The log's way to the disk.
#[derive(Debug, Clone)]
pub struct Syncing(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    log: Arc<File>,
    /// Commits so far.
    committed: AtomicU64,
    synced: Mutex<Synced>,
}

#[derive(Debug, Default)]
struct Synced {
    /// Commits that are on the disk.
    commits: u64,
    /// A sync failed.
    is_broken: bool,
}

impl Syncing {
    /// The log is there as long as a connection to its database is open.
    pub fn open(log: &Path) -> io::Result<Self> {
        Ok(Self(Arc::new(Inner {
            log: Arc::new(File::open(log)?),
            committed: AtomicU64::new(0),
            synced: Mutex::default(),
        })))
    }

    /// Waits until all that was committed before this call survives a power cut.
    pub async fn settle(&self) -> Result<(), StoreError> {
        let own = self.0.committed.fetch_add(1, Ordering::AcqRel) + 1;
        let mut synced = self.0.synced.lock().await;
        if synced.is_broken {
            return Err(unsynced(io::Error::other("an earlier sync failed")));
        }
        if synced.commits >= own {
            return Ok(());
        }
        let all = self.0.committed.load(Ordering::Acquire);
        let log = Arc::clone(&self.0.log);
        let done = tokio::task::spawn_blocking(move || log.sync_data()).await;
        match done.map_err(io::Error::other).flatten() {
            Ok(()) => {
                synced.commits = all;
                Ok(())
            }
            // After a failed sync the kernel may take its pages for written, and the next one
            // would say nothing of them (source: fsync(2)).
            Err(error) => {
                synced.is_broken = true;
                Err(unsynced(error))
            }
        }
    }
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
    async fn after_a_failed_sync_nothing_is_said_to_be_on_the_disk() {
        // A pipe is no file that could be synced.
        let (reader, _writer) = std::io::pipe().unwrap();
        let syncing = Syncing(Arc::new(Inner {
            log: Arc::new(File::from(std::os::fd::OwnedFd::from(reader))),
            committed: AtomicU64::new(0),
            synced: Mutex::default(),
        }));
        for _ in 0..2 {
            let error = syncing.settle().await.unwrap_err();
            assert!(error.to_string().contains("to the disk"), "{error}");
        }
    }
}
