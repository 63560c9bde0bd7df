//! The file systems that every program expects, and the disk.

use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

/// Type, place and options. Those marked optional are missing in some kernels.
const KERNEL_FILESYSTEMS: &[(&str, &str, &str, bool)] = &[
    ("proc", "/proc", "", true),
    ("sysfs", "/sys", "", true),
    ("devtmpfs", "/dev", "", true),
    ("tmpfs", "/run", "mode=755", true),
    ("tmpfs", "/tmp", "mode=1777", true),
    ("devpts", "/dev/pts", "", false),
    ("tmpfs", "/dev/shm", "mode=1777", false),
    ("debugfs", "/sys/kernel/debug", "", false),
    ("tracefs", "/sys/kernel/tracing", "", false),
    ("securityfs", "/sys/kernel/security", "", false),
];

/// Output of running commands lies here; the size bounds what a chatty command can take.
pub const OUTPUT_DIR: &str = "/run/output";

/// The device of the disk given to the builder.
const DISK: &str = "/dev/vda";

/// How long the disk may take to appear after its driver was loaded.
const DISK_DEADLINE: Duration = Duration::from_secs(20);

/// Mounts `/proc`, `/sys`, `/dev` and the like.
pub fn mount_kernel_filesystems() -> Result<()> {
    for (kind, place, options, needed) in KERNEL_FILESYSTEMS {
        let result = mount_one(kind, kind, place, options);
        if *needed {
            result?;
        }
    }
    mount_one("tmpfs", "tmpfs", OUTPUT_DIR, "mode=700,size=64m")
}

fn mount_one(kind: &str, source: &str, place: &str, options: &str) -> Result<()> {
    // In sysfs the places exist already if the kernel has the file system.
    fs::create_dir_all(place).with_context(|| format!("cannot make `{place}`"))?;
    let options = CString::new(options)?;
    match mount(source, place, kind, MountFlags::empty(), options.as_c_str()) {
        Ok(()) | Err(Errno::BUSY) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot mount {kind} on `{place}`")),
    }
}

/// Mounts the disk; the kernel's drivers tell which file system is on it.
pub fn mount_disk(place: &str) -> Result<()> {
    wait_for_disk()?;
    fs::create_dir_all(place).with_context(|| format!("cannot make `{place}`"))?;
    let kinds = ["ext4", "ext2"];
    for kind in kinds {
        match mount(DISK, place, kind, MountFlags::empty(), c"") {
            Ok(()) => return Ok(()),
            Err(Errno::NODEV | Errno::INVAL) => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot mount {DISK} as {kind}"));
            }
        }
    }
    bail!("{DISK} holds none of {kinds:?}, or their drivers are not loaded")
}

fn wait_for_disk() -> Result<()> {
    let deadline = Instant::now() + DISK_DEADLINE;
    while !Path::new(DISK).exists() {
        if Instant::now() >= deadline {
            bail!("{DISK} did not appear: is the module virtio_blk in the initramfs?");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
