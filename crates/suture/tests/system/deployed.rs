//! The agent on its machines by the tools that fleets are run with: the Ansible role and the
//! cloud-init example, each on a Debian 12 with systemd. Ansible runs here and reaches the machine
//! by SSH, as it does in a fleet.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use suture::scenario::{Probe, SECCOMP, Server};
use suture_vm::probe::Verdict;

use crate::debian::Debian;
use crate::package::packages;
use crate::site::{Site, assert_kernel_is_well};

const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging");
const CLOUD_CONFIG: &str = include_str!("../../../../packaging/cloud-init/livepatch.yaml");

/// Of cloud-init's modules those that the example uses: the others set up what a cloud's image has
/// and this small machine lacks (keys of an SSH server, locales, a file system that grows). The
/// network is there already.
const SMALL: &[u8] = b"network: {config: disabled}
cloud_init_modules: [write-files]
cloud_config_modules: [runcmd]
cloud_final_modules: [scripts-user]
";

/// Where cloud-init looks for a seed of its own accord.
const SEED: &str = "/var/lib/cloud/seed/nocloud";

/// An emulated processor is slow with Python.
const PYTHON: Duration = Duration::from_secs(400);

/// What both need: a published patch, a service, an owner's token, and the agent's package.
struct Fleet {
    site: Site,
    server: Server,
    token: String,
    probe: Probe,
    package: PathBuf,
}

impl Fleet {
    fn new() -> anyhow::Result<Self> {
        let site = Site::new()?;
        site.build_seccomp("1.1", "patch")?;
        site.vendor.publish_untested("patch")?;
        let server = site.serve()?;
        let token = site.vendor.account("owner@localhost.localdomain")?;
        let probe = Probe::compile(&SECCOMP, &site.vendor.path("probes"))?;
        let [package, ..] = packages(&site.vendor)?;
        Ok(Self {
            site,
            server,
            token,
            probe,
            package,
        })
    }

    /// A Debian with what both tools need there, so that its image is made once; the hole is open.
    fn machine(&self) -> anyhow::Result<Debian> {
        let debian = Debian::boot(&self.site, &["cloud-init", "openssh-server", "python3-apt"])?;
        let program = std::fs::read(&self.probe.host_path)?;
        let path = &self.probe.guest_path;
        debian.guest.vm.write_file(path, &program, 0o755)?;
        assert_eq!(debian.guest.ask(&self.probe)?, Verdict::Open);
        Ok(debian)
    }

    fn assert_applied(&self, debian: &Debian) -> anyhow::Result<()> {
        let status = debian.guest.status()?;
        let state = &status["Status"][0]["Livepatch"]["State"];
        assert_eq!(state, "applied", "{status}\n{}", debian.journal());
        assert_eq!(debian.guest.ask(&self.probe)?, Verdict::Closed);
        assert_kernel_is_well(&debian.guest);
        Ok(())
    }
}

/// What the role says comes true, and stays true without another change.
#[test]
fn ansible_puts_the_agent_on_a_machine() -> anyhow::Result<()> {
    let fleet = Fleet::new()?;
    let site = &fleet.site;
    let debian = fleet.machine()?;
    let controller = Controller::new(site, &debian)?;
    let settings = serde_json::json!({
        "livepatch_package_file": fleet.package,
        "livepatch_server": fleet.server.url_from_guest(),
        "livepatch_root_file": site.vendor.path("root.json"),
        "livepatch_ca_file": site.vendor.path("tls.crt"),
        "livepatch_settings": { "check-interval": 120, "settle-time": "10s" },
        "livepatch_token": fleet.token,
    });
    let first = controller.play(&settings, &debian)?;
    assert!(!first.contains("changed=0"), "{first}");
    fleet.assert_applied(&debian)?;
    let setting = debian.guest.livepatch(&["config", "check-interval"])?;
    assert!(setting.stdout.contains("120"), "{setting:?}");
    let second = controller.play(&settings, &debian)?;
    assert!(second.contains("changed=0"), "{second}");
    for output in [first, second] {
        assert!(!output.contains(&fleet.token), "the token is told");
    }
    fleet.server.stop()
}

