//! File systems of a test's own, that no other process sees.

use std::process::Command;

use rustix::thread::UnshareFlags;

/// Runs `story` on a thread whose mounts are its own. Mounting takes root's rights; without them
/// the test runs itself again in a user namespace, where it has them.
pub fn in_own_mounts(test: &str, story: impl FnOnce() + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        let status = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .arg(std::env::current_exe().unwrap())
            .args([test, "--exact"])
            .status();
        assert!(status.unwrap().success(), "`{test}` as root of a namespace");
        return;
    }
    let thread = std::thread::spawn(|| {
        // SAFETY: the new thread shares its mounts and working folder with no other.
        unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
        let private = rustix::mount::MountPropagationFlags::PRIVATE
            | rustix::mount::MountPropagationFlags::REC;
        rustix::mount::mount_change("/", private).unwrap();
        story();
    });
    thread.join().unwrap();
}
