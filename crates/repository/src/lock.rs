//! One publisher at a time.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;

use crate::error::RepositoryError;
use crate::layout::Layout;

/// Held while a repository is changed; the kernel lets go of it when its process ends.
#[derive(Debug)]
pub struct PublisherLock {
    file: File,
}

impl PublisherLock {
    /// Does not wait: whoever is at work is named.
    pub fn take(layout: &Layout) -> Result<Self, RepositoryError> {
        let path = layout.lock();
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|source| match source.kind() {
                ErrorKind::NotFound => RepositoryError::NotARepository {
                    dir: layout.dir().to_owned(),
                },
                _ => RepositoryError::Io {
                    action: "open the lock",
                    path: path.clone(),
                    source,
                },
            })?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(RepositoryError::Locked {
                dir: layout.dir().to_owned(),
            }),
            Err(TryLockError::Error(source)) => Err(RepositoryError::Io {
                action: "lock",
                path,
                source,
            }),
        }
    }
}

impl Drop for PublisherLock {
    /// A child that another thread makes at this moment has the open file as well, until it runs
    /// its program: closing ours would leave the lock to it.
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}
