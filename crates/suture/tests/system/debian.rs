//! A Debian 12 as it comes from the archive, booted with systemd on the kernel under test.

use std::time::Duration;

use anyhow::Context as _;
use suture::scenario::{Guest, Server};
use suture_factory::{Log, Suite, default_cache, system_image};
use suture_vm::{CommandOutput, GuestKernel, Vm};

use crate::site::Site;

const RELEASE: &str = "bookworm";

/// systemd starts a few dozen programs; an emulated processor takes a while for that.
const BOOT_TIMEOUT: Duration = Duration::from_secs(300);

/// How long one step may take there.
const STEP: Duration = Duration::from_secs(180);

/// The machine, and the agent's commands on it once its package is installed.
pub struct Debian {
    pub guest: Guest,
}

impl Debian {
    /// Boots it and waits until everything has started. `packages` are there from the beginning.
    pub fn boot(site: &Site, packages: &[&str]) -> anyhow::Result<Self> {
        let cache = default_cache();
        let suite = Suite::named(&cache, RELEASE, &Log::none())?;
        let image = system_image(&cache, &suite, packages, &Log::none())?;
        let kernel = GuestKernel::new(site.shipped.vmlinuz(), site.shipped.modules());
        let vm = Vm::builder(kernel)
            .guest_init(site.vendor.program("guest-init"))
            .system_disk(image)
            // Python's package asks for it, and the system on the disk has no modules of its own.
            .module("binfmt_misc")
            // Emulated processors wait for each other so long at times that the kernel complains.
            .cpus(1)
            .memory_mib(1024)
            .boot_timeout(BOOT_TIMEOUT)
            .boot()?;
        let debian = Self {
            guest: Guest { vm },
        };
        debian.wait_until_started()?;
        Ok(debian)
    }

    /// systemd has nothing left to start, and nothing failed.
    pub fn wait_until_started(&self) -> anyhow::Result<()> {
        let state = self.ask("systemctl is-system-running --wait")?;
        let failed = self.say("systemctl --failed --no-legend --plain")?;
        anyhow::ensure!(
            state.stdout.trim() == "running" && failed.is_empty(),
            "systemd is {state:?}, failed:\n{failed}"
        );
        Ok(())
    }

    /// An orderly restart.
    pub fn reboot(&self) -> anyhow::Result<()> {
        self.guest.vm.reboot()?;
        self.wait_until_started()
    }

    /// Runs a line of shell, whatever comes of it.
    pub fn ask(&self, script: &str) -> anyhow::Result<CommandOutput> {
        let command = self.guest.vm.command(&["sh", "-c", script]);
        Ok(command.timeout(STEP).run()?)
    }

    /// Runs a line of shell that has to succeed, and gives what it says, trimmed.
    pub fn say(&self, script: &str) -> anyhow::Result<String> {
        let output = self.ask(script)?;
        anyhow::ensure!(
            output.success(),
            "`{script}` failed: {output:?}\n{}",
            self.journal()
        );
        Ok(output.stdout.trim().to_owned())
    }

    /// Waits until a condition of shell holds, two minutes at most.
    pub fn wait(&self, condition: &str) -> anyhow::Result<()> {
        let script = format!(
            "n=0; until {condition}; do n=$((n + 1)); [ $n -lt 600 ] || exit 1; sleep 0.2; done"
        );
        self.say(&script)
            .with_context(|| format!("`{condition}` does not come true"))?;
        Ok(())
    }

    /// What the daemon wrote since the machine was started.
    pub fn journal(&self) -> String {
        let output = self.ask("journalctl -b -u livepatchd -o cat --no-pager");
        output.map_or_else(|error| error.to_string(), |output| output.stdout)
    }

    /// Trusts the vendor and names its server, as the vendor's instructions say.
    pub fn configure(&self, site: &Site, server: &Server) -> anyhow::Result<()> {
        for (name, file) in [("root.json", "root.json"), ("ca.pem", "tls.crt")] {
            let bytes = std::fs::read(site.vendor.path(file))?;
            let path = format!("/etc/livepatch/{name}");
            self.guest.vm.write_file(&path, &bytes, 0o644)?;
        }
        let address = server.url_from_guest();
        self.say(&format!(
            "livepatch config remote-server={address} ca-certs=/etc/livepatch/ca.pem \
             transition-timeout=5s settle-time=10s"
        ))?;
        Ok(())
    }

    /// The daemon's processes, its main one first.
    pub fn processes(&self) -> anyhow::Result<Vec<Process>> {
        let main = self.say("systemctl show -p MainPID --value livepatchd")?;
        let children = self.say(&format!("cat /proc/{main}/task/*/children"))?;
        let pids = std::iter::once(main.as_str()).chain(children.split_whitespace());
        pids.map(|pid| {
            let status = self.say(&format!("cat /proc/{pid}/status"))?;
            Ok(Process {
                pid: pid.parse()?,
                status,
            })
        })
        .collect()
    }
}

/// A process as `/proc/PID/status` tells of it (proc(5)).
pub struct Process {
    pub pid: u32,
    status: String,
}

impl Process {
    /// A field's value, e.g. `2` for `Seccomp`.
    pub fn field(&self, name: &str) -> anyhow::Result<&str> {
        let line = self
            .status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
            .with_context(|| format!("no `{name}` in {}", self.status))
    }

    /// A field in KiB.
    pub fn kib(&self, name: &str) -> anyhow::Result<u64> {
        Ok(self.field(name)?.trim_end_matches(" kB").parse()?)
    }

    /// A field that is a set of capabilities.
    pub fn capabilities(&self, name: &str) -> anyhow::Result<u64> {
        Ok(u64::from_str_radix(self.field(name)?, 16)?)
    }
}
