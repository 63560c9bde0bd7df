//! The network of QEMU's user mode.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::config::NetworkConfig;

/// How long the interface may take to appear after its driver was loaded.
const DEADLINE: Duration = Duration::from_secs(20);

/// Brings up loopback and the interface with its address and default route.
pub fn bring_up(network: &NetworkConfig) -> Result<()> {
    let interface = network.interface.as_str();
    ip(&["link", "set", "lo", "up"])?;
    wait_for(interface)?;
    ip(&["addr", "add", &network.address, "dev", interface])?;
    ip(&["link", "set", interface, "up"])?;
    ip(&["route", "add", "default", "via", &network.gateway])
}

fn wait_for(interface: &str) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while !Path::new("/sys/class/net").join(interface).exists() {
        if Instant::now() >= deadline {
            bail!("no interface `{interface}`: is its driver in the initramfs?");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("/bin/busybox")
        .arg("ip")
        .args(arguments)
        .output()
        .context("cannot run busybox")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}` failed: {}", arguments.join(" "), reason.trim());
    }
    Ok(())
}
