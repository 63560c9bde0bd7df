//! The agent's Debian package on a Debian 12 with systemd: installed, enabled, upgraded while the
//! kernel moves its tasks and while a patch is in force, restarted, and purged without a trace.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use suture::scenario::{Probe, SECCOMP, Vendor};
use suture_vm::probe::{self, Verdict};

use crate::debian::Debian;
use crate::site::{Site, assert_kernel_is_well};

const HOLDER: &str = include_str!("../../../../probes/hold-syscall-entry.c");
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/deb");

/// Most that an idle agent may hold in memory of its own, both processes together, in KiB. What of
/// the program itself is in memory comes on top; `make bench-agent` tells it of the one that is
/// shipped.
const MOST_MEMORY: u64 = 6 * 1024;
/// Of so many minutes, the kernel says nothing in one.
const MINUTES: u32 = 5;

/// Of systemd-analyze's scale, which ends at 10.
const MOST_EXPOSURE: f64 = 4.5;

/// Numbers of capabilities (linux/capability.h).
const CAPABILITIES: [(&str, u32); 12] = [
    ("cap_chown", 0),
    ("cap_dac_override", 1),
    ("cap_dac_read_search", 2),
    ("cap_fowner", 3),
    ("cap_kill", 5),
    ("cap_setgid", 6),
    ("cap_setuid", 7),
    ("cap_setpcap", 8),
    ("cap_sys_module", 16),
    ("cap_sys_ptrace", 19),
    ("cap_sys_admin", 21),
    ("cap_syslog", 34),
];

/// All files but those that change while a machine runs.
const FILES: &str = "find / -xdev \\( -path /var/log -o -path /var/cache -o -path /tmp \
    -o -path /var/tmp -o -path /var/lib/systemd -o -path /packages -o -path /root \\) -prune -o -print";

#[test]
fn the_package_lives_on_debian_from_install_to_purge() -> anyhow::Result<()> {
    let site = Site::new()?;
    site.build_seccomp("1.1", "patch")?;
    site.vendor.publish_untested("patch")?;
    let server = site.serve()?;
    let token = site.vendor.account("owner@localhost.localdomain")?;
    let seccomp = Probe::compile(&SECCOMP, &site.vendor.path("probes"))?;
    let debian = Debian::boot(&site, &[])?;
    let vm = &debian.guest.vm;
    for (number, package) in packages(&site.vendor)?.iter().enumerate() {
        let path = format!("/packages/{}.deb", number + 1);
        vm.write_file(&path, &std::fs::read(package)?, 0o644)?;
    }
    vm.write_file(
        &seccomp.guest_path,
        &std::fs::read(&seccomp.host_path)?,
        0o755,
    )?;
    vm.write_file(
        "/usr/bin/holder",
        &std::fs::read(holder(&site.vendor)?)?,
        0o755,
    )?;

    // Installed: everything is at its place, and the daemon runs in its confinement.
    debian.say(&format!("{FILES} | sort > /packages/before"))?;
    debian.say("dpkg -i /packages/1.deb")?;
    assert_installed(&debian)?;
    assert_confined(&debian)?;

    // Enabled while a task holds the transition open; an upgrade of the package does not end it.
    debian.configure(&site, &server)?;
    assert_eq!(debian.guest.ask(&seccomp)?, Verdict::Open);
    let boot_id = vm.boot_id();
    let holder = vm.spawn_shell("holder", "/var/log/holder.log")?;
    debian.wait("grep -q ^held /var/log/holder.log")?;
    let enabled = vm
        .command(&["livepatch", "enable", "-"])
        .stdin(token.as_bytes())
        .timeout(Duration::from_secs(120))
        .run()?;
    assert!(enabled.success(), "{enabled:?}\n{}", debian.journal());
    assert!(
        enabled.stderr.contains("still in transition"),
        "{enabled:?}"
    );
    upgrade(&debian, 2)?;
    assert_eq!(sysfs(&debian, "transition")?, "1");
    let livepatch = debian.guest.status()?["Status"][0]["Livepatch"].clone();
    assert_eq!(livepatch["State"], "applying", "{livepatch}");
    debian.say(&format!("kill {holder}"))?;
    debian.wait("journalctl -b -u livepatchd -o cat | grep -q 'patch 1.1 is in force'")?;
    assert_applied(&debian, &seccomp)?;
    assert_eq!(vm.boot_id(), boot_id);

    // Restarted: the machine is up first, then it protects itself.
    debian.reboot()?;
    assert_ne!(vm.boot_id(), boot_id);
    debian.wait("grep -qx 1 /sys/kernel/livepatch/suture_1_1/enabled")?;
    debian.wait("grep -qx 0 /sys/kernel/livepatch/suture_1_1/transition")?;
    assert_applied(&debian, &seccomp)?;
    let up = stamp(
        &debian,
        "multi-user.target",
        "ActiveEnterTimestampMonotonic",
    )?;
    let started = stamp(&debian, "livepatchd", "ExecMainStartTimestampMonotonic")?;
    assert!(
        up <= started,
        "multi-user.target at {up}, livepatchd at {started}"
    );

    // Upgraded while the patch is in force.
    let boot_id = vm.boot_id();
    upgrade(&debian, 3)?;
    assert_applied(&debian, &seccomp)?;
    assert_eq!(vm.boot_id(), boot_id);
    assert_rests(&debian)?;
    assert_logins_never_wait(&debian)?;
    assert_confined(&debian)?;
    assert_well(&debian)?;

    // Gone without a trace; the kernel keeps what it has.
    debian.say("dpkg --purge suture-livepatch")?;
    assert_purged(&debian)?;
    assert_eq!(debian.guest.ask(&seccomp)?, Verdict::Closed);
    debian.wait_until_started()?;
    assert_kernel_is_well(&debian.guest);
    server.stop()
}

