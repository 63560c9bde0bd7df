//! The whole way of one fix, and the module built again from its source archive.

use suture::scenario::{Guest, Probe, SECCOMP};
use suture_vm::probe::Verdict;

use crate::site::{Site, assert_kernel_is_well, assert_nothing_loaded};

const EMAIL: &str = "owner@localhost.localdomain";

#[test]
fn a_hole_is_closed_without_a_reboot() -> anyhow::Result<()> {
    let site = Site::new()?;
    let built = site.build_seccomp_tested("1.1", "patch")?;
    assert!(built.contains("smoke test passed"), "{built}");
    site.vendor.publish("patch")?;
    let server = site.serve()?;
    let token = site.vendor.account(EMAIL)?;
    let probe = Probe::compile(&SECCOMP, &site.vendor.path("probes"))?;
    let guest = Guest::boot(probe.install(site.machine(&server)?))?;

    let before = guest.livepatch(&["status"])?;
    assert_eq!(before.status, 1);
    assert!(
        before.stderr.contains("Machine is not enabled"),
        "{}",
        before.stderr
    );
    assert_eq!(guest.ask(&probe)?, Verdict::Open);
    assert_nothing_loaded(&guest);

    let boot_id = guest.vm.boot_id();
    let enabled = guest.livepatch(&["enable", &token])?;
    assert!(enabled.success(), "{enabled:?}\n{}", guest.daemon_log());
    assert_eq!(guest.ask(&probe)?, Verdict::Closed);
    assert_eq!(guest.vm.boot_id(), boot_id);
    assert_eq!(guest.loaded_patches()?, ["suture_1_1"]);
    let sysfs = guest
        .vm
        .shell("cd /sys/kernel/livepatch/suture_1_1; cat enabled transition")?;
    assert_eq!(sysfs.stdout, "1\n0\n");

    let status = guest.status()?;
    let livepatch = &status["Status"][0]["Livepatch"];
    assert_eq!(livepatch["State"], "applied");
    assert_eq!(livepatch["CheckState"], "checked");
    assert_eq!(livepatch["Version"], "1.1");
    assert_eq!(
        livepatch["Fixes"][0]["Name"]
            .as_str()
            .map(str::to_uppercase)
            .as_deref(),
        Some(SECCOMP.cve)
    );
    assert_eq!(livepatch["Fixes"][0]["Patched"], true);
    assert_eq!(status["Status"][0]["Kernel"], site.picked.release.as_str());
    let alias = guest.vm.shell("canonical-livepatch status --format yaml")?;
    assert!(alias.stdout.contains("patchState: applied"), "{alias:?}");
    // Status is for everyone, the rest for root only, and the token is nowhere to be seen.
    let user = guest.vm.command(&["livepatch", "status"]).uid(1000).run()?;
    assert!(user.success(), "{user:?}");
    let user = guest
        .vm
        .command(&["livepatch", "refresh"])
        .uid(1000)
        .run()?;
    assert!(!user.success(), "{user:?}");
    let everywhere = format!("{}{}{}", guest.daemon_log(), guest.vm.console(), status);
    assert!(!everywhere.contains(&token));

    let machines = site.vendor.suture(&["admin", "machines", EMAIL])?;
    assert!(
        machines.contains(site.picked.release.as_str()),
        "{machines}"
    );
    assert_kernel_is_well(&guest);
    server.stop()
}
