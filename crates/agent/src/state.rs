//! What the agent keeps over a restart, and where.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::civil::Date;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_protocol::{CheckInResponse, KernelNotice, MachineId, Withdrawal};
use suture_rollout::{ChannelName, Offer};
use thiserror::Error;
use tracing::warn;
use url::Url;

use crate::coverage::Series;
use crate::evidence::Evidence;
use crate::files;
use crate::lifecycle::Load;
use crate::text;

/// Largest state file; quarantine entries are a few hundred bytes each.
const LIMIT: u64 = 1 << 20;
/// Largest file of evidence: 256 events of a few hundred bytes each, a few KB at most.
const EVIDENCE_LIMIT: u64 = 4 << 20;
/// Quarantine entries that are kept, the oldest go first.
const MOST_QUARANTINED: usize = 64;
/// Withdrawn versions that are remembered, the oldest go first.
const MOST_WITHDRAWN: usize = 64;
/// Longest reason of a withdrawal, in characters.
const LONGEST_REASON: usize = 1000;

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
    /// What the repository said of kernels like the running one, when it had no patch for it.
    #[serde(default)]
    pub series: Option<Series>,
    /// Versions of which the server said that they were withdrawn.
    #[serde(default)]
    pub withdrawn: Vec<Withdrawn>,
    /// A patch was loaded from a folder: the cache is applied after a restart, enabled or not.
    #[serde(default)]
    pub loaded_by_hand: bool,
    /// The id of a machine whose disk is a copy; none: what `/etc/machine-id` gives.
    #[serde(default)]
    pub own_id: Option<MachineId>,
    /// The id that it asked for and was not seen to get: the answer may have been lost.
    #[serde(default)]
    pub wanted_id: Option<MachineId>,
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
    /// The version of whose early group this machine is.
    #[serde(default)]
    pub early_group: Option<PatchVersion>,
    /// A later version that comes to this machine in its turn.
    #[serde(default)]
    pub coming: Option<PatchVersion>,
    /// What the vendor told of the kernel.
    #[serde(default)]
    pub notice: Option<Notice>,
    /// What keeps the machine from new versions, beside the rollouts.
    #[serde(default)]
    pub held: Option<String>,
    /// The channel that the machine's group follows.
    #[serde(default)]
    pub channel: Option<ChannelName>,
}

impl CheckSuccess {
    /// "Up to date" is said to a machine with `applied` in force, so that is what it should have,
    /// also after a restart, which takes every patch away.
    pub fn new(
        at: Timestamp,
        kernel: KernelBuild,
        response: &CheckInResponse,
        applied: Option<PatchVersion>,
    ) -> Self {
        let offer = match (&response.offer, applied) {
            (Offer::UpToDate, Some(version)) => Offer::Version { version },
            (offer, _) => offer.clone(),
        };
        Self {
            at,
            kernel,
            offer,
            early_group: response.early_group,
            coming: response.coming,
            notice: response.notice.as_ref().map(Notice::of),
            held: response
                .held
                .as_ref()
                .map(|held| text::one_line(&held.detail, LONGEST_REASON)),
            channel: response.channel.clone(),
        }
    }
}

/// What the vendor told of the kernel, fit to be printed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Notice {
    /// The last day (UTC) on which live patches are made for it.
    pub covered_until: Option<Date>,
    /// Holes that no live patch closes, and why.
    pub not_live_patched: Vec<(String, String)>,
}

impl Notice {
    fn of(told: &KernelNotice) -> Self {
        let holes = told.not_live_patched.iter().take(KernelNotice::MAX_HOLES);
        Self {
            covered_until: told.covered_until,
            not_live_patched: holes
                .map(|hole| {
                    (
                        text::one_line(&hole.cve, 40),
                        text::one_line(&hole.reason, 300),
                    )
                })
                .collect(),
        }
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
    /// It did not fail: the machine's owner lets it wait.
    #[serde(default)]
    pub deferred: bool,
    /// It is not tried again before, unless an administrator asks for it.
    #[serde(default)]
    pub not_before: Option<Timestamp>,
}

/// A version that this machine will not load again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    pub kernel: KernelBuild,
    pub version: PatchVersion,
    pub reason: String,
    pub at: Timestamp,
}

/// A version that is not applied again once the kernel lost it. The kernel keeps what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    pub kernel: KernelBuild,
    pub version: PatchVersion,
    pub reason: String,
}

