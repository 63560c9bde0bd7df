//! A machine of the vendor's customer: a stock kernel with the agent, under QEMU.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use suture_factory::ShippedKernel;
use suture_vm::probe::{self, Verdict};
use suture_vm::{CommandOutput, FileSource, GuestKernel, Vm, VmBuilder};

use super::{KnownFix, Server, Vendor};

const DAEMON_SOCKET: &str = "/run/livepatch/livepatchd.sock";
const DAEMON_LOG: &str = "/var/log/livepatchd.log";

/// A booted machine with the agent installed.
pub struct Guest {
    pub vm: Vm,
}

impl Guest {
    /// A machine as its owner would set it up: the agent, the vendor's root, the server's
    /// certificate and address.
    pub fn builder(
        vendor: &Vendor,
        server: &Server,
        kernel: &ShippedKernel,
    ) -> anyhow::Result<VmBuilder> {
        let settings = format!(
            "remote-server = \"{}\"\nca-certs = \"/etc/livepatch/ca.pem\"\n",
            server.url_from_guest()
        );
        let file = |name: &str| FileSource::Path(vendor.path(name));
        Ok(
            Vm::builder(GuestKernel::new(kernel.vmlinuz(), kernel.modules()))
                .guest_init(vendor.program("guest-init"))
                .module("virtio_pci")
                .module("virtio_net")
                .file(
                    "/usr/bin/livepatch",
                    FileSource::Path(vendor.program("livepatch")),
                    0o755,
                )
                .symlink("/usr/bin/canonical-livepatch", "livepatch")
                .file("/etc/livepatch/root.json", file("root.json"), 0o644)
                .file("/etc/livepatch/ca.pem", file("tls.crt"), 0o644)
                .file(
                    "/etc/livepatch/config.d/50-vendor.toml",
                    FileSource::Bytes(settings.into()),
                    0o644,
                ),
        )
    }

    /// Boots the machine and starts the daemon.
    pub fn boot(builder: VmBuilder) -> anyhow::Result<Self> {
        let guest = Self {
            vm: builder.boot()?,
        };
        guest.start_daemon()?;
        Ok(guest)
    }

    /// Starts the daemon and waits for its socket.
    pub fn start_daemon(&self) -> anyhow::Result<()> {
        self.vm.spawn_shell("livepatch daemon", DAEMON_LOG)?;
        let wait = format!("while ! [ -S {DAEMON_SOCKET} ]; do usleep 50000; done");
        let waited = self
            .vm
            .command(&["sh", "-c", &wait])
            .timeout(Duration::from_secs(60))
            .run();
        if waited.as_ref().is_ok_and(CommandOutput::success) {
            return Ok(());
        }
        let log = self.daemon_log();
        waited.context(format!("the daemon did not start; its log:\n{log}"))?;
        anyhow::bail!("the daemon did not start; its log:\n{log}")
    }

    /// Ends the daemon as a service manager does.
    pub fn stop_daemon(&self) -> anyhow::Result<()> {
        let script = format!(
            "set -e; killall livepatch; while pidof livepatch >/dev/null; do usleep 50000; done; \
             rm -f {DAEMON_SOCKET}"
        );
        let stopped = self.vm.shell(&script)?;
        anyhow::ensure!(stopped.success(), "{stopped:?}");
        Ok(())
    }

    /// What the daemon wrote so far.
    pub fn daemon_log(&self) -> String {
        let bytes = self.vm.read_file(DAEMON_LOG).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Runs `livepatch` with these arguments.
    pub fn livepatch(&self, arguments: &[&str]) -> anyhow::Result<CommandOutput> {
        let argv: Vec<&str> = std::iter::once("livepatch")
            .chain(arguments.iter().copied())
            .collect();
        Ok(self
            .vm
            .command(&argv)
            .timeout(Duration::from_secs(180))
            .run()?)
    }

    /// `livepatch status --format json`, parsed.
    pub fn status(&self) -> anyhow::Result<serde_json::Value> {
        let output = self.livepatch(&["status", "--format", "json"])?;
        serde_json::from_str(&output.stdout)
            .with_context(|| format!("status is no JSON: {output:?}"))
    }

    /// Names in `/sys/kernel/livepatch`.
    pub fn loaded_patches(&self) -> anyhow::Result<Vec<String>> {
        let output = self.vm.shell("ls /sys/kernel/livepatch")?;
        Ok(output
            .stdout
            .split_whitespace()
            .map(str::to_owned)
            .collect())
    }

    /// Asks a probe whether its hole is open here.
    pub fn ask(&self, probe: &Probe) -> anyhow::Result<Verdict> {
        self.ask_for_words(probe).map(|output| Verdict::of(&output))
    }

    /// The probe's own words.
    pub fn ask_for_words(&self, probe: &Probe) -> anyhow::Result<CommandOutput> {
        Ok(self.vm.command(&[&probe.guest_path]).uid(probe.uid).run()?)
    }
}

/// A compiled probe.
#[derive(Debug, Clone)]
pub struct Probe {
    pub host_path: PathBuf,
    /// Where the guest has it.
    pub guest_path: String,
    uid: u32,
}

impl Probe {
    /// Compiles the probe of a fix into `folder`.
    pub fn compile(fix: &KnownFix, folder: &Path) -> anyhow::Result<Self> {
        let name = fix.cve.to_lowercase();
        let source = folder.join(format!("{name}.c"));
        std::fs::create_dir_all(folder)
            .and_then(|()| std::fs::write(&source, fix.probe))
            .with_context(|| format!("cannot write `{}`", source.display()))?;
        let host_path = probe::compile(&source, folder)?;
        Ok(Self {
            host_path,
            guest_path: format!("/usr/bin/probe-{name}"),
            uid: fix.uid,
        })
    }

    /// Puts it into a machine.
    pub fn install(&self, builder: VmBuilder) -> VmBuilder {
        builder.file(
            &self.guest_path,
            FileSource::Path(self.host_path.clone()),
            0o755,
        )
    }
}