/// At a machine's first boot, with the agent's address in its seed.
#[test]
fn cloud_init_puts_the_agent_on_a_machine() -> anyhow::Result<()> {
    let fleet = Fleet::new()?;
    let debian = fleet.machine()?;
    let vm = &debian.guest.vm;
    let base64 = |name: &str| -> anyhow::Result<String> {
        Ok(STANDARD.encode(std::fs::read(fleet.site.vendor.path(name))?))
    };
    let config = CLOUD_CONFIG
        .replace(
            "content: ROOT",
            &format!("content: {}", base64("root.json")?),
        )
        .replace("content: CA", &format!("content: {}", base64("tls.crt")?))
        .replace(
            "\"SERVER\"",
            &format!("\"{}\"", fleet.server.url_from_guest()),
        )
        .replace("PACKAGE]", "/packages/1.deb]")
        .replace("content: TOKEN", &format!("content: {}", fleet.token));
    vm.write_file("/packages/1.deb", &std::fs::read(&fleet.package)?, 0o644)?;
    vm.write_file(&format!("{SEED}/user-data"), config.as_bytes(), 0o600)?;
    vm.write_file(&format!("{SEED}/meta-data"), b"instance-id: first\n", 0o644)?;
    vm.write_file("/etc/cloud/cloud.cfg.d/99-small.cfg", SMALL, 0o644)?;
    vm.reboot()?;
    let done = vm
        .command(&["cloud-init", "status", "--wait", "--long"])
        .timeout(PYTHON)
        .run()?;
    let log = debian.ask("cat /var/log/cloud-init-output.log /var/log/cloud-init.log")?;
    assert!(
        done.stdout.contains("status: done"),
        "{done:?}\n{}",
        log.stdout
    );
    debian.wait_until_started()?;
    fleet.assert_applied(&debian)?;
    debian.say("test ! -e /run/livepatch-token")?;
    fleet.server.stop()
}

/// Who runs playbooks: this machine, with a key that the other one takes.
struct Controller {
    folder: PathBuf,
    address: SocketAddr,
}

impl Controller {
    fn new(site: &Site, debian: &Debian) -> anyhow::Result<Self> {
        let folder = site.vendor.path("controller");
        std::fs::create_dir_all(&folder)?;
        let key = folder.join("key");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key)
            .output()?;
        anyhow::ensure!(made.status.success(), "{made:?}");
        let public = std::fs::read(key.with_extension("pub"))?;
        debian.say("mkdir -p -m 700 /root/.ssh")?;
        let vm = &debian.guest.vm;
        vm.write_file("/root/.ssh/authorized_keys", &public, 0o600)?;
        let address = vm.forward(22)?;
        Ok(Self { folder, address })
    }

    /// Runs the playbook and gives what it wrote.
    fn play(&self, settings: &serde_json::Value, debian: &Debian) -> anyhow::Result<String> {
        let path = self.folder.join("settings.json");
        std::fs::write(&path, settings.to_string())?;
        let output = Command::new("ansible-playbook")
            .arg(Path::new(PACKAGING).join("ansible/livepatch.yml"))
            .arg("--extra-vars")
            .arg(format!("@{}", path.display()))
            .args(["--inventory", &format!("{},", self.address.ip())])
            .arg("--extra-vars")
            .arg(format!("ansible_port={}", self.address.port()))
            .args(["--user", "root", "--private-key"])
            .arg(self.folder.join("key"))
            .env("ANSIBLE_HOST_KEY_CHECKING", "False")
            .env("ANSIBLE_PIPELINING", "True")
            .env("ANSIBLE_LOCAL_TEMP", &self.folder)
            .env("ANSIBLE_SSH_CONTROL_PATH_DIR", &self.folder)
            .env("ANSIBLE_TIMEOUT", "120")
            .env("ANSIBLE_NOCOLOR", "1")
            .output()?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{told}\n{}", debian.journal());
        Ok(told)
    }
}