impl State {
    /// Remembers a withdrawal, once.
    pub fn withdraw(&mut self, kernel: &KernelBuild, withdrawal: &Withdrawal) {
        self.withdrawn
            .retain(|known| known.kernel != *kernel || known.version != withdrawal.version);
        self.withdrawn.push(Withdrawn {
            kernel: kernel.clone(),
            version: withdrawal.version,
            reason: text::one_line(&withdrawal.reason, LONGEST_REASON),
        });
        let surplus = self.withdrawn.len().saturating_sub(MOST_WITHDRAWN);
        self.withdrawn.drain(..surplus);
    }

    /// The withdrawals for one kernel build.
    pub fn withdrawn_of(&self, kernel: &KernelBuild) -> Vec<Withdrawn> {
        let entries = self.withdrawn.iter();
        entries
            .filter(|entry| entry.kernel == *kernel)
            .cloned()
            .collect()
    }

    /// Adds an entry, once.
    pub fn quarantine(&mut self, entry: Quarantined) {
        self.quarantine
            .retain(|known| known.kernel != entry.kernel || known.version != entry.version);
        self.quarantine.push(entry);
        let surplus = self.quarantine.len().saturating_sub(MOST_QUARANTINED);
        self.quarantine.drain(..surplus);
    }

    /// Takes the entries of one kernel build out, all or that of one version, and returns their
    /// versions.
    pub fn lift(
        &mut self,
        kernel: &KernelBuild,
        version: Option<PatchVersion>,
    ) -> Vec<PatchVersion> {
        let goes = |entry: &Quarantined| {
            entry.kernel == *kernel && version.is_none_or(|version| entry.version == version)
        };
        let gone = self.quarantine.iter().filter(|entry| goes(entry));
        let gone = gone.map(|entry| entry.version).collect();
        self.quarantine.retain(|entry| !goes(entry));
        gone
    }

