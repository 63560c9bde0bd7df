//! Python programs that play other services.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// The Python that has the packages of `tests/NAME/requirements.txt`. The script installs what is
/// missing, once.
pub fn python(name: &str) -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _guard = INSTALLING.lock();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let installed = Command::new(here.join("../../scripts/stand-in"))
        .arg(format!("crates/server/tests/{name}"))
        .stderr(Stdio::inherit())
        .output()
        .expect("scripts/stand-in");
    assert!(installed.status.success(), "see above");
    PathBuf::from(String::from_utf8(installed.stdout).unwrap().trim())
}
