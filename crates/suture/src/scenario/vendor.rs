//! A vendor at work: keys, builds, the repository and the server, by the real commands.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use rcgen::{CertificateParams, KeyPair, SanType};
use rustix::process::{Pid, Signal, kill_process};
use suture_vm::end_with_parent;
use thiserror::Error;

/// The host's loopback as a guest sees it (QEMU user networking).
const HOST_FROM_GUEST: &str = "10.0.2.2";

/// File that marks a folder as ours to empty.
const MARK: &str = ".made-by-suture";

/// A vendor's folder with everything that belongs to it.
#[derive(Debug)]
pub struct Vendor {
    folder: PathBuf,
    programs: PathBuf,
    /// Whether each command is printed before it runs.
    narrate: bool,
}

/// A command that ended with an error.
#[derive(Debug, Error)]
#[error("`suture {arguments}` failed:\n{stderr}")]
pub struct CommandFailed {
    pub arguments: String,
    pub stderr: String,
}

impl Vendor {
    /// Works in a new folder; what an earlier run left there goes.
    pub fn new(folder: &Path, narrate: bool) -> anyhow::Result<Self> {
        make_new_folder(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            programs: programs_folder()?,
            narrate,
        })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Path of one of our programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// Runs `suture` in the vendor's folder and gives its standard output.
    pub fn suture(&self, arguments: &[&str]) -> Result<String, CommandFailed> {
        let shown = arguments.join(" ");
        if self.narrate {
            eprintln!("\n$ suture {shown}");
        }
        let failed = |stderr: String| CommandFailed {
            arguments: shown.clone(),
            stderr,
        };
        let mut command = Command::new(self.program("suture"));
        command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        if self.narrate {
            command.stderr(Stdio::inherit());
        }
        let output = command
            .output()
            .map_err(|error| failed(error.to_string()))?;
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        if self.narrate {
            eprint!("{stdout}");
        }
        Ok(stdout)
    }

    /// Writes a file into the vendor's folder.
    pub fn write(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        let path = self.path(name);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("cannot make `{}`", parent.display()))?;
        }
        std::fs::write(&path, content).with_context(|| format!("cannot write `{}`", path.display()))
    }

    /// The same for a file that nobody else may read.
    pub fn write_private(&self, name: &str, content: &[u8]) -> anyhow::Result<()> {
        self.write(name, b"")?;
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600))?;
        self.write(name, content)
    }

    /// The repository and its keys.
    pub fn set_up_repository(&self) -> anyhow::Result<()> {
        self.suture(&[
            "repository",
            "init",
            "--repository",
            "repository",
            "--keys",
            "keys",
            "--root-keys",
            "root-keys-offline",
            "--root-output",
            "root.json",
        ])?;
        Ok(())
    }

    /// Publishes what was built in `folder`.
    pub fn publish(&self, folder: &str) -> Result<String, CommandFailed> {
        self.suture(&[
            "publish",
            folder,
            "--repository",
            "repository",
            "--keys",
            "keys",
        ])
    }

    /// Publishes what was built without a smoke test.
    pub fn publish_untested(&self, folder: &str) -> Result<String, CommandFailed> {
        self.publish_untested_to("repository", folder)
    }

    /// The same, to another repository with the same keys.
    pub fn publish_untested_to(
        &self,
        repository: &str,
        folder: &str,
    ) -> Result<String, CommandFailed> {
        self.suture(&[
            "publish",
            folder,
            "--untested",
            "--repository",
            repository,
            "--keys",
            "keys",
        ])
    }

    /// A new free account and its token.
    pub fn account(&self, email: &str) -> Result<String, CommandFailed> {
        self.suture(&["admin", "account", "create", email])?;
        Ok(self
            .suture(&["admin", "token", "create", email])?
            .trim()
            .to_owned())
    }

    /// A certificate for this machine as its own virtual machines see it.
    pub fn make_certificate(&self) -> anyhow::Result<()> {
        let mut parameters = CertificateParams::new(vec!["localhost".to_owned()])?;
        for address in ["127.0.0.1", HOST_FROM_GUEST] {
            parameters
                .subject_alt_names
                .push(SanType::IpAddress(address.parse()?));
        }
        let key = KeyPair::generate()?;
        self.write("tls.crt", parameters.self_signed(&key)?.pem().as_bytes())?;
        self.write("tls.key", key.serialize_pem().as_bytes())
    }

    /// Starts the server and waits until it listens.
    pub fn serve(&self, listen: &str) -> anyhow::Result<Server> {
        self.serve_with(listen, &[])
    }

    /// The same, with more options.
    pub fn serve_with(&self, listen: &str, more: &[&str]) -> anyhow::Result<Server> {
        self.make_certificate()?;
        let mut arguments = vec![
            "serve",
            "--listen",
            listen,
            "--repository",
            "repository",
            "--tls-certificate",
            "tls.crt",
            "--tls-key",
            "tls.key",
        ];
        arguments.extend(more);
        if self.narrate {
            eprintln!("\n$ suture {} &", arguments.join(" "));
        }
        let log = self.path("server.log");
        let stderr = std::fs::File::create(&log)
            .with_context(|| format!("cannot write `{}`", log.display()))?;
        let mut command = Command::new(self.program("suture"));
        command
            .args(arguments)
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        // Whoever looks for what went wrong, or for what should not be there, sees it all.
        command.env("RUST_LOG", "debug");
        command.stdout(Stdio::piped()).stderr(stderr);
        let child = end_with_parent(&mut command).spawn();
        let mut child = child.context("cannot start the server")?;
        let stdout = child
            .stdout
            .take()
            .context("the server has no standard output")?;
        let mut server = Server {
            child,
            address: ([127, 0, 0, 1], 0).into(),
        };
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .context("cannot read from the server")?;
        let address = line.trim().rsplit_once("://").map(|(_, address)| address);
        server.address = address
            .and_then(|text| text.parse().ok())
            .with_context(|| {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                format!("the server did not start:\n{log}")
            })?;
        Ok(server)
    }
}

