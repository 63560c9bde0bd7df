//! One configuration file: every key optional.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::files;

/// Largest configuration file (`ca-certs` may hold a bundle of certificates as text).
const LIMIT: u64 = 1 << 20;

/// The keys of a configuration file, as written by a person.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Fragment {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_server: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_plain_http: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certs: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_interval: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http_proxy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https_proxy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_proxy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_level: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settle_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transition_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverse_after: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patch_delay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cutoff_date: Option<String>,
}

/// A configuration file that cannot be used.
#[derive(Debug, Error)]
pub enum FragmentError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` is not a configuration file", path.display())]
    Parse { path: PathBuf, source: ParseError },
}

/// What is wrong and where. The line itself, which may hold a proxy's password, stays out.
#[derive(Debug, Error)]
#[error("line {line}: {message}")]
pub struct ParseError {
    /// From 1.
    line: usize,
    message: String,
}

impl ParseError {
    fn new(text: &str, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start));
        Self {
            line: before.unwrap_or_default().matches('\n').count() + 1,
            message: error.message().to_owned(),
        }
    }
}

impl Fragment {
    /// Reads the file at `path`; none is the same as an empty one.
    pub fn read(path: &Path) -> Result<Self, FragmentError> {
        let read = |source| FragmentError::Read {
            path: path.to_owned(),
            source,
        };
        let text = files::if_exists(files::read_text(path, LIMIT)).map_err(read)?;
        let text = text.unwrap_or_default();
        toml::from_str(&text).map_err(|error| FragmentError::Parse {
            path: path.to_owned(),
            source: ParseError::new(&text, &error),
        })
    }

    /// Reads all `*.toml` of `dirs`: a later directory wins, and in a directory a later name.
    pub fn read_all(dirs: &[PathBuf]) -> Result<Self, FragmentError> {
        Self::merge(dirs, None)
    }

    /// As [`Self::read_all`] would read with `self` as the content of the file at `path`.
    pub fn read_all_with(&self, path: &Path, dirs: &[PathBuf]) -> Result<Self, FragmentError> {
        Self::merge(dirs, Some((path, self)))
    }

    fn merge(dirs: &[PathBuf], replaced: Option<(&Path, &Self)>) -> Result<Self, FragmentError> {
        let mut merged = Self::default();
        for dir in dirs {
            let mut paths = toml_files(dir)?;
            if let Some((path, _)) = replaced
                && path.parent() == Some(dir)
                && !paths.iter().any(|known| known == path)
            {
                paths.push(path.to_owned());
                paths.sort();
            }
            for path in paths {
                let fragment = match replaced {
                    Some((replaced, fragment)) if replaced == path => fragment.clone(),
                    _ => Self::read(&path)?,
                };
                merged = fragment.or(merged);
            }
        }
        Ok(merged)
    }

    /// Keys of `self`, and where it has none those of `earlier`.
    pub fn or(self, earlier: Self) -> Self {
        Self {
            remote_server: self.remote_server.or(earlier.remote_server),
            allow_plain_http: self.allow_plain_http.or(earlier.allow_plain_http),
            ca_certs: self.ca_certs.or(earlier.ca_certs),
            check_interval: self.check_interval.or(earlier.check_interval),
            http_proxy: self.http_proxy.or(earlier.http_proxy),
            https_proxy: self.https_proxy.or(earlier.https_proxy),
            no_proxy: self.no_proxy.or(earlier.no_proxy),
            log_level: self.log_level.or(earlier.log_level),
            root: self.root.or(earlier.root),
            settle_time: self.settle_time.or(earlier.settle_time),
            transition_timeout: self.transition_timeout.or(earlier.transition_timeout),
            reverse_after: self.reverse_after.or(earlier.reverse_after),
            patch_delay: self.patch_delay.or(earlier.patch_delay),
            cutoff_date: self.cutoff_date.or(earlier.cutoff_date),
        }
    }
}

fn toml_files(dir: &Path) -> Result<Vec<PathBuf>, FragmentError> {
    let read = |source| FragmentError::Read {
        path: dir.to_owned(),
        source,
    };
    let Some(entries) = files::if_exists(std::fs::read_dir(dir)).map_err(read)? else {
        return Ok(Vec::new());
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(read)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn later_directories_and_later_names_win_key_by_key() {
        let tree = tempfile::tempdir().unwrap();
        let dirs = ["lib", "run", "etc"].map(|name| tree.path().join(name));
        fs::create_dir(&dirs[0]).unwrap();
        fs::create_dir(&dirs[2]).unwrap();
        let vendor = "check-interval = 60\nlog-level = 'warn'\nno-proxy = 'localhost'";
        fs::write(dirs[0].join("10-vendor.toml"), vendor).unwrap();
        fs::write(dirs[0].join("20-vendor.toml"), "no-proxy = 'example.com'").unwrap();
        fs::write(dirs[0].join("README"), "not a fragment").unwrap();
        fs::write(dirs[2].join("50-site.toml"), "check-interval = 15").unwrap();
        let merged = Fragment::read_all(&dirs).unwrap();
        assert_eq!(merged.check_interval, Some(15));
        assert_eq!(merged.log_level.as_deref(), Some("warn"));
        assert_eq!(merged.no_proxy.as_deref(), Some("example.com"));
    }

    #[test]
    fn a_misspelt_key_names_its_file() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("50-site.toml");
        fs::write(&path, "check-intervall = 15").unwrap();
        let error = Fragment::read_all(&[tree.path().to_owned()]).unwrap_err();
        assert!(error.to_string().contains("50-site.toml"), "{error}");
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            cause.starts_with("line 1: unknown field `check-intervall`"),
            "{cause}"
        );
    }

    #[test]
    fn a_damaged_line_is_named_but_not_repeated() {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("50-site.toml");
        let text = "check-interval = 15\nhttps-proxy = 'http://name:word@proxy.example.com\n";
        fs::write(&path, text).unwrap();
        let error = Fragment::read(&path).unwrap_err();
        let told = crate::failure::Failure::from_error(&error).one_line();
        assert!(told.contains(": line 2: "), "{told}");
        assert!(!told.contains("word"), "{told}");
    }
}