/// The package of the agent under test and two later versions of it.
pub fn packages(vendor: &Vendor) -> anyhow::Result<[PathBuf; 3]> {
    let folder = vendor.path("packages");
    // An emulated processor takes long to unpack.
    let run = |command: &mut Command| -> anyhow::Result<()> {
        let output = command.env("DPKG_DEB_COMPRESSOR_TYPE", "none").output()?;
        anyhow::ensure!(output.status.success(), "{command:?}: {output:?}");
        Ok(())
    };
    let script = Command::new(SCRIPT);
    run({ script }.arg(vendor.program("livepatch")).arg(&folder))?;
    let made = std::fs::read_dir(&folder)?.next().expect("a package")?;
    let unpacked = folder.join("unpacked");
    run(Command::new("dpkg-deb")
        .arg("--raw-extract")
        .arg(made.path())
        .arg(&unpacked))?;
    let control = unpacked.join("DEBIAN/control");
    let first = std::fs::read_to_string(&control)?;
    let later = |number: u32| -> anyhow::Result<PathBuf> {
        let text: String = first
            .lines()
            .map(|line| match line.strip_prefix("Version: ") {
                Some(version) => format!("Version: {version}+{number}\n"),
                None => format!("{line}\n"),
            })
            .collect();
        std::fs::write(&control, text)?;
        let path = folder.join(format!("{number}.deb"));
        run(Command::new("dpkg-deb")
            .args(["--root-owner-group", "--build"])
            .arg(&unpacked)
            .arg(&path))?;
        Ok(path)
    };
    Ok([made.path(), later(2)?, later(3)?])
}

fn holder(vendor: &Vendor) -> anyhow::Result<PathBuf> {
    let folder = vendor.path("probes");
    let source = folder.join("holder.c");
    std::fs::write(&source, HOLDER)?;
    Ok(probe::compile(Path::new(&source), &folder)?)
}

fn assert_installed(debian: &Debian) -> anyhow::Result<()> {
    assert_eq!(debian.say("systemctl is-enabled livepatchd")?, "enabled");
    assert_eq!(debian.say("systemctl is-active livepatchd")?, "active");
    debian.say("id livepatch && test -S /run/livepatch/livepatchd.sock")?;
    debian.say("canonical-livepatch --version")?;
    debian.say(
        "cd /usr/share && test -s man/man1/livepatch.1.gz \
         && test -s bash-completion/completions/livepatch",
    )?;
    assert_eq!(debian.say("dpkg --verify suture-livepatch")?, "");
    let status = debian.ask("livepatch status")?;
    assert!(
        status.stderr.contains("Machine is not enabled"),
        "{status:?}"
    );
    Ok(())
}

/// What the unit promises holds for each process.
fn assert_confined(debian: &Debian) -> anyhow::Result<()> {
    let names = debian.say("systemctl show -p CapabilityBoundingSet --value livepatchd")?;
    let number = |name: &str| {
        let known = CAPABILITIES.iter().find(|(known, _)| *known == name);
        known.unwrap_or_else(|| panic!("what is `{name}`?")).1
    };
    let bound: u64 = names.split_whitespace().map(|it| 1 << number(it)).sum();
    for process in debian.processes()? {
        assert_eq!(process.field("Seccomp")?, "2", "a filter is on");
        assert_eq!(process.field("NoNewPrivs")?, "1");
        for set in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
            let more = process.capabilities(set)? & !bound;
            assert_eq!(more, 0, "{set} of {} has more than {names}", process.pid);
        }
    }
    let analysis = debian.say("systemd-analyze security livepatchd --no-pager")?;
    let last = analysis.lines().last().unwrap_or_default();
    let exposure: f64 = last
        .split_whitespace()
        .find_map(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no figure in `{last}`"));
    eprintln!("systemd-analyze security: {exposure} of 10");
    assert!(exposure < MOST_EXPOSURE, "{analysis}");
    Ok(())
}

fn upgrade(debian: &Debian, number: u32) -> anyhow::Result<()> {
    let before = debian.processes()?[0].pid;
    debian.say(&format!("dpkg -i /packages/{number}.deb"))?;
    let version = debian.say("dpkg-query -W -f '${Version}' suture-livepatch")?;
    assert!(version.ends_with(&format!("+{number}")), "{version}");
    assert_eq!(debian.say("systemctl is-active livepatchd")?, "active");
    assert_ne!(debian.processes()?[0].pid, before, "the new daemon runs");
    Ok(())
}

