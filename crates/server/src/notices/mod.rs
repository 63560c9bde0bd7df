//! What the operator tells the machines of a kernel: a TOML file that is read again when it
//! changes.
//!
//! ```toml
//! [[kernel]]
//! release = "6.1.0-*-amd64"      # one `*` stands for anything
//! covered-until = "2027-06-30"
//!
//! [[kernel]]
//! release = "6.1.0-53-amd64"
//! not-live-patched = [{ cve = "CVE-2026-89603", reason = "it changes the layout of a structure" }]
//!
//! [regular-updates]              # of the kernel, with a reboot
//! first = "2026-12-01"
//! every-days = 21
//! ```

mod schedule;

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use jiff::civil::Date;
use serde::Deserialize;
use suture_kernel::KernelRelease;
use suture_protocol::{KernelNotice, OpenHole};
use thiserror::Error;
use tracing::{info, warn};

pub use schedule::RegularUpdates;

/// Largest file.
const LIMIT: u64 = 1 << 20;
/// Longest text, in characters.
const LONGEST: usize = 300;

/// Why a file of notices is not used.
#[derive(Debug, Error)]
pub enum NoticesError {
    #[error("cannot read the notices `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the notices `{}` cannot be understood", path.display())]
    Syntax {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
    #[error("the notices `{}`: {what}", path.display())]
    Content { path: PathBuf, what: String },
}

/// The file and what it said last.
#[derive(Debug)]
pub struct Notices {
    path: Option<PathBuf>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    stamp: Option<Stamp>,
    file: File,
}

/// A file that looks the same is not read again.
type Stamp = (Option<SystemTime>, u64);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    #[serde(default)]
    kernel: Vec<Entry>,
    regular_updates: Option<RegularUpdates>,
}