    /// Whether the refusal of a version lets it rest at `now`; a clock that was set back does
    /// not make it rest longer than it was meant to.
    pub fn rests(&self, kernel: &KernelBuild, version: PatchVersion, now: Timestamp) -> bool {
        let Some(refusal) = &self.refusal else {
            return false;
        };
        let this = refusal.version == version && refusal.kernel == *kernel;
        let until = refusal.not_before.filter(|_| this);
        until.is_some_and(|until| refusal.at <= now && now < until)
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
    pub fn answer_for(&self, kernel: &KernelBuild) -> Option<&CheckSuccess> {
        self.last_success
            .as_ref()
            .filter(|check| check.kernel == *kernel)
    }

    /// What the machine should have by that answer.
    pub fn offer_for(&self, kernel: &KernelBuild) -> Option<&Offer> {
        self.answer_for(kernel).map(|check| &check.offer)
    }

    pub fn check_succeeded(&mut self, check: CheckSuccess) {
        if !matches!(check.offer, Offer::NotCovered) {
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

/// How the names of unfinished files begin: ours, and the repository client's.
const LEFTOVERS: [&str; 2] = [".new-", ".update-"];
/// Folders within the directory: `tuf/metadata`.
const DEEPEST: usize = 3;

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
        // A file system that is read-only keeps nobody from looking.
        let mode = fs::metadata(&path).map_err(write)?.permissions().mode();
        if mode & 0o777 != 0o700 {
            fs::set_permissions(&path, Permissions::from_mode(0o700)).map_err(write)?;
        }
        files::create_dir(&path.join("tuf"), 0o700).map_err(write)?;
        files::create_dir(&path.join("targets"), 0o700).map_err(write)?;
        Ok(Self { path })
    }

    /// The directory as it is, for a look; it may be missing.
    pub fn existing(path: PathBuf) -> Self {
        Self { path }
    }

    /// Where the TUF client keeps its trusted metadata.
    pub fn datastore(&self) -> PathBuf {
        Self::datastore_in(&self.path)
    }

    pub fn datastore_in(path: &Path) -> PathBuf {
        path.join("tuf")
    }

    /// Where fetched manifests and modules lie, by target name.
    pub fn targets(&self) -> PathBuf {
        Self::targets_in(&self.path)
    }

    pub fn targets_in(path: &Path) -> PathBuf {
        path.join("targets")
    }

    /// Whether files can be written now; so that nothing is asked for that can't be kept.
    pub fn check_writable(&self) -> Result<(), StateError> {
        let path = self.path.join("probe");
        let written = files::write_atomic(&path, &[b' '; 4096], 0o600);
        written
            .and_then(|()| files::remove_durably(&path))
            .map_err(|source| StateError::Write {
                path: self.path.clone(),
                source,
            })
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

    /// The evidence. A damaged file is moved aside: what it told is lost, and the machine is
    /// protected all the same.
    pub fn evidence(&self) -> Result<Evidence, StateError> {
        let path = self.path.join("evidence.json");
        let error = match read_json_of(&path, EVIDENCE_LIMIT) {
            Ok(evidence) => return Ok(evidence.unwrap_or_default()),
            Err(error @ StateError::Damaged { .. }) => error,
            Err(error) => return Err(error),
        };
        warn!("{error}; the evidence starts anew");
        fs::rename(&path, path.with_extension("damaged"))
            .map_err(|source| StateError::Write { path, source })?;
        Ok(Evidence::default())
    }

    pub fn write_evidence(&self, evidence: &Evidence) -> Result<(), StateError> {
        write_json(&self.path.join("evidence.json"), evidence)
    }

    /// Removes what unfinished writes of an earlier run left. No other daemon may run.
    pub fn sweep(&self) -> io::Result<()> {
        sweep(&self.path, DEEPEST)
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

fn sweep(dir: &Path, depth: usize) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let unfinished = LEFTOVERS.iter().any(|start| name.starts_with(start));
        match (unfinished, entry.file_type()?.is_dir()) {
            (true, true) => fs::remove_dir_all(entry.path())?,
            (true, false) => fs::remove_file(entry.path())?,
            (false, true) if depth > 0 => sweep(&entry.path(), depth - 1)?,
            (false, _) => {}
        }
    }
    Ok(())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, StateError> {
    read_json_of(path, LIMIT)
}

fn read_json_of<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<Option<T>, StateError> {
    let bytes =
        files::if_exists(files::read_bounded(path, limit)).map_err(|source| StateError::Read {
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
    fn a_quarantine_is_lifted_for_one_version_or_for_all_of_a_kernel() {
        let kernel = FakeTree::kernel();
        let mut state = State::default();
        for text in ["1.1", "2.1", "3.1"] {
            state.quarantine(entry(text));
        }
        assert_eq!(state.lift(&kernel, Some(version("2.1"))), [version("2.1")]);
        assert_eq!(state.lift(&kernel, Some(version("2.1"))), []);
        assert_eq!(state.lift(&kernel, None).len(), 2);
        assert_eq!(state.quarantine, []);
    }

    #[test]
    fn a_reversed_version_rests_for_its_time() {
        let kernel = FakeTree::kernel();
        let state = State {
            refusal: Some(Refusal {
                kernel: kernel.clone(),
                version: version("1.1"),
                reason: "reversed".to_owned(),
                hint: None,
                at: time(0),
                deferred: false,
                not_before: Some(time(100)),
            }),
            ..State::default()
        };
        let rests = |text: &str, at| state.rests(&kernel, version(text), time(at));
        assert!(rests("1.1", 99));
        assert!(!rests("1.1", 100));
        assert!(!rests("2.1", 50));
        assert!(!rests("1.1", -5), "the clock was set back");
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
            early_group: None,
            coming: None,
            notice: None,
            held: None,
            channel: None,
        });
        assert_eq!(state.offer_for(&kernel), None);
        assert_eq!(state.covered, None);
    }

    #[test]
    fn damaged_evidence_is_moved_aside() {
        let tree = FakeTree::new();
        let dir = StateDir::open(tree.paths().state_dir()).unwrap();
        tree.write("var/lib/livepatch/evidence.json", b"{\"waiting\": [");
        assert_eq!(dir.evidence().unwrap(), Evidence::default());
        assert!(tree.path("var/lib/livepatch/evidence.damaged").exists());
        let mut evidence = Evidence::default();
        evidence.start("one");
        dir.write_evidence(&evidence).unwrap();
        assert_eq!(dir.evidence().unwrap(), evidence);
    }

    #[test]
    fn what_unfinished_writes_left_is_swept_and_nothing_else() {
        let tree = FakeTree::new();
        let dir = StateDir::open(tree.paths().state_dir()).unwrap();
        dir.write_state(&State::default()).unwrap();
        for leftover in [
            ".new-a1b2c3",
            "tuf/.update-x/timestamp.json",
            "tuf/metadata/.new-x",
            "targets/.new-x",
        ] {
            tree.write(&format!("var/lib/livepatch/{leftover}"), b"half");
        }
        tree.write("var/lib/livepatch/tuf/metadata/timestamp.json", b"whole");
        dir.sweep().unwrap();
        let names = |relative: &str| {
            let entries = fs::read_dir(tree.path(relative)).unwrap();
            let mut names: Vec<_> = entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names("var/lib/livepatch"), ["state.json", "targets", "tuf"]);
        assert_eq!(names("var/lib/livepatch/tuf"), ["metadata"]);
        assert_eq!(names("var/lib/livepatch/tuf/metadata"), ["timestamp.json"]);
        assert!(names("var/lib/livepatch/targets").is_empty());
        dir.sweep().unwrap();
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