fn sysfs(debian: &Debian, file: &str) -> anyhow::Result<String> {
    debian.say(&format!("cat /sys/kernel/livepatch/suture_1_1/{file}"))
}

fn assert_applied(debian: &Debian, probe: &Probe) -> anyhow::Result<()> {
    let status = debian.guest.status()?;
    let livepatch = &status["Status"][0]["Livepatch"];
    assert_eq!(
        livepatch["State"],
        "applied",
        "{status}\n{}",
        debian.journal()
    );
    assert_eq!(livepatch["Version"], "1.1");
    assert_eq!(debian.guest.loaded_patches()?, ["suture_1_1"]);
    assert_eq!(debian.guest.ask(probe)?, Verdict::Closed);
    Ok(())
}

/// Microseconds since the start at which a unit did something.
fn stamp(debian: &Debian, unit: &str, what: &str) -> anyhow::Result<u64> {
    Ok(debian
        .say(&format!("systemctl show -p {what} --value {unit}"))?
        .parse()?)
}

/// Whatever lies where the message is expected, neither a login nor the daemon waits for it.
fn assert_logins_never_wait(debian: &Debian) -> anyhow::Result<()> {
    let logins = "timeout 10 run-parts --lsbsysinit /etc/update-motd.d";
    let message = "/run/livepatch/login-message";
    let replace = format!("rm -f {message} && ");
    debian.say(&format!("{replace} echo restart, please > {message}"))?;
    assert!(debian.say(logins)?.contains("restart, please"));
    debian.say(&format!("{replace} mkfifo {message}"))?;
    debian.say(logins)?;
    // The daemon writes it anew after a check-in.
    let refreshed = debian.guest.livepatch(&["config", "log-level=debug"])?;
    assert!(refreshed.success(), "{refreshed:?}");
    debian.wait(&format!("test -f {message}"))?;
    assert!(debian.guest.livepatch(&["status"])?.success());
    Ok(())
}

/// Between check-ins the agent does nothing and needs little.
fn assert_rests(debian: &Debian) -> anyhow::Result<()> {
    // What does not wake the main thread wakes nobody.
    let switches = || -> anyhow::Result<u64> {
        let mut sum = 0;
        for process in debian.processes()? {
            sum += process.field("voluntary_ctxt_switches")?.parse::<u64>()?;
        }
        Ok(sum)
    };
    // A started agent checks in first, and leaves this file.
    debian.wait("test -f /run/livepatch/livepatch.prom")?;
    // The patch settles; until then its module is looked at.
    debian.wait("grep -q settled /var/lib/livepatch/journal.json")?;
    // Threads that did its work end after a while.
    if let Some(daemon) = debian.processes()?.last() {
        debian.wait(&format!(
            "grep -q '^Threads:.1$' /proc/{}/status",
            daemon.pid
        ))?;
    }
    // A word in the kernel's log is heard at once, and that counts for nothing.
    let log = || debian.say("dmesg | wc -l");
    let mut minutes = 0;
    let woken = loop {
        let (log_before, before) = (log()?, switches()?);
        debian.say("sleep 60")?;
        let woken = switches()? - before;
        minutes += 1;
        if woken == 0 || log()? == log_before || minutes == MINUTES {
            break woken;
        }
    };
    let (mut own, mut resident) = (0, 0);
    for process in debian.processes()? {
        own += process.kib("RssAnon")?;
        resident += process.kib("VmRSS")?;
    }
    eprintln!("idle: {own} KiB of its own, {resident} KiB resident, woken {woken} times a minute");
    assert!(own <= MOST_MEMORY, "{own} KiB");
    let kernel_log = debian.say("dmesg | tail -n 20")?;
    assert_eq!(woken, 0, "{}\n{kernel_log}", debian.journal());
    Ok(())
}

/// The machine has nothing to complain about.
fn assert_well(debian: &Debian) -> anyhow::Result<()> {
    debian.wait_until_started()?;
    let errors = debian.say("journalctl -b -p err -o short --no-pager")?;
    assert!(!errors.contains("livepatch"), "{errors}");
    let journal = debian.journal();
    assert!(!journal.contains("panicked"), "{journal}");
    Ok(())
}

fn assert_purged(debian: &Debian) -> anyhow::Result<()> {
    debian.say(&format!("{FILES} | sort > /packages/after"))?;
    let left = debian.ask("diff /packages/before /packages/after")?.stdout;
    // Copies that the programs for users keep of the files from before.
    let ours =
        |line: &&str| line.starts_with('>') && !line.ends_with('-') && !line.ends_with(".lock");
    let left: Vec<&str> = left.lines().filter(ours).collect();
    assert!(left.is_empty(), "{left:#?}");
    let users = debian.ask("grep livepatch /etc/passwd /etc/group /etc/shadow")?;
    assert_eq!(users.stdout, "");
    let unit = debian.ask("systemctl cat livepatchd; systemctl is-active livepatchd")?;
    assert_eq!(unit.stdout.trim(), "inactive", "{unit:?}");
    debian.say("! test -e /run/livepatch && ! test -e /etc/livepatch")?;
    Ok(())
}
