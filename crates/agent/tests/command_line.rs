//! The program itself: what it prints where, and how it exits.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use insta::assert_snapshot;
use tempfile::TempDir;

/// A machine in a folder: what the agent reads of procfs, sysfs and /etc.
fn machine() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, bytes: &[u8]| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    write("etc/machine-id", b"0123456789abcdef0123456789abcdef\n");
    write("proc/sys/kernel/hostname", b"web-1\n");
    write("proc/sys/kernel/osrelease", b"6.1.0-53-amd64\n");
    write(
        "proc/sys/kernel/random/boot_id",
        b"8d2b1c9e-0f5a-4c3e-9b7d-1a2b3c4d5e6f\n",
    );
    write("proc/stat", b"btime 1795161600\n");
    write(
        "proc/cpuinfo",
        b"model name\t: QEMU Virtual CPU version 2.5+\n",
    );
    let mut notes = [4_u32, 20, 3].map(u32::to_le_bytes).concat();
    notes.extend(b"GNU\0");
    notes.extend([0xab; 20]);
    write("sys/kernel/notes", &notes);
    fs::create_dir_all(dir.path().join("sys/kernel/livepatch")).unwrap();
    dir
}

fn livepatch(root: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_livepatch"));
    command.arg("--root-dir").arg(root).args(args);
    command
}

fn run(root: &Path, args: &[&str]) -> Output {
    livepatch(root, args).output().unwrap()
}

/// Exit code, standard output and standard error, with the folder's name taken out.
fn told(root: &Path, args: &[&str]) -> String {
    let output = run(root, args);
    let text = format!(
        "exit {}\n{}--\n{}",
        output.status.code().unwrap(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap()
    );
    text.replace(root.to_str().unwrap(), "")
}

/// A daemon that is killed when the test ends.
struct Daemon(Child);

impl Daemon {
    fn start(root: &Path) -> Self {
        let mut child = livepatch(root, &["daemon"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let daemon = Self(child);
        let listening = log
            .lines()
            .map_while(Result::ok)
            .find(|line| line.contains("listening"));
        assert!(listening.is_some(), "the daemon ended before it listened");
        daemon
    }

    fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.0.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn without_a_daemon_a_command_says_how_to_start_it() {
    let machine = machine();
    assert_snapshot!(told(machine.path(), &["status"]), @r#"
    exit 1
    --
    error: the livepatch daemon is not running
      cannot connect to `/run/livepatch/livepatchd.sock`: No such file or directory (os error 2)

    hint: start it: `systemctl start livepatchd`
    "#);
    let silent = told(machine.path(), &["kernel-upgrade-required"]);
    assert_eq!(silent, "exit 0\n--\n", "a login sees no trouble");
}

#[test]
fn a_machine_that_is_not_enabled_says_so_to_people_and_programs() {
    let machine = machine();
    let daemon = Daemon::start(machine.path());
    for args in [
        &["status"][..],
        &["status", "--format", "json"],
        &["status", "--format", "humane"],
    ] {
        let expected = "exit 1\n--\nMachine is not enabled. Please run 'sudo livepatch enable' \
                        with the\ntoken obtained from your live patching service.\n";
        assert_eq!(told(machine.path(), args), expected);
    }
    assert_snapshot!(told(machine.path(), &["enable", "token-1"]), @r#"
    exit 1
    --
    error: no server is configured

    hint: name it first: `livepatch config remote-server=https://livepatch.example.com`
    "#);
    assert_snapshot!(told(machine.path(), &["disable"]), @r#"
    exit 0
    This machine is disabled.
    --
    "#);
    assert_eq!(
        told(machine.path(), &["kernel-upgrade-required"]),
        "exit 0\n--\n"
    );
    assert_eq!(daemon.terminate(), Some(0), "SIGTERM is a clean stop");
    assert!(
        !machine
            .path()
            .join("run/livepatch/livepatchd.sock")
            .exists()
    );
}

#[test]
fn configuration_is_shown_changed_and_checked() {
    let machine = machine();
    let root = machine.path();
    let set = [
        "config",
        "remote-server=https://livepatch.example.com",
        "check-interval=15",
    ];
    assert_eq!(told(root, &set), "exit 0\n--\n");
    assert_eq!(
        told(root, &["config", "check-interval"]),
        "exit 0\n15\n--\n"
    );
    assert_snapshot!(told(root, &["config"]), @r#"
    exit 0
    remote-server: https://livepatch.example.com
    check-interval: 15
    log-level: info
    root: /etc/livepatch/root.json
    settle-time: 5m
    transition-timeout: 5m
    reverse-after: 1h
    patch-delay: "0"
    --
    "#);
    assert_snapshot!(told(root, &["config", "chek-interval=1"]), @r#"
    exit 1
    --
    error: there is no configuration key `chek-interval`

    hint: known keys: remote-server, ca-certs, check-interval, http-proxy, https-proxy, no-proxy, log-level, settle-time, transition-timeout, reverse-after, patch-delay, cutoff-date, root, allow-plain-http
    "#);
    assert_snapshot!(told(root, &["config", "remote-server=http://livepatch.example.com"]), @r#"
    exit 1
    --
    error: `remote-server` is `http://livepatch.example.com/`, where tokens would travel unprotected: expected an https address (`allow-plain-http = true` permits it, for a test network)
    "#);
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let machine = machine();
    assert_eq!(run(machine.path(), &["enable"]).status.code(), Some(2));
    assert_eq!(
        run(machine.path(), &["status", "--format", "xml"])
            .status
            .code(),
        Some(2)
    );
}

#[test]
fn it_behaves_alike_under_its_other_name() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("canonical-livepatch");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_livepatch"), &other).unwrap();
    let output = Command::new(&other).arg("--version").output().unwrap();
    let version = concat!("livepatch ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), version);
    let help = Command::new(&other).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(
        help.contains("Usage: canonical-livepatch <COMMAND>"),
        "{help}"
    );
}

#[path = "command_line/sosreport.rs"]
mod sosreport;
