//! What the agent costs a machine, in a virtual machine with a stock kernel: its memory and its
//! wake-ups while there is nothing to do, and how much longer a patch takes through it than by a
//! bare `insmod`.
//!
//! `bench_agent [LIVEPATCH]` measures this program, e.g. that of `make dist`, in place of the one
//! beside it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use suture::scenario::{Guest, Picked, SECCOMP, Server, Vendor, pick};
use suture_factory::archive::Archive;
use suture_factory::{Log, ShippedKernel, default_cache};
use suture_vm::{FileSource, VmBuilder};

const ROUNDS: usize = 11;
const IDLE_SECONDS: u64 = 60;

/// Hundredths of a second until the patch is in force, and then its way back, for the next round.
const TIME_ONE: &str = r#"
set -e
now() { cut -d' ' -f1 /proc/uptime | tr -d .; }
begun=$(now)
$1 >/var/log/load.log 2>&1 &
cd /sys/kernel/livepatch
until [ "$(cat suture_1_1/enabled suture_1_1/transition 2>/dev/null | xargs)" = '1 0' ]; do
    usleep 2000
done
echo $(($(now) - begun))
wait
echo 0 >suture_1_1/enabled
while [ -e suture_1_1 ]; do usleep 2000; done
until rmmod suture_1_1 2>/dev/null; do usleep 2000; done
"#;

/// Of both processes: what is theirs in memory, and how often they ran.
const LOOK: &str = r#"
for pid in $(pidof livepatch); do
    echo "$(awk '/^(VmRSS|RssAnon)/ { printf "%s%s ", $1, $2 } ' /proc/$pid/status)" \
        "$(awk '/^Pss:/ { printf "Pss:%s ", $2 }' /proc/$pid/smaps_rollup)" \
        "Uid:$(awk '/^Uid/ { print $2 }' /proc/$pid/status)" \
        "Switches:$(cat /proc/$pid/task/*/status | awk '/ctxt_switches/ { n += $2 } END { print n }')"
done
"#;

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let vendor = Vendor::new(&folder.path().join("vendor"), false)?;
    let archive = Archive::new(&default_cache(), Log::none());
    let picked = pick(&archive, &SECCOMP, None)?;
    println!("kernel {} ({})", picked.release, picked.version);
    publish(&vendor, &picked)?;
    let server = vendor.serve("127.0.0.1:0")?;
    let token = vendor.account("owner@localhost.localdomain")?;
    let shipped = ShippedKernel::fetch(&default_cache(), &archive, &picked.release)?;
    let guest = Guest::boot(machine(
        Guest::builder(&vendor, &server, &shipped)?,
        &vendor,
    )?)?;
    if suture_vm::is_emulated() {
        println!("the processor is emulated: times are several times those of a real one");
    }
    let enabled = guest.livepatch(&["enable", &token])?;
    anyhow::ensure!(enabled.success(), "{enabled:?}");
    here(&vendor, &server, &guest, &token)?;
    idle(&guest)?;
    times(&guest)?;
    server.stop()
}

/// The agent's own part on this machine's processor: a daemon in a folder that looks like the
/// guest does all but the kernel's part, which refuses.
fn here(vendor: &Vendor, server: &Server, guest: &Guest, token: &str) -> anyhow::Result<()> {
    let tree = tempfile::tempdir()?;
    let write = |path: &str, bytes: &[u8]| -> anyhow::Result<()> {
        let path = tree.path().join(path);
        std::fs::create_dir_all(path.parent().context("a file of a folder")?)?;
        Ok(std::fs::write(path, bytes)?)
    };
    for path in [
        "proc/sys/kernel/hostname",
        "proc/sys/kernel/osrelease",
        "proc/sys/kernel/random/boot_id",
        "proc/stat",
        "proc/uptime",
        "proc/cpuinfo",
        "sys/kernel/notes",
    ] {
        write(path, &guest.vm.read_file(&format!("/{path}"))?)?;
    }
    write("etc/machine-id", b"fedcba9876543210fedcba9876543210\n")?;
    write(
        "etc/livepatch/root.json",
        &std::fs::read(vendor.path("root.json"))?,
    )?;
    let settings = format!(
        "remote-server = \"{}\"\nca-certs = \"{}\"\n",
        server.url(),
        vendor.path("tls.crt").display()
    );
    write("etc/livepatch/config.d/50-vendor.toml", settings.as_bytes())?;
    std::fs::create_dir_all(tree.path().join("sys/kernel/livepatch"))?;
    let program = match std::env::args_os().nth(1) {
        Some(program) => program.into(),
        None => vendor.program("livepatch"),
    };
    let livepatch = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.arg("--root-dir").arg(tree.path()).args(arguments);
        command
    };
    let mut daemon = livepatch(&["daemon"]).stderr(Stdio::piped()).spawn()?;
    let log = daemon.stderr.take().context("the daemon has a log")?;
    let mut lines = BufReader::new(log).lines();
    anyhow::ensure!(
        lines.any(|line| line.is_ok_and(|line| line.contains("listening"))),
        "the daemon ended before it listened"
    );
    // What comes later in the log has to go somewhere.
    std::thread::spawn(move || lines.for_each(drop));
    let enabled = livepatch(&["enable", token]).output()?;
    anyhow::ensure!(enabled.status.success(), "{enabled:?}");
    let carried = tree.path().join("carried");
    let carried = carried.to_str().context("a path in UTF-8")?;
    let fetched = livepatch(&["fetch", "--output", carried]).output()?;
    anyhow::ensure!(fetched.status.success(), "{fetched:?}");
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let loaded = livepatch(&["load", carried]).output()?;
        times.push(i64::try_from(begun.elapsed().as_micros())?);
        let said = String::from_utf8_lossy(&loaded.stderr).into_owned();
        anyhow::ensure!(said.contains("the kernel refused"), "{loaded:?}");
    }
    let _ = kill_process(Pid::from_child(&daemon), Signal::TERM);
    daemon.wait()?;
    println!(
        "the agent's own part of `livepatch load`, on this processor, median of {ROUNDS}: {:.1} ms",
        median(times) as f64 / 1000.0
    );
    Ok(())
}