impl File {
    fn wrong(&self) -> Option<String> {
        let entries = self.kernel.iter().find_map(Entry::wrong);
        entries.or_else(|| self.regular_updates.as_ref()?.wrong())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Entry {
    release: String,
    #[serde(default)]
    covered_until: Option<Date>,
    #[serde(default)]
    not_live_patched: Vec<OpenHole>,
}

impl Entry {
    fn is_for(&self, release: &str) -> bool {
        match self.release.split_once('*') {
            None => self.release == release,
            Some((start, end)) => release
                .strip_prefix(start)
                .is_some_and(|rest| rest.ends_with(end)),
        }
    }

    fn wrong(&self) -> Option<String> {
        let Self { release, .. } = self;
        if release.matches('*').count() > 1 {
            return Some(format!("`{release}` has more than one `*`"));
        }
        let long = |hole: &&OpenHole| {
            hole.reason.chars().count() > LONGEST || hole.cve.chars().count() > 40
        };
        if let Some(hole) = self.not_live_patched.iter().find(long) {
            return Some(format!(
                "`{release}` says too much of `{}`: at most {LONGEST} characters",
                hole.cve.chars().take(40).collect::<String>()
            ));
        }
        None
    }
}

impl Notices {
    /// The file must be right at the start; without one there is nothing to tell.
    pub fn open(path: Option<&Path>) -> Result<Self, NoticesError> {
        let known = match path {
            None => Known::default(),
            Some(path) => Known {
                stamp: stamp(path),
                file: read(path)?,
            },
        };
        Ok(Self {
            path: path.map(Path::to_owned),
            known: Mutex::new(known),
        })
    }

    /// When regular kernel updates come; none: nobody said.
    pub fn regular_updates(&self) -> Option<RegularUpdates> {
        self.known()?.file.regular_updates
    }

    /// The file as it is now.
    fn known(&self) -> Option<MutexGuard<'_, Known>> {
        let path = self.path.as_ref()?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.refresh(path);
        Some(known)
    }

    /// What concerns a kernel, from all entries that name it: the earliest end, all holes.
    pub fn of(&self, release: &KernelRelease) -> Option<KernelNotice> {
        let known = self.known()?;
        let mut notice = KernelNotice::default();
        for entry in known
            .file
            .kernel
            .iter()
            .filter(|entry| entry.is_for(release.as_str()))
        {
            notice.covered_until = match (notice.covered_until, entry.covered_until) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            notice
                .not_live_patched
                .extend(entry.not_live_patched.iter().cloned());
        }
        notice.not_live_patched.truncate(KernelNotice::MAX_HOLES);
        (!notice.is_empty()).then_some(notice)
    }
}

impl Known {
    /// A file that became wrong changes nothing but the log.
    fn refresh(&mut self, path: &Path) {
        let now = stamp(path);
        if now == self.stamp {
            return;
        }
        self.stamp = now;
        match read(path) {
            Ok(file) => {
                info!("the notices `{}` were read again", path.display());
                self.file = file;
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(cause, "{error}; those before stay");
            }
        }
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let about = fs::metadata(path).ok()?;
    Some((about.modified().ok(), about.len()))
}

fn read(path: &Path) -> Result<File, NoticesError> {
    let failed = |source| NoticesError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(failed)?;
    file.take(LIMIT).read_to_string(&mut text).map_err(failed)?;
    let file: File = toml::from_str(&text).map_err(|source| NoticesError::Syntax {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    match file.wrong() {
        Some(what) => Err(NoticesError::Content {
            path: path.to_owned(),
            what,
        }),
        None => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[[kernel]]\nrelease = '6.1.0-*-amd64'\ncovered-until = '2027-06-30'\n\
        [[kernel]]\nrelease = '6.1.0-53-amd64'\ncovered-until = '2027-02-28'\n\
        not-live-patched = [{ cve = 'CVE-2026-89603', reason = 'new layout' }]\n";

    fn of(notices: &Notices, release: &str) -> Option<KernelNotice> {
        notices.of(&release.parse().unwrap())
    }

    #[test]
    fn a_kernel_hears_what_concerns_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notices.toml");
        fs::write(&path, TEXT).unwrap();
        let notices = Notices::open(Some(&path)).unwrap();
        let until = |release: &str| of(&notices, release).and_then(|it| it.covered_until);
        assert_eq!(until("6.1.0-53-amd64"), Some("2027-02-28".parse().unwrap()));
        assert_eq!(until("6.1.0-54-amd64"), Some("2027-06-30".parse().unwrap()));
        assert_eq!(
            until("6.1.0-53-cloud-amd64"),
            Some("2027-06-30".parse().unwrap())
        );
        assert_eq!(of(&notices, "6.12.9-amd64"), None);
        let holes = of(&notices, "6.1.0-53-amd64").unwrap().not_live_patched;
        assert_eq!(holes[0].cve, "CVE-2026-89603");
        assert_eq!(of(&Notices::open(None).unwrap(), "6.1.0-53-amd64"), None);
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_wrong_one_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notices.toml");
        fs::write(&path, TEXT).unwrap();
        let notices = Notices::open(Some(&path)).unwrap();
        fs::write(&path, "[[kernel]]\nrelease = ").unwrap();
        assert!(of(&notices, "6.1.0-53-amd64").is_some());
        fs::write(&path, "").unwrap();
        assert_eq!(of(&notices, "6.1.0-53-amd64"), None);
    }

    #[test]
    fn a_wrong_file_is_refused_at_the_start_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notices.toml");
        let refused = |text: &str| {
            fs::write(&path, text).unwrap();
            Notices::open(Some(&path)).unwrap_err().to_string()
        };
        assert!(refused("[[kernel]]\nrelease = '6.*-*'\n").contains("more than one `*`"));
        assert!(refused("[[kernels]]\n").contains("cannot be understood"));
        assert!(refused("[[kernel]]\nrelease='x'\ncovered-until='soon'").contains("cannot be"));
        let updates = "[regular-updates]\nfirst = '2026-12-01'\nevery-days = 0\n";
        assert!(refused(updates).contains("expected 1 to 366"));
        let long = "x".repeat(301);
        let text = format!(
            "[[kernel]]\nrelease='x'\nnot-live-patched=[{{cve='CVE-1-1', reason='{long}'}}]"
        );
        assert!(refused(&text).contains("says too much"));
    }
}
