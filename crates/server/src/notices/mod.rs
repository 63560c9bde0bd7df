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

use std::path::Path;

use jiff::civil::Date;
use serde::Deserialize;
use suture_kernel::KernelRelease;
use suture_protocol::{KernelNotice, OpenHole};

pub use schedule::RegularUpdates;

use crate::settings_file::{SettingsFile, SettingsFileError, read_toml};

/// Longest text, in characters.
const LONGEST: usize = 300;

/// The file and what it said last.
pub struct Notices {
    file: Option<SettingsFile<File>>,
}

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
    pub fn open(path: Option<&Path>) -> Result<Self, SettingsFileError> {
        let file = path.map(|path| SettingsFile::open(path, read));
        Ok(Self {
            file: file.transpose()?,
        })
    }

    /// When regular kernel updates come; none: nobody said.
    pub fn regular_updates(&self) -> Option<RegularUpdates> {
        self.file.as_ref()?.with(|file| file.regular_updates)
    }

    /// What concerns a kernel, from all entries that name it: the earliest end, all holes.
    pub fn of(&self, release: &KernelRelease) -> Option<KernelNotice> {
        let file = self.file.as_ref()?;
        file.with(|file| file.notice(release))
    }
}

impl File {
    fn notice(&self, release: &KernelRelease) -> Option<KernelNotice> {
        let mut notice = KernelNotice::default();
        for entry in self
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

fn read(path: &Path) -> Result<File, SettingsFileError> {
    let file: File = read_toml(path)?;
    match file.wrong() {
        Some(what) => Err(SettingsFileError::Content {
            path: path.to_owned(),
            what,
        }),
        None => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

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
    fn a_wrong_file_is_refused_at_the_start_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notices.toml");
        let refused = |text: &str| {
            fs::write(&path, text).unwrap();
            Notices::open(Some(&path)).err().unwrap().to_string()
        };
        assert!(refused("[[kernel]]\nrelease = '6.*-*'\n").contains("more than one `*`"));
        assert!(refused("[[kernels]]\n").contains("line 1"));
        assert!(refused("[[kernel]]\nrelease='x'\ncovered-until='soon'").contains("line 3"));
        let updates = "[regular-updates]\nfirst = '2026-12-01'\nevery-days = 0\n";
        assert!(refused(updates).contains("expected 1 to 366"));
        let long = "x".repeat(301);
        let text = format!(
            "[[kernel]]\nrelease='x'\nnot-live-patched=[{{cve='CVE-1-1', reason='{long}'}}]"
        );
        assert!(refused(&text).contains("says too much"));
    }
}