/// Makes the folder, or empties it. One that we did not make is never emptied: it may be
/// somebody's home.
fn make_new_folder(folder: &Path) -> anyhow::Result<()> {
    let mark = folder.join(MARK);
    if mark.exists() {
        std::fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove `{}`", folder.display()))?;
    }
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder `{}`", folder.display()))?;
    let mut entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))?;
    anyhow::ensure!(
        entries.next().is_none(),
        "`{}` holds files that no earlier run made; name another folder, or empty it yourself",
        folder.display()
    );
    std::fs::write(&mark, "").with_context(|| format!("cannot write `{}`", mark.display()))
}

/// A running server, stopped when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Where it listens on this machine.
    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Where a guest reaches it.
    pub fn url_from_guest(&self) -> String {
        format!("https://{HOST_FROM_GUEST}:{}", self.address.port())
    }

    /// Lets it finish open requests, and waits for its end.
    pub fn stop(mut self) -> anyhow::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)
            .context("cannot stop the server")?;
        let status = self.child.wait().context("cannot wait for the server")?;
        anyhow::ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder of our programs: that of the running one, or above it for a test.
fn programs_folder() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find the running program")?;
    let mut folders = program.ancestors().skip(1).take(2);
    let found = folders.find(|folder| {
        ["suture", "livepatch", "guest-init"]
            .iter()
            .all(|name| folder.join(name).exists())
    });
    found.map(Path::to_owned).with_context(|| {
        format!(
            "`suture`, `livepatch` and `guest-init` are not beside `{}`; run `cargo build --workspace`",
            program.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_of_ours_is_emptied() {
        let home = tempfile::tempdir().unwrap();
        let ours = home.path().join("demo");
        make_new_folder(&ours).unwrap();
        std::fs::write(ours.join("token"), "old").unwrap();
        make_new_folder(&ours).unwrap();
        assert!(!ours.join("token").exists());
        let error = make_new_folder(home.path()).unwrap_err().to_string();
        assert!(
            error.contains("holds files that no earlier run made"),
            "{error}"
        );
        assert!(ours.exists());
    }
}
