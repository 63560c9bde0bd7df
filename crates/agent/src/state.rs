//! What the agent keeps over a restart, and where.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_rollout::Offer;
use thiserror::Error;
use url::Url;

use crate::files;
use crate::lifecycle::Load;

/// Largest state file; quarantine entries are a few hundred bytes each.
const LIMIT: u64 = 1 << 20;
/// Quarantine entries that are kept, the oldest go first.
const MOST_QUARANTINED: usize = 64;

/// The state file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct State {
    /// None: the machine is not enabled.
    pub enrolment: Option<Enrolment>,
    /// The last check-in that the server answered.
    pub last_success: Option<CheckSuccess>,
    /// The last failed check-in, if none succeeded since.
    pub last_failure: Option<CheckFailure>,
    /// The kernel build for which live patches were offered at least once.
    pub covered: Option<KernelBuild>,
    /// The last patch that was not loaded, if none was since.
    pub refusal: Option<Refusal>,
    #[serde(default)]
    pub quarantine: Vec<Quarantined>,
}

/// This machine's place at a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The machine's secret is sent to this address only.
    pub server: Url,
    pub plan: String,
    pub at: Timestamp,
}

/// An answered check-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckSuccess {
    pub at: Timestamp,
    /// The kernel that the answer is for.
    pub kernel: KernelBuild,
    /// What the machine should have by this answer; see [`CheckSuccess::new`].
    pub offer: Offer,
}

impl CheckSuccess {
    /// "Up to date" is said to a machine with `applied` in force, so that is what it should have,
    /// also after a restart, which takes every patch away.
    pub fn new(
        at: Timestamp,
        kernel: KernelBuild,
        offer: Offer,
        applied: Option<PatchVersion>,
    ) -> Self {
        let offer = match (offer, applied) {
            (Offer::UpToDate, Some(version)) => Offer::Version { version },
            (offer, _) => offer,
        };
        Self { at, kernel, offer }
    }
}

/// A check-in without an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckFailure {
    pub at: Timestamp,
    /// What went wrong, in one line.
    pub message: String,
    pub hint: Option<String>,
    /// Failed check-ins since the last answered one.
    pub in_a_row: u32,
}

/// A patch that was not loaded; what was in force before still is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub kernel: KernelBuild,
    pub version: PatchVersion,
    /// What went wrong, in one line.
    pub reason: String,
    pub hint: Option<String>,
    pub at: Timestamp,
}

/// A version that this machine will not load again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    pub kernel: KernelBuild,
    pub version: PatchVersion,
    pub reason: String,
    pub at: Timestamp,
}

impl State {
    /// Adds an entry, once.
    pub fn quarantine(&mut self, entry: Quarantined) {
        self.quarantine
            .retain(|known| known.kernel != entry.kernel || known.version != entry.version);
        self.quarantine.push(entry);
        let surplus = self.quarantine.len().saturating_sub(MOST_QUARANTINED);
        self.quarantine.drain(..surplus);
    }

    /// The entries for one kernel build.
    pub fn quarantine_of(&self, kernel: &KernelBuild) -> Vec<Quarantined> {
        self.quarantine
            .iter()
            .filter(|entry| entry.kernel == *kernel)
            .cloned()
            .collect()
    }

    /// The last answer for this kernel build; one for another kernel says nothing.
    pub fn offer_for(&self, kernel: &KernelBuild) -> Option<&Offer> {
        self.last_success
            .as_ref()
            .filter(|check| check.kernel == *kernel)
            .map(|check| &check.offer)
    }

    pub fn check_succeeded(&mut self, check: CheckSuccess) {
        if matches!(check.offer, Offer::Version { .. } | Offer::UpToDate) {
            self.covered = Some(check.kernel.clone());
        }
        self.last_success = Some(check);
        self.last_failure = None;
    }

    pub fn check_failed(&mut self, message: String, hint: Option<String>, at: Timestamp) {
        let before = self
            .last_failure
            .as_ref()
            .map_or(0, |failure| failure.in_a_row);
        let in_a_row = before.saturating_add(1);
        self.last_failure = Some(CheckFailure {
            at,
            message,
            hint,
            in_a_row,
        });
    }
}

/// The agent's directory: `/var/lib/livepatch`, mode 0700.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// The state directory cannot be used.
#[derive(Debug, Error)]
pub enum StateError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("`{}` is damaged; move it away and enable the machine again", path.display())]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
}

impl StateDir {
    /// Opens the directory, which is made for its owner alone if it is missing.
    pub fn open(path: PathBuf) -> Result<Self, StateError> {
        let write = |source| StateError::Write {
            path: path.clone(),
            source,
        };
        files::create_dir(&path, 0o700).map_err(write)?;
        fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(write)?;
        files::create_dir(&path.join("tuf"), 0o700).map_err(write)?;
        files::create_dir(&path.join("targets"), 0o700).map_err(write)?;
        Ok(Self { path })
    }

    /// Where the TUF client keeps its trusted metadata.
    pub fn datastore(&self) -> PathBuf {
        self.path.join("tuf")
    }

