//! Runs a command for the host.
//!
//! The output goes to files and not through pipes: a command that leaves a process behind which
//! keeps its output open would otherwise keep the answer open as well.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::mounts::OUTPUT_DIR;
use crate::wire::{self, Answer, Bytes, Finished, OUTPUT_LIMIT};

/// Runs to the end, or kills the command's process group at the timeout.
pub fn run(id: u64, command: &wire::Command, timeout: Duration) -> Result<Answer> {
    let mut stdout = scratch(&format!("{id}.out"))?;
    let mut stderr = scratch(&format!("{id}.err"))?;
    let mut stdin = scratch(&format!("{id}.in"))?;
    stdin.write_all(&command.stdin.0)?;
    stdin.seek(SeekFrom::Start(0))?;
    let child = prepare(command)?
        .stdin(stdin)
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .spawn()
        .with_context(|| format!("cannot run `{}`", command.argv.join(" ")))?;
    let status = wait_at_most(child, timeout)?;
    let (stdout, stdout_cut) = collected(&mut stdout)?;
    let (stderr, stderr_cut) = collected(&mut stderr)?;
    Ok(match status {
        None => Answer::TimedOut { stdout, stderr },
        Some(status) => Answer::Finished(Finished {
            status: exit_code(status),
            stdout,
            stderr,
            truncated: stdout_cut || stderr_cut,
        }),
    })
}

/// Starts a command and leaves it running.
pub fn spawn(command: &wire::Command, log: &str) -> Result<Answer> {
    let log_file = OpenOptions::new()
        .append(true)
        .create(true)
        .open(log)
        .with_context(|| format!("cannot open the log `{log}`"))?;
    let mut child = prepare(command)?
        .stdin(Stdio::null())
        .stdout(log_file.try_clone()?)
        .stderr(log_file)
        .spawn()
        .with_context(|| format!("cannot start `{}`", command.argv.join(" ")))?;
    let pid = child.id();
    thread::spawn(move || child.wait());
    Ok(Answer::Started { pid })
}

fn prepare(command: &wire::Command) -> Result<Command> {
    let Some((program, arguments)) = command.argv.split_first() else {
        bail!("the command is empty");
    };
    let mut prepared = Command::new(program);
    prepared
        .args(arguments)
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("LANG", "C.UTF-8")
        .env(
            "HOME",
            if command.uid == 0 {
                "/root"
            } else {
                "/home/user"
            },
        )
        .envs(command.env.iter().map(|(key, value)| (key, value)))
        .current_dir("/")
        .process_group(0);
    if command.uid != 0 {
        prepared.uid(command.uid).gid(command.uid);
    }
    Ok(prepared)
}

/// An open file without a name.
fn scratch(name: &str) -> Result<File> {
    let path = Path::new(OUTPUT_DIR).join(name);
    let file = File::options()
        .read(true)
        .append(true)
        .create_new(true)
        .open(&path)
        .with_context(|| format!("cannot make `{}`", path.display()))?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// The start of what was written, and whether there was more.
fn collected(file: &mut File) -> Result<(Bytes, bool)> {
    let length = file.seek(SeekFrom::End(0))?;
    // Its own description of the open file: a process left behind keeps its place.
    let mut reader = File::open(format!("/proc/self/fd/{}", fd_number(file)))?;
    reader.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    reader.take(OUTPUT_LIMIT).read_to_end(&mut bytes)?;
    Ok((Bytes(bytes), length > OUTPUT_LIMIT))
}

fn fd_number(file: &File) -> i32 {
    use std::os::fd::AsRawFd as _;
    file.as_raw_fd()
}

/// `None`: the timeout passed and the process group was killed.
fn wait_at_most(mut child: Child, timeout: Duration) -> Result<Option<ExitStatus>> {
    let group = Pid::from_child(&child);
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait()));
    match receiver.recv_timeout(timeout) {
        Ok(status) => Ok(Some(status.context("cannot wait for the command")?)),
        Err(_elapsed) => {
            // A process in uninterruptible sleep stays; the answer doesn't wait for it.
            let _gone_meanwhile = kill_process_group(group, Signal::KILL);
            Ok(None)
        }
    }
}

fn exit_code(status: ExitStatus) -> i32 {
    let of_signal = || 128 + status.signal().unwrap_or_default();
    status.code().unwrap_or_else(of_signal)
}
