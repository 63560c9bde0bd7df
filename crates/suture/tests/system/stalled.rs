//! A transition that a stopped task holds open: told, taken back, and made up for later.

use std::time::Duration;

use suture::scenario::{Guest, Probe, SECCOMP};
use suture_vm::FileSource;
use suture_vm::probe::{self, Verdict};

use crate::site::{Site, assert_kernel_is_well};

const HOLDER: &str = include_str!("../../../../probes/hold-syscall-entry.c");

/// Seconds, so that a test sees in a minute what a machine bears for an hour.
const TIMES: &str = "transition-timeout = \"5s\"\nreverse-after = \"60s\"\n";

#[test]
fn a_task_that_never_leaves_the_old_code_is_named_and_the_patch_taken_back() -> anyhow::Result<()> {
    let site = Site::new()?;
    site.build_seccomp("1.1", "patch")?;
    site.vendor.publish_untested("patch")?;
    let server = site.serve()?;
    let token = site.vendor.account("owner@localhost.localdomain")?;
    let folder = site.vendor.path("probes");
    let seccomp = Probe::compile(&SECCOMP, &folder)?;
    let source = folder.join("holder.c");
    std::fs::write(&source, HOLDER)?;
    let holder = probe::compile(&source, &folder)?;
    let machine = seccomp
        .install(site.machine(&server)?)
        .file("/usr/bin/holder", FileSource::Path(holder), 0o755)
        .file(
            "/etc/livepatch/config.d/60-times.toml",
            FileSource::Bytes(TIMES.into()),
            0o644,
        );
    let guest = Guest::boot(machine)?;
    let holder = hold(&guest)?;

    // The machine is enabled, its first patch waits for the task, and that is told with names.
    let enabled = guest.livepatch(&["enable", &token])?;
    assert!(enabled.success(), "{enabled:?}\n{}", guest.daemon_log());
    assert!(
        enabled
            .stderr
            .contains("still in transition after 5 seconds"),
        "{enabled:?}"
    );
    let livepatch = guest.status()?["Status"][0]["Livepatch"].clone();
    assert_eq!(livepatch["State"], "applying", "{livepatch}");
    let task = &livepatch["Transition"]["Tasks"][0];
    assert_eq!(task["Name"], "holder", "{livepatch}");
    assert_eq!(task["State"], "t (tracing stop)");
    let function = task["Functions"][0].as_str().unwrap_or_default();
    assert!(function.starts_with("syscall_trace_enter"), "{livepatch}");
    let user = guest.vm.command(&["livepatch", "status"]).uid(1000).run()?;
    assert!(user.stdout.contains("held by task"), "{user:?}");

    // It is taken back, and the kernel runs what it ran before. Nobody can tell whether a system
    // call still reads a constant of the module, so that one stays in memory.
    wait_in_guest(&guest, "! [ -e /sys/kernel/livepatch/suture_1_1 ]")?;
    wait_in_guest(
        &guest,
        "livepatch status --format json | grep -q '\"failed\"'",
    )?;
    assert!(
        guest
            .vm
            .shell("grep -q '^suture_1_1 ' /proc/modules")?
            .success()
    );
    assert_eq!(guest.loaded_patches()?, Vec::<String>::new());
    let status = guest.status()?;
    assert_eq!(status["Stage"], "failed", "{status}");
    let livepatch = &status["Status"][0]["Livepatch"];
    assert_eq!(livepatch["State"], "apply-failed");
    let failure = livepatch["Failure"].as_str().unwrap_or_default();
    assert!(failure.contains("holder"), "{failure}");
    assert_eq!(guest.ask(&seccomp)?, Verdict::Open);

    // The debugger goes; the same version goes in when it is asked for.
    let ended = guest.vm.shell(&format!("kill {holder}"))?;
    assert!(ended.success(), "{ended:?}");
    let refreshed = guest.livepatch(&["refresh"])?;
    assert!(refreshed.success(), "{refreshed:?}\n{}", guest.daemon_log());
    assert_eq!(guest.loaded_patches()?, ["suture_1_1"]);
    assert_eq!(guest.ask(&seccomp)?, Verdict::Closed);
    assert_kernel_is_well(&guest);
    server.stop()
}

/// Leaves a task stopped in the entry of a system call; returns the id of who holds it there.
fn hold(guest: &Guest) -> anyhow::Result<u32> {
    let log = "/var/log/holder.log";
    let holder = guest.vm.spawn_shell("holder", log)?;
    wait_in_guest(guest, &format!("grep -q ^held {log}"))?;
    Ok(holder)
}

/// Waits until a condition of shell holds in the guest, four minutes at most: a reversal waits for
/// tasks as well, and a busy emulator is slow.
fn wait_in_guest(guest: &Guest, condition: &str) -> anyhow::Result<()> {
    let script = format!(
        "n=0; until {condition}; do n=$((n + 1)); [ $n -lt 2400 ] || exit 1; usleep 100000; done"
    );
    let waited = guest
        .vm
        .command(&["sh", "-c", &script])
        .timeout(Duration::from_secs(480))
        .run()?;
    anyhow::ensure!(
        waited.success(),
        "`{condition}` does not come true:\n{}",
        guest.daemon_log()
    );
    Ok(())
}
