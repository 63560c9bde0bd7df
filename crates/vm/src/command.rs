//! A command in the guest.

use std::time::Duration;

use crate::wire::{self, Bytes, Finished};
use crate::{Vm, VmError};

/// How long a command may take when nothing else is said.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(120);

/// What came of a command that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Exit code; 128 plus the signal's number if a signal ended it.
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
    /// Whether one of the streams was longer than 1 MiB and lost its end.
    pub truncated: bool,
}

impl CommandOutput {
    pub fn success(&self) -> bool {
        self.status == 0
    }
}

impl From<Finished> for CommandOutput {
    fn from(finished: Finished) -> Self {
        Self {
            status: finished.status,
            stdout: text(&finished.stdout),
            stderr: text(&finished.stderr),
            truncated: finished.truncated,
        }
    }
}

pub(crate) fn text(bytes: &Bytes) -> String {
    String::from_utf8_lossy(&bytes.0).into_owned()
}

/// A command that is still being put together; see [`Vm::command`].
#[derive(Debug, Clone)]
#[must_use = "the command has not run yet"]
pub struct GuestCommand<'vm> {
    vm: &'vm Vm,
    command: wire::Command,
    timeout: Duration,
}

impl<'vm> GuestCommand<'vm> {
    pub(crate) fn new(vm: &'vm Vm, argv: Vec<String>) -> Self {
        Self {
            vm,
            command: wire::Command {
                argv,
                env: Vec::new(),
                uid: 0,
                stdin: Bytes::default(),
            },
            timeout: DEFAULT_TIMEOUT,
        }
    }

    /// Runs as this user and group (default: 0). The guest knows 1000 as `user`.
    pub fn uid(mut self, uid: u32) -> Self {
        self.command.uid = uid;
        self
    }

    /// Kills the command's process group after this time (default: 120 s).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What the command reads (default: nothing; at most about 30 KiB).
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.command.stdin = Bytes(bytes.into());
        self
    }

    /// Runs it to its end. A status other than 0 is no error.
    pub fn run(self) -> Result<CommandOutput, VmError> {
        self.vm.run_command(self.command, self.timeout)
    }

    /// Leaves it running, its output appended to `log` in the guest; returns its process id.
    pub fn spawn(self, log: &str) -> Result<u32, VmError> {
        self.vm.spawn_command(self.command, log)
    }
}
