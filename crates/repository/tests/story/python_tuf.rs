//! Repositories that another implementation made, honest and not.
//!
//! `python-tuf/cases.py` writes them with the TUF project's own library; here a machine reads
//! each of them step by step. What must come out stands beside each step.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use suture_repository::{Client, ClientError, FolderTransport, Limits};
use tempfile::TempDir;

use crate::shop::start;

/// One state of a repository and what a reader makes of it.
#[derive(Deserialize)]
struct Step {
    /// `ok`, or how the refusal's debug text begins.
    outcome: String,
    /// The versions that count from now on.
    timestamp: u64,
    snapshot: u64,
}

/// A machine that follows one repository.
struct Machine {
    case: PathBuf,
    home: TempDir,
    trusted_root: Vec<u8>,
}

impl Machine {
    fn new(case: &Path) -> Self {
        Self {
            case: case.to_owned(),
            home: tempfile::tempdir().unwrap(),
            trusted_root: fs::read(case.join("root.json")).unwrap(),
        }
    }

    async fn update(&self, step: usize) -> Result<Client, ClientError> {
        let transport = FolderTransport::new(self.case.join(step.to_string()));
        let location = transport.location();
        let (store, limits) = (self.home.path(), Limits::default());
        let root = &self.trusted_root;
        Client::update(root, store, &location, transport, &limits, start()).await
    }

    /// The version of a role below which the machine does not go.
    fn version(&self, role: &str) -> u64 {
        let seen = self.home.path().join("seen").join(format!("{role}.json"));
        let accepted = fs::read_dir(self.home.path().join("metadata")).unwrap();
        let accepted = accepted
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().ends_with(&format!("{role}.json")));
        let Ok(bytes) = fs::read(seen).or_else(|_| fs::read(accepted.unwrap_or_default())) else {
            return 0;
        };
        let metadata: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        metadata["signed"]["version"].as_u64().unwrap()
    }
}

#[tokio::test]
async fn repositories_made_by_python_tuf_are_read_and_their_attacks_refused() {
    let home = tempfile::tempdir().unwrap();
    let cases = home.path().join("cases");
    make_cases(&cases);
    let mut names: Vec<_> = fs::read_dir(&cases)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    assert_eq!(names.len(), 31, "{names:?}");
    for case in names {
        follow(&case).await;
    }
}

async fn follow(case: &Path) {
    let steps = fs::read(case.join("steps.json")).unwrap();
    let steps: Vec<Step> = serde_json::from_slice(&steps).unwrap();
    let machine = Machine::new(case);
    let mut accepted = false;
    for (index, step) in steps.iter().enumerate() {
        let told = format!("{} at step {index}", case.display());
        match machine.update(index).await {
            Ok(_) => {
                assert_eq!(step.outcome, "ok", "{told} was accepted");
                accepted = true;
            }
            Err(error) => {
                let text = format!("{error:?}");
                assert!(text.starts_with(&step.outcome), "{told}: {text}");
            }
        }
        assert_eq!(
            machine.version("timestamp"),
            step.timestamp,
            "{told}: timestamp"
        );
        assert_eq!(
            machine.version("snapshot"),
            step.snapshot,
            "{told}: snapshot"
        );
        let store = machine.home.path();
        let offline = Client::offline(&machine.trusted_root, store, store).await;
        assert_eq!(offline.is_ok(), accepted, "{told}, off line: {offline:?}");
    }
}

fn make_cases(folder: &Path) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python-tuf");
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-tuf");
    let python = venv.join("bin/python");
    if !python.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv));
    }
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet"])
        .args(["--disable-pip-version-check", "--requirement"])
        .arg(here.join("requirements.txt")));
    run(Command::new(&python).arg(here.join("cases.py")).arg(folder));
}

fn run(command: &mut Command) {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
}
