//! Whether KVM works on this host.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::qemu::PROGRAM;

/// What executes the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    Kvm,
    /// QEMU's own emulation: ten to fifty times slower, works everywhere.
    Tcg,
}

/// How long the trial machine may run; it needs a tenth of a second.
const TRIAL_DEADLINE: Duration = Duration::from_secs(5);

/// The value that the trial firmware writes to QEMU's exit device.
const TRIAL_VALUE: u8 = 0x2a;

impl Accelerator {
    /// KVM if a trial machine runs with it, else TCG. Tried once per process.
    pub fn of_this_host() -> Self {
        static FOUND: OnceLock<Accelerator> = OnceLock::new();
        *FOUND.get_or_init(|| if kvm_works() { Self::Kvm } else { Self::Tcg })
    }
}

/// Opening `/dev/kvm` proves little: in some containers it opens and no guest gets far. So a
/// machine with the features that every KVM host has must execute four instructions.
fn kvm_works() -> bool {
    let device = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    device.is_ok() && tempfile::tempdir().is_ok_and(|folder| trial(folder.path()) == Some(true))
}

fn trial(folder: &Path) -> Option<bool> {
    let firmware = folder.join("firmware");
    fs::write(&firmware, trial_firmware()).ok()?;
    let mut child = Command::new(PROGRAM)
        .args(["-nodefaults", "-no-user-config", "-display", "none"])
        .args([
            "-machine",
            "pc,accel=kvm",
            "-cpu",
            "kvm64,enforce",
            "-m",
            "16",
        ])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-bios"])
        .arg(&firmware)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let deadline = Instant::now() + TRIAL_DEADLINE;
    let status = loop {
        match child.try_wait().ok()? {
            Some(status) => break Some(status),
            None if Instant::now() >= deadline => break None,
            None => thread::sleep(Duration::from_millis(5)),
        }
    };
    if status.is_none() {
        child.kill().ok()?;
        child.wait().ok()?;
    }
    // isa-debug-exit ends QEMU with twice the value plus one.
    Some(status?.code() == Some(i32::from(TRIAL_VALUE) * 2 + 1))
}

/// 64 KiB of firmware; the processor starts 16 bytes before the end:
/// `mov dx, 0xf4; mov al, VALUE; out dx, al; hlt`.
fn trial_firmware() -> Vec<u8> {
    let code = [0xba, 0xf4, 0x00, 0xb0, TRIAL_VALUE, 0xee, 0xf4];
    let mut firmware = vec![0; 64 << 10];
    let start = firmware.len() - 16;
    firmware[start..start + code.len()].copy_from_slice(&code);
    firmware
}
