//! Where everything lies on a machine.

use std::path::{Path, PathBuf};

/// Directories of configuration fragments; later ones win. Only root can change them:
/// `/run/livepatch` is the daemon's, so what is to hold until the next restart lies beside it.
const CONFIG_DIRS: [&str; 3] = [
    "usr/lib/livepatch/config.d",
    "run/livepatch-config.d",
    "etc/livepatch/config.d",
];

/// All paths that the agent reads or writes, under one prefix (`/` on a real machine), so that a
/// test can give it a tree of its own.
#[derive(Debug, Clone)]
pub struct Paths {
    prefix: PathBuf,
}

impl Paths {
    pub fn new(prefix: impl Into<PathBuf>) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    fn at(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.prefix.join(relative)
    }

    /// The directories of configuration fragments, in the order in which they are merged.
    pub fn config_dirs(&self) -> [PathBuf; 3] {
        CONFIG_DIRS.map(|dir| self.at(dir))
    }

    /// The fragment that `livepatch config KEY=VALUE` writes.
    pub fn local_config(&self) -> PathBuf {
        self.at("etc/livepatch/config.d/90-local.toml")
    }

    /// The trusted TUF root, where the configuration names no other.
    pub fn default_root(&self) -> PathBuf {
        self.at("etc/livepatch/root.json")
    }

    /// Holds one word that stops the agent; see [`crate::mode`].
    pub fn mode_file(&self) -> PathBuf {
        self.at("etc/livepatch/mode")
    }

    pub fn machine_id(&self) -> PathBuf {
        self.at("etc/machine-id")
    }

    /// What the agent keeps over a reboot; for its user alone.
    pub fn state_dir(&self) -> PathBuf {
        self.at("var/lib/livepatch")
    }

    pub fn socket(&self) -> PathBuf {
        self.at("run/livepatch/livepatchd.sock")
    }

    /// What the privileged process needs for a moment; for root only.
    pub fn keeper_dir(&self) -> PathBuf {
        self.at("run/livepatch-keeper")
    }

    /// For what is needed for a moment and read by others.
    pub fn run(&self) -> PathBuf {
        self.at("run")
    }

    /// What the daemon shows to others: its socket and its messages.
    pub fn run_dir(&self) -> PathBuf {
        self.at("run/livepatch")
    }

    /// The users of this machine.
    pub fn passwd(&self) -> PathBuf {
        self.at("etc/passwd")
    }

    /// What a login is told; empty where there is nothing to say.
    pub fn login_message(&self) -> PathBuf {
        self.at("run/livepatch/login-message")
    }

    /// Where the node exporter finds the machine's state.
    pub fn metrics(&self) -> PathBuf {
        self.at("run/livepatch/livepatch.prom")
    }

    /// Kernels that the next restart can start.
    pub fn boot(&self) -> PathBuf {
        self.at("boot")
    }

    pub fn dpkg_status(&self) -> PathBuf {
        self.at("var/lib/dpkg/status")
    }

    pub fn apt_lists(&self) -> PathBuf {
        self.at("var/lib/apt/lists")
    }

    /// The kernel's messages.
    pub fn kernel_log(&self) -> PathBuf {
        self.at("dev/kmsg")
    }

    /// A file of procfs, e.g. `sys/kernel/osrelease`.
    pub fn proc(&self, relative: &str) -> PathBuf {
        self.at("proc").join(relative)
    }

    /// A file of sysfs, e.g. `kernel/notes`.
    pub fn sys(&self, relative: &str) -> PathBuf {
        self.at("sys").join(relative)
    }
}