    /// Where fetched manifests and modules lie, by target name.
    pub fn targets(&self) -> PathBuf {
        self.path.join("targets")
    }

    fn secret_path(&self) -> PathBuf {
        self.path.join("machine-secret")
    }

    pub fn state(&self) -> Result<State, StateError> {
        Ok(read_json(&self.path.join("state.json"))?.unwrap_or_default())
    }

    pub fn write_state(&self, state: &State) -> Result<(), StateError> {
        write_json(&self.path.join("state.json"), state)
    }

    pub fn journal(&self) -> Result<Option<Load>, StateError> {
        read_json(&self.path.join("journal.json"))
    }

    pub fn write_journal(&self, load: &Load) -> Result<(), StateError> {
        write_json(&self.path.join("journal.json"), load)
    }

    pub fn clear_journal(&self) -> Result<(), StateError> {
        let path = self.path.join("journal.json");
        files::remove_durably(&path).map_err(|source| StateError::Write { path, source })
    }

    /// The machine's secret.
    pub fn secret(&self) -> Result<Option<String>, StateError> {
        let path = self.secret_path();
        let text = files::if_exists(files::read_text(&path, 4096))
            .map_err(|source| StateError::Read { path, source })?;
        Ok(text.map(|text| text.trim().to_owned()))
    }

    pub fn write_secret(&self, secret: &str) -> Result<(), StateError> {
        let path = self.secret_path();
        files::write_atomic(&path, secret.as_bytes(), 0o600)
            .map_err(|source| StateError::Write { path, source })
    }

    pub fn forget_secret(&self) -> Result<(), StateError> {
        let path = self.secret_path();
        files::remove_durably(&path).map_err(|source| StateError::Write { path, source })
    }
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    let bytes =
        files::if_exists(files::read_bounded(path, LIMIT)).map_err(|source| StateError::Read {
            path: path.to_owned(),
            source,
        })?;
    bytes
        .map(|bytes| serde_json::from_slice(&bytes))
        .transpose()
        .map_err(|source| StateError::Damaged {
            path: path.to_owned(),
            source,
        })
}

fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), StateError> {
    let write = |source| StateError::Write {
        path: path.to_owned(),
        source,
    };
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| write(error.into()))?;
    bytes.push(b'\n');
    files::write_atomic(path, &bytes, 0o600).map_err(write)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeTree, time, version};

    fn entry(text: &str) -> Quarantined {
        Quarantined {
            kernel: FakeTree::kernel(),
            version: version(text),
            reason: "why".into(),
            at: time(0),
        }
    }

    #[test]
    fn state_survives_and_is_for_root_alone() {
        let tree = FakeTree::new();
        let dir = StateDir::open(tree.paths().state_dir()).unwrap();
        assert_eq!(dir.state().unwrap(), State::default());
        let mut state = State::default();
        state.check_failed("no network".to_owned(), None, time(1));
        state.check_failed("no network".to_owned(), None, time(2));
        state.quarantine(entry("1.1"));
        dir.write_state(&state).unwrap();
        dir.write_secret("s3cret").unwrap();
        let dir = StateDir::open(tree.paths().state_dir()).unwrap();
        assert_eq!(dir.state().unwrap(), state);
        assert_eq!(dir.state().unwrap().last_failure.unwrap().in_a_row, 2);
        assert_eq!(dir.secret().unwrap().as_deref(), Some("s3cret"));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&tree.paths().state_dir()), 0o700);
        assert_eq!(mode(&dir.secret_path()), 0o600);
        dir.forget_secret().unwrap();
        assert_eq!(dir.secret().unwrap(), None);
    }

    #[test]
    fn damaged_state_is_an_error_and_never_an_empty_quarantine() {
        let tree = FakeTree::new();
        let dir = StateDir::open(tree.paths().state_dir()).unwrap();
        tree.write("var/lib/livepatch/state.json", b"{\"quarantine\": [");
        let error = dir.state().unwrap_err().to_string();
        assert!(
            error.ends_with("state.json` is damaged; move it away and enable the machine again")
        );
    }

    #[test]
    fn an_answer_for_another_kernel_says_nothing_of_this_one() {
        let kernel = FakeTree::kernel();
        let mut other = kernel.clone();
        other.release = "6.1.0-99-amd64".parse().unwrap();
        let mut state = State::default();
        let offer = Offer::NotCovered;
        state.check_succeeded(CheckSuccess {
            at: time(0),
            kernel: other,
            offer,
        });
        assert_eq!(state.offer_for(&kernel), None);
        assert_eq!(state.covered, None);
    }

    #[test]
    fn the_quarantine_is_bounded_and_has_each_version_once() {
        let mut state = State::default();
        for n in 1..=70 {
            state.quarantine(entry(&format!("{n}.1")));
            state.quarantine(entry(&format!("{n}.1")));
        }
        assert_eq!(state.quarantine.len(), 64);
        assert_eq!(state.quarantine.last().unwrap().version, version("70.1"));
    }
}