fn publish(vendor: &Vendor, picked: &Picked) -> anyhow::Result<()> {
    vendor.set_up_repository()?;
    vendor.write("advisory.json", SECCOMP.record.as_bytes())?;
    vendor.suture(&["module-key", "--output", "module-key"])?;
    let mut fix = vec![
        "fix",
        "--package",
        SECCOMP.package,
        "--from",
        &picked.version,
    ];
    fix.extend(["--to", &picked.fixed_version, "--output", "fix.diff"]);
    fix.extend(SECCOMP.files);
    vendor.suture(&fix)?;
    let build = [
        "build --patch-version 1.1 --fix fix.diff --advisory advisory.json",
        "--module-key module-key/module.key --module-certificate module-key/module.crt",
        "--output patch --kernel",
        picked.release.as_str(),
    ];
    let build = build.join(" ");
    let mut build: Vec<_> = build.split(' ').collect();
    build.extend(["--skip-smoke-test", "a benchmark"]);
    vendor.suture(&build)?;
    vendor.publish_untested("patch")?;
    Ok(())
}

fn machine(builder: VmBuilder, vendor: &Vendor) -> anyhow::Result<VmBuilder> {
    let module = std::fs::read(vendor.path("patch").join("livepatch.ko"))?;
    let bytes = |text: &str| FileSource::Bytes(text.into());
    let mut builder = builder
        .file("/root/suture_1_1.ko", FileSource::Bytes(module), 0o600)
        .file("/root/time", bytes(TIME_ONE), 0o755)
        .file("/root/look", bytes(LOOK), 0o755)
        .file(
            "/etc/livepatch/config.d/60-times.toml",
            bytes("settle-time = \"1s\"\n"),
            0o644,
        );
    if let Some(program) = std::env::args_os().nth(1) {
        builder = builder.file(
            "/usr/bin/livepatch",
            FileSource::Path(program.into()),
            0o755,
        );
    }
    Ok(builder)
}

fn idle(guest: &Guest) -> anyhow::Result<()> {
    // Settled, and the last look at it is over.
    run(guest, "sleep 40")?;
    let before = run(guest, "sh /root/look")?;
    run(guest, &format!("sleep {IDLE_SECONDS}"))?;
    let after = run(guest, "sh /root/look")?;
    println!("idle, KB (and context switches so far):");
    for (before, after) in before.lines().zip(after.lines()) {
        let switches = number(after, "Switches:")? - number(before, "Switches:")?;
        let process = match number(after, "Uid:")? {
            0 => "keeper",
            _ => "daemon",
        };
        println!("  {process}: {after}; woken {switches} times in {IDLE_SECONDS} s");
    }
    Ok(())
}

fn number(line: &str, key: &str) -> anyhow::Result<i64> {
    let word = line
        .split_whitespace()
        .find_map(|word| word.strip_prefix(key));
    Ok(word
        .with_context(|| format!("no {key} in `{line}`"))?
        .parse()?)
}

fn times(guest: &Guest) -> anyhow::Result<()> {
    run(guest, "livepatch fetch --output /root/carried")?;
    run(
        guest,
        "cd /sys/kernel/livepatch; echo 0 >suture_1_1/enabled; while [ -e suture_1_1 ]; do \
         usleep 2000; done; until rmmod suture_1_1 2>/dev/null; do usleep 2000; done",
    )?;
    let (mut bare, mut agent) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(time(guest, "insmod /root/suture_1_1.ko")?);
        agent.push(time(guest, "livepatch load /root/carried")?);
    }
    let (bare, agent) = (median(bare), median(agent));
    println!(
        "until the patch is in force, median of {ROUNDS}: insmod {bare} ms, livepatch {agent} ms, \
         {} ms more, ratio {:.2}",
        agent - bare,
        agent as f64 / bare as f64
    );
    Ok(())
}

/// In milliseconds, to ten.
fn time(guest: &Guest, command: &str) -> anyhow::Result<i64> {
    let printed = run(guest, &format!("sh /root/time '{command}'"))?;
    let hundredths: i64 = printed.trim().parse().with_context(|| printed.clone())?;
    Ok(10 * hundredths)
}

fn median(mut times: Vec<i64>) -> i64 {
    times.sort_unstable();
    times[times.len() / 2]
}

fn run(guest: &Guest, script: &str) -> anyhow::Result<String> {
    let command = guest.vm.command(&["sh", "-c", script]);
    let output = command.timeout(Duration::from_secs(300)).run()?;
    anyhow::ensure!(
        output.success(),
        "`{script}`: {output:?}\n{}",
        guest.daemon_log()
    );
    Ok(output.stdout)
}
