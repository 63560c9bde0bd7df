//! The guest's userland: busybox with its applets, a few users, name resolution.

use std::path::Path;
use std::process::Command;

use crate::VmError;
use crate::initramfs::Initramfs;

const BUSYBOX: &str = "/bin/busybox";

const FILES: &[(&str, &str)] = &[
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n\
         livepatch:x:998:998::/var/lib/livepatch:/bin/false\n",
    ),
    ("/etc/group", "root:x:0:\nuser:x:1000:\nlivepatch:x:998:\n"),
    (
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n",
    ),
    // QEMU's user network: .2 is the host, .3 its name server.
    ("/etc/resolv.conf", "nameserver 10.0.2.3\n"),
];

/// Adds the userland. What was put there before stays.
pub fn add(initramfs: &mut Initramfs, hostname: &str) -> Result<(), VmError> {
    for (path, text) in FILES {
        add_missing(initramfs, path, text)?;
    }
    let hosts = format!("127.0.0.1 localhost {hostname}\n10.0.2.2 host\n");
    add_missing(initramfs, "/etc/hosts", &hosts)?;
    initramfs.directory("/root", 0o700, 0)?;
    initramfs.directory("/home/user", 0o755, 1000)?;
    for path in ["/proc", "/sys", "/dev", "/run", "/tmp", "/var/log"] {
        initramfs.directory(path, 0o755, 0)?;
    }
    add_busybox(initramfs)
}

fn add_missing(initramfs: &mut Initramfs, path: &str, text: &str) -> Result<(), VmError> {
    if initramfs.contains(path) {
        return Ok(());
    }
    initramfs.file(path, text.as_bytes().to_vec(), 0o644)
}

fn add_busybox(initramfs: &mut Initramfs) -> Result<(), VmError> {
    let program = Path::new(BUSYBOX);
    let missing = VmError::start("busybox", "busybox-static");
    let list = Command::new(program)
        .arg("--list-full")
        .output()
        .map_err(missing)?;
    for applet in String::from_utf8_lossy(&list.stdout).lines() {
        let link = format!("/{applet}");
        // `linuxrc` is a name of PID 1 in old initrds, and that is not busybox here.
        if !applet.ends_with("linuxrc") && link != BUSYBOX && !initramfs.contains(&link) {
            initramfs.symlink(&link, BUSYBOX)?;
        }
    }
    let bytes = std::fs::read(program).map_err(VmError::file("read", program))?;
    initramfs.file(BUSYBOX, bytes, 0o755)
}
