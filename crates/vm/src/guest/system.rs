//! A whole system on the disk: its own init takes over, and the server becomes a service of it.

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::mount_move;
use rustix::process::chroot;
use rustix::system::RebootCommand;

use super::{CONFIG_PATH, SERVE, say};

/// The init of a Debian system (and of most others).
const INIT: &str = "/sbin/init";

/// What the system finds of ours lies in memory, where it looks for units of this boot alone.
const FOLDER: &str = "/run/guest-init";
const UNIT: &str = "/run/systemd/system/guest-init.service";
const WANTED: &str = "/run/systemd/system/multi-user.target.wants/guest-init.service";

/// Moved along; the rest of the initramfs stays behind.
const MOVED: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

/// Replaces this process with the init of the system that is mounted at `place`.
pub fn take_over(place: &str) -> Result<Infallible> {
    let init = Path::new(place).join(&INIT[1..]);
    ensure!(
        fs::symlink_metadata(&init).is_ok(),
        "the disk holds no system: it has no `{INIT}`"
    );
    leave_server()?;
    for mounted in MOVED {
        let target = format!("{place}{mounted}");
        mount_move(mounted, target.as_str()).with_context(|| format!("cannot move {mounted}"))?;
    }
    std::env::set_current_dir(place)?;
    mount_move(".", "/").context("cannot move the system to the root")?;
    chroot(".").context("cannot make the system the root")?;
    std::env::set_current_dir("/")?;
    let failed = Command::new(INIT).env_clear().exec();
    Err(failed).with_context(|| format!("cannot run `{INIT}`"))
}

/// Puts the server and its unit where systemd finds them.
fn leave_server() -> Result<()> {
    let program = format!("{FOLDER}/guest-init");
    let config = format!("{FOLDER}/config.json");
    fs::create_dir_all(FOLDER)?;
    let own = std::env::current_exe().context("cannot tell my own path")?;
    fs::copy(own, &program).with_context(|| format!("cannot copy to {program}"))?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    fs::copy(CONFIG_PATH, &config).with_context(|| format!("cannot copy to {config}"))?;
    let unit = format!(
        "[Unit]\nDescription=Requests of the virtual machine's host\n\n\
         [Service]\nExecStart={program} {SERVE} {config}\nRestart=always\n\
         KillMode=process\nTasksMax=infinity\n"
    );
    for path in [UNIT, WANTED] {
        let folder = Path::new(path).parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(UNIT, unit).with_context(|| format!("cannot write {UNIT}"))?;
    symlink(UNIT, WANTED).with_context(|| format!("cannot make {WANTED}"))
}

/// The system's own way down.
pub fn go_down(command: RebootCommand) {
    let verb = match command {
        RebootCommand::Restart => "reboot",
        _ => "poweroff",
    };
    match Command::new("systemctl").arg(verb).status() {
        Ok(status) if status.success() => {}
        Ok(status) => say(&format!("`systemctl {verb}` failed: {status}")),
        Err(error) => say(&format!("cannot run `systemctl {verb}`: {error}")),
    }
}
