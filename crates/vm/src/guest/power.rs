//! The orderly way down: end the processes, put the disk in order, then restart or switch off.

use std::thread;
use std::time::Duration;

use rustix::fs::sync;
use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::system::{RebootCommand, reboot};

use super::say;

/// How long processes get between SIGTERM and SIGKILL, as a service manager would give them.
const GRACE: Duration = Duration::from_secs(3);

/// Goes down. Returns only if the kernel refuses.
///
/// `kill(-1)` spares PID 1 and the caller.
pub fn go_down(disk: Option<&str>, command: RebootCommand) {
    // An error means that there is nobody left to be signalled.
    if kill_process_group(Pid::INIT, Signal::TERM).is_ok() {
        thread::sleep(GRACE);
        let _nobody_left = kill_process_group(Pid::INIT, Signal::KILL);
    }
    sync();
    if let Some(place) = disk
        && let Err(error) = unmount(place, UnmountFlags::empty())
    {
        say(&format!("cannot unmount `{place}`: {error}"));
    }
    sync();
    if let Err(error) = reboot(command) {
        say(&format!("the kernel refuses to go down: {error}"));
    }
}
