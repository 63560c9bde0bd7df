//! Where the programs are, and as whom they run.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders of Debian's versions.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The programs of the newest version that is installed.
pub struct Programs(PathBuf);

impl Programs {
    pub fn find() -> Self {
        let entries = std::fs::read_dir(VERSIONS).unwrap_or_else(|error| {
            panic!("`{VERSIONS}`: {error}; install Debian's package `postgresql`")
        });
        let number = |path: &Path| -> Option<u32> { path.file_name()?.to_str()?.parse().ok() };
        let newest = entries
            .map(|entry| entry.expect("a readable folder").path())
            .filter(|path| path.join("bin/postgres").exists())
            .max_by_key(|path| number(path));
        let newest = newest.expect("Debian's package `postgresql` is installed");
        Self(newest.join("bin"))
    }

    /// A program's command, run by an unprivileged user: the server refuses root.
    pub fn command(&self, program: &str) -> Command {
        let path = self.0.join(program);
        let Some(user) = unprivileged() else {
            return Command::new(path);
        };
        let mut command = Command::new("setpriv");
        let (user, group) = (format!("--reuid={user}"), format!("--regid={user}"));
        command.args([&user, &group, "--clear-groups", "--"]);
        command.arg(path);
        // Folders of root's are nothing to it.
        command.current_dir("/");
        command
    }

    /// Gives a path to the user that the programs run as.
    pub fn give(&self, path: &Path) {
        if let Some(user) = unprivileged() {
            let owner = format!("{user}:");
            run(Command::new("chown").arg("-R").arg(owner).arg(path));
        }
    }
}

/// None: this process is unprivileged itself.
fn unprivileged() -> Option<&'static str> {
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    // The package makes it.
    root.then_some("postgres")
}

/// Runs a program to its end; its words are in the panic if it fails.
pub fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{out}{err}",
        output.status
    );
    out
}
