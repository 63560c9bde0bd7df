//! An operator's TOML file that is read again when it changes.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::de::DeserializeOwned;
use thiserror::Error;
use tracing::{info, warn};

/// Largest file, bytes.
const LIMIT: u64 = 1 << 20;

/// Why a file is not used. It repeats no line of the file, which may hold secrets.
#[derive(Debug, Error)]
pub enum SettingsFileError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` has more than {LIMIT} bytes", path.display())]
    TooLarge { path: PathBuf },
    #[error("`{}`, line {line}: {what}", path.display())]
    Syntax {
        path: PathBuf,
        /// From 1.
        line: usize,
        what: String,
    },
    #[error("`{}`: {what}", path.display())]
    Content { path: PathBuf, what: String },
}

/// Makes of a file's content what is used of it, or says what is wrong with it.
type Check<T> = Box<dyn Fn(&Path) -> Result<T, SettingsFileError> + Send + Sync>;

/// A file and what it said last.
pub struct SettingsFile<T> {
    path: PathBuf,
    read: Check<T>,
    known: Mutex<Known<T>>,
}

struct Known<T> {
    /// A file that looks the same is not read again.
    stamp: Option<Stamp>,
    content: T,
}

type Stamp = (SystemTime, u64);

impl<T> SettingsFile<T> {
    /// The file must be right at the start.
    pub fn open(
        path: &Path,
        read: impl Fn(&Path) -> Result<T, SettingsFileError> + Send + Sync + 'static,
    ) -> Result<Self, SettingsFileError> {
        let known = Known {
            stamp: stamp(path),
            content: read(path)?,
        };
        Ok(Self {
            path: path.to_owned(),
            read: Box::new(read),
            known: Mutex::new(known),
        })
    }

    /// What use is made of the file as it is now. One that became wrong changes nothing but the
    /// log.
    pub fn with<R>(&self, make: impl FnOnce(&T) -> R) -> R {
        make(&self.refreshed().content)
    }

    fn refreshed(&self) -> MutexGuard<'_, Known<T>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamp(&self.path);
        if now != known.stamp {
            known.stamp = now;
            match (self.read)(&self.path) {
                Ok(content) => {
                    info!("`{}` was read again", self.path.display());
                    known.content = content;
                }
                Err(error) => {
                    let cause = crate::error::chain(&error);
                    warn!(error = cause, "{cause}; what it said before stays");
                }
            }
        }
        known
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let about = fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len()))
}

/// Reads a bounded TOML file.
pub fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T, SettingsFileError> {
    let failed = |source| SettingsFileError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    let read = file.take(LIMIT + 1).read_to_string(&mut text);
    if read.map_err(failed)? as u64 > LIMIT {
        let path = path.to_owned();
        return Err(SettingsFileError::TooLarge { path });
    }
    toml::from_str(&text).map_err(|error| {
        let before = error.span().map_or(0, |span| span.start);
        let lines = text
            .as_bytes()
            .iter()
            .take(before)
            .filter(|it| **it == b'\n');
        SettingsFileError::Syntax {
            path: path.to_owned(),
            line: 1 + lines.count(),
            what: error.message().to_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    type Numbers = BTreeMap<String, u32>;

    #[test]
    fn a_changed_file_is_read_again_and_a_wrong_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers.toml");
        fs::write(&path, "one = 1\n").unwrap();
        let file = SettingsFile::open(&path, read_toml::<Numbers>).unwrap();
        fs::write(&path, "one = 1\ntwo = \n").unwrap();
        assert_eq!(file.with(BTreeMap::len), 1);
        fs::write(&path, "one = 1\ntwo = 2\n").unwrap();
        assert_eq!(file.with(BTreeMap::len), 2);
        fs::remove_file(&path).unwrap();
        assert_eq!(file.with(BTreeMap::len), 2);
    }

    #[test]
    fn a_wrong_file_is_told_by_its_line_and_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("numbers.toml");
        fs::write(&path, "one = 1\n\ntwo = 'hunter2\n").unwrap();
        let error = read_toml::<Numbers>(&path).unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
        fs::write(&path, " ".repeat(LIMIT as usize + 1)).unwrap();
        let error = read_toml::<Numbers>(&path).unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
    }
}
