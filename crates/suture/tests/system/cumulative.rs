//! A second version with a fix in a loadable module replaces the first; the module comes and
//! goes; after a restart the machine protects itself without the network.

use suture::scenario::{Guest, PHONET, Probe, SECCOMP};
use suture_vm::probe::Verdict;

use crate::site::{Site, assert_kernel_is_well};

const OWNER: &str = "owner@localhost.localdomain";

const BOTH_FIXES: [&str; 12] = [
    "--fix",
    "seccomp.diff",
    "--advisory",
    "seccomp.json",
    "--fix",
    "phonet.diff",
    "--advisory",
    "phonet.json",
    "--severity",
    "CVE-2026-90327=high",
    "--rated-by",
    "Debian",
];

#[test]
fn a_later_version_replaces_the_first_and_follows_modules() -> anyhow::Result<()> {
    let site = Site::new()?;
    site.build_seccomp("1.1", "first")?;
    site.vendor.publish_untested("first")?;
    let server = site.serve()?;
    let token = site.vendor.account(OWNER)?;
    let seccomp = Probe::compile(&SECCOMP, &site.vendor.path("probes"))?;
    let phonet = Probe::compile(&PHONET, &site.vendor.path("probes"))?;
    let mut machine = seccomp.install(phonet.install(site.machine(&server)?));
    for module in PHONET.modules {
        machine = machine.module_file(module);
    }
    let guest = Guest::boot(machine.disk(site.vendor.path("disk"), "/var/lib/livepatch"))?;
    let enabled = guest.livepatch(&["enable", &token])?;
    assert!(enabled.success(), "{enabled:?}\n{}", guest.daemon_log());
    assert_eq!(guest.loaded_patches()?, ["suture_1_1"]);

    // The module is there before the patch of it.
    load_module(&guest)?;
    assert_eq!(guest.ask(&phonet)?, Verdict::Open);
    site.make_fix(&PHONET, "phonet.diff")?;
    site.build("2.1", "second", &BOTH_FIXES)?;
    site.vendor.publish_untested("second")?;
    wait_for_promotion(&site, &guest)?;
    assert_eq!(guest.loaded_patches()?, ["suture_2_1"], "atomic replace");
    assert_eq!(guest.ask(&phonet)?, Verdict::Closed);
    assert_eq!(guest.ask(&seccomp)?, Verdict::Closed);

    // It goes and comes back, twice: the patch is put into each new copy of the module.
    for _ in 0..2 {
        unload_module(&guest)?;
        load_module(&guest)?;
        assert_eq!(guest.ask(&phonet)?, Verdict::Closed);
    }
    let status = guest.status()?;
    let livepatch = &status["Status"][0]["Livepatch"];
    assert_eq!(livepatch["Version"], "2.1");
    assert_eq!(livepatch["Fixes"].as_array().map(Vec::len), Some(2));
    assert_kernel_is_well(&guest);

    restart_without_network(&guest, &seccomp, &phonet)?;
    server.stop()
}

/// The machine follows a channel, to which the second version comes later.
fn wait_for_promotion(site: &Site, guest: &Guest) -> anyhow::Result<()> {
    let machines = site.vendor.suture(&["admin", "machines", OWNER])?;
    let machine = machines.split('\t').next().unwrap_or_default();
    let admin = |words: &[&str]| site.vendor.suture(&[&["admin"][..], words].concat());
    admin(&["group", OWNER, machine, "production"])?;
    admin(&["policy", "production", "--channel", "stable"])?;
    let refreshed = guest.livepatch(&["refresh"])?;
    assert!(refreshed.success(), "{refreshed:?}\n{}", guest.daemon_log());
    assert_eq!(guest.loaded_patches()?, ["suture_1_1"], "not promoted");
    let status = guest.livepatch(&["status"])?.stdout;
    for words in ["tier: free, channel stable", "2.1 would be next"] {
        assert!(status.contains(words), "{status}");
    }
    admin(&["promote", "2.1", "stable"])?;
    let refreshed = guest.livepatch(&["refresh"])?;
    assert!(refreshed.success(), "{refreshed:?}\n{}", guest.daemon_log());
    Ok(())
}

/// After the restart the module is not there when the patch is applied, and loaded afterwards.
fn restart_without_network(guest: &Guest, seccomp: &Probe, phonet: &Probe) -> anyhow::Result<()> {
    let boot_id = guest.vm.boot_id();
    guest.vm.set_link(false)?;
    guest.vm.reboot()?;
    assert_ne!(guest.vm.boot_id(), boot_id);
    assert_eq!(
        guest.ask(seccomp)?,
        Verdict::Open,
        "a patch lives in memory only"
    );
    guest.start_daemon()?;
    wait_until_applied(guest)?;
    assert_eq!(guest.loaded_patches()?, ["suture_2_1"]);
    assert_eq!(guest.ask(seccomp)?, Verdict::Closed);
    load_module(guest)?;
    assert_eq!(guest.ask(phonet)?, Verdict::Closed);
    unload_module(guest)?;
    load_module(guest)?;
    assert_eq!(guest.ask(phonet)?, Verdict::Closed);

    // The network is another matter than the patch, and status keeps them apart.
    let refreshed = guest.livepatch(&["refresh"])?;
    assert!(!refreshed.success(), "{refreshed:?}");
    let livepatch = guest.status()?["Status"][0]["Livepatch"].clone();
    assert_eq!(livepatch["CheckState"], "check-failed");
    assert_eq!(livepatch["State"], "applied");
    assert_kernel_is_well(guest);
    Ok(())
}

/// The daemon applies by itself; the kernel's word is waited for, with a deadline in the guest.
fn wait_until_applied(guest: &Guest) -> anyhow::Result<()> {
    // A patch is in sysfs, without a transition, already before it is enabled.
    let script = "cd /sys/kernel/livepatch; n=0; \
                  until [ \"$(cat suture_2_1/enabled suture_2_1/transition 2>/dev/null | xargs)\" = '1 0' ]; \
                  do n=$((n + 1)); [ $n -lt 600 ] || exit 1; usleep 100000; done";
    let waited = guest.vm.shell(script)?;
    anyhow::ensure!(
        waited.success(),
        "the cached patch was not applied:\n{}",
        guest.daemon_log()
    );
    Ok(())
}

fn load_module(guest: &Guest) -> anyhow::Result<()> {
    let loaded = guest
        .vm
        .shell("modprobe pn_pep && grep -q '^pn_pep ' /proc/modules")?;
    anyhow::ensure!(
        loaded.success(),
        "pn_pep: {loaded:?}\n{}",
        guest.vm.console()
    );
    Ok(())
}

fn unload_module(guest: &Guest) -> anyhow::Result<()> {
    let unloaded = guest
        .vm
        .shell("rmmod pn_pep && ! grep -q '^pn_pep ' /proc/modules")?;
    anyhow::ensure!(unloaded.success(), "pn_pep: {unloaded:?}");
    Ok(())
}
