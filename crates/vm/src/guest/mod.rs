//! The guest's side: PID 1 of the machine and the server behind it.
//!
//! PID 1 only sets the machine up and collects orphans. The requests are served by a child of
//! it, so that waiting for a command never races with that collecting. Where the disk holds a whole
//! system, PID 1 hands over to that system's init, and the server becomes a service of it.

mod command;
mod config;
mod files;
mod modules;
mod mounts;
mod network;
mod power;
mod server;
mod system;

pub use config::{CONFIG_PATH, GuestConfig, NetworkConfig};

use std::fs;
use std::process::{Child, Command};

use anyhow::{Context as _, Result};
use rustix::process::{WaitOptions, getpid, wait};

/// Argument by which PID 1 starts the server.
const SERVE: &str = "serve-requests";

/// Becomes the guest's init and does not return, if this process is PID 1 of a guest or the
/// server that PID 1 started; returns at once otherwise.
///
/// A program that calls this first in `main` can be given as [`crate::VmBuilder::guest_init`].
pub fn run_if_init() {
    let serves = std::env::args().nth(1).is_some_and(|first| first == SERVE);
    if !getpid().is_init() && !serves {
        return;
    }
    let result = if serves {
        serve(std::env::args().nth(2).as_deref())
    } else {
        init()
    };
    if let Err(error) = result {
        say(&format!("cannot go on: {error:#}"));
    }
    // PID 1 must not return: the kernel panics then, and the panic names this program.
    std::process::exit(1);
}

fn init() -> Result<()> {
    let config = GuestConfig::read(CONFIG_PATH)?;
    mounts::mount_kernel_filesystems()?;
    modules::load_all(&config.modules)?;
    set_names(&config)?;
    if let Some(network) = &config.network {
        network::bring_up(network)?;
    }
    if let Some(place) = &config.disk {
        mounts::mount_disk(place)?;
        if config.system {
            system::take_over(place)?;
        }
    }
    let mut server = start_server()?;
    loop {
        collect(&mut server)?;
    }
}

/// Waits for any child; starts the server anew if it was the one that ended.
fn collect(server: &mut Child) -> Result<()> {
    let ended = wait(WaitOptions::empty()).context("cannot wait for children")?;
    let Some((pid, status)) = ended else {
        return Ok(());
    };
    if u32::try_from(pid.as_raw_nonzero().get()) == Ok(server.id()) {
        say(&format!("the server ended ({status:?}), starting it again"));
        *server = start_server()?;
    }
    Ok(())
}

fn start_server() -> Result<Child> {
    let program = std::env::current_exe().context("cannot tell my own path")?;
    Command::new(program)
        .arg(SERVE)
        .spawn()
        .context("cannot start the server")
}

fn serve(config: Option<&str>) -> Result<()> {
    let config = GuestConfig::read(config.unwrap_or(CONFIG_PATH))?;
    server::serve(&config)
}

fn set_names(config: &GuestConfig) -> Result<()> {
    rustix::system::sethostname(config.hostname.as_bytes()).context("cannot set the host name")?;
    fs::write("/etc/hostname", format!("{}\n", config.hostname)).context("/etc/hostname")
}

/// A line on the kernel's console: the place where the host looks when the guest is silent.
fn say(text: &str) {
    let line = format!("<4>guest-init: {text}\n");
    if fs::write("/dev/kmsg", &line).is_err() {
        eprint!("{}", &line[3..]);
    }
}
