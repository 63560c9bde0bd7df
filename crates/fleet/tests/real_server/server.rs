//! The real program, as a process.

use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use suture_vm::end_with_parent;

use crate::site::Site;

/// A running `suture serve`, killed when dropped.
pub struct Server {
    child: Child,
    pub address: String,
}

impl Server {
    /// Starts it on `listen` and waits until it listens.
    pub fn start(site: &Site, listen: &str, check_in_secs: u64) -> Self {
        let log = site.path("server.log");
        let stderr = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let mut command = Command::new(program());
        command
            .current_dir(site.folder())
            .args(["serve", "--plain-http", "--listen", listen])
            .args(["--repository", "repository", "--database", "suture.db"])
            .args(["--rollout-plan", "plan.toml", "--look-interval-secs", "5"])
            .args(["--check-in-interval-secs", &check_in_secs.to_string()])
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr);
        let mut child = end_with_parent(&mut command).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("://").map(|(_, address)| address);
        let address = address.unwrap_or_else(|| {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("the server did not start:\n{log}")
        });
        Self {
            address: address.to_owned(),
            child,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Ends it at once, whatever it is doing (SIGKILL).
    pub fn kill(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.address.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program: beside this test, or in the folder above.
fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let beside = test.ancestors().skip(1).take(2);
    let mut programs = beside.map(|folder| folder.join("suture"));
    programs.find(|path| path.exists()).unwrap_or_else(|| {
        panic!(
            "`suture` is not beside `{}`; run `cargo build --workspace`",
            test.display()
        )
    })
}
