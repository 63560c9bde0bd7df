//! Files that appear whole or not at all, locks, hashes.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::FactoryError;

/// SHA-256 as lowercase hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, FactoryError> {
    fs::read(path).map_err(FactoryError::file("read", path))
}

pub(crate) fn read_text(path: &Path) -> Result<String, FactoryError> {
    fs::read_to_string(path).map_err(FactoryError::file("read", path))
}

pub(crate) fn make_dir(path: &Path) -> Result<(), FactoryError> {
    fs::create_dir_all(path).map_err(FactoryError::file("make the folder", path))
}

/// Writes beside the target and renames, so that a reader (or the next run after a crash) sees
/// the old content or the new one.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), FactoryError> {
    write_beside(path, bytes, true)
}

/// [`write`], without waiting for the disk: after a power cut the file may not be whole.
pub(crate) fn write_soon(path: &Path, bytes: &[u8]) -> Result<(), FactoryError> {
    write_beside(path, bytes, false)
}

fn write_beside(path: &Path, bytes: &[u8], lasting: bool) -> Result<(), FactoryError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    make_dir(parent)?;
    let fail = FactoryError::file("write", path);
    let attempt = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(parent)?;
        file.write_all(bytes)?;
        if lasting {
            file.as_file().sync_all()?;
        }
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    attempt().map_err(fail)
}

/// Writes into a folder that goes with the job, where nothing has to outlive a power cut.
pub(crate) fn write_scratch(path: &Path, bytes: &[u8]) -> Result<(), FactoryError> {
    fs::write(path, bytes).map_err(FactoryError::file("write", path))
}

/// A path in the same folder, named like this one with `.suffix` added. (Names of releases and
/// versions hold dots, so replacing an "extension" would cut them.)
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    path.with_file_name(name)
}

/// Removes a folder and what is in it; one that isn't there is fine.
pub(crate) fn remove_dir(path: &Path) -> Result<(), FactoryError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(FactoryError::file("remove", path)),
    }
}

/// An exclusive lock on a file, held until dropped and released by the kernel if we die.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for the lock.
    pub fn wait(path: &Path) -> Result<Self, FactoryError> {
        let file = Self::open(path)?;
        file.lock().map_err(FactoryError::file("lock", path))?;
        Ok(Self { _file: file })
    }

    /// Takes the lock if nobody has it.
    pub fn try_now(path: &Path) -> Result<Option<Self>, FactoryError> {
        let file = Self::open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(FactoryError::file("lock", path)(error)),
        }
    }

    fn open(path: &Path) -> Result<File, FactoryError> {
        make_dir(path.parent().unwrap_or(Path::new(".")))?;
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(FactoryError::file("open the lock", path))
    }
}

/// Where the factory keeps what it can make again: `$SUTURE_CACHE`, else
/// `$XDG_CACHE_HOME/suture`, else `~/.cache/suture`.
pub fn default_cache() -> PathBuf {
    let named = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty());
    if let Some(path) = named("SUTURE_CACHE") {
        return path.into();
    }
    let base = named("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .unwrap_or_else(|| {
            PathBuf::from(named("HOME").unwrap_or_else(|| "/root".into())).join(".cache")
        });
    base.join("suture")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_are_kept_whole() {
        let lock = beside(Path::new("kernels/6.1.0-53-amd64"), "lock");
        assert_eq!(lock, Path::new("kernels/6.1.0-53-amd64.lock"));
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = Lock::wait(&path).unwrap();
        assert!(Lock::try_now(&path).unwrap().is_none());
        drop(held);
        assert!(Lock::try_now(&path).unwrap().is_some());
    }
}
