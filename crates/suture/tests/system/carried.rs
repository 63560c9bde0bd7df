//! A patch is carried in a folder to a machine without a server and without a network.

use suture::scenario::{Guest, Probe, SECCOMP};
use suture_vm::probe::Verdict;

use crate::site::{Site, assert_kernel_is_well, assert_nothing_loaded, assert_refused};

#[test]
fn a_patch_from_a_folder_closes_the_hole_without_a_server() -> anyhow::Result<()> {
    let site = Site::new()?;
    site.build_seccomp("1.1", "patch")?;
    site.vendor.publish_untested("patch")?;
    let server = site.serve()?;
    let token = site.vendor.account("owner@localhost.localdomain")?;
    let seccomp = Probe::compile(&SECCOMP, &site.vendor.path("probes"))?;
    let machine = seccomp.install(site.machine(&server)?);
    let guest = Guest::boot(machine.disk(site.vendor.path("disk"), "/media/usb"))?;

    // The source is open to everyone, the module to enabled machines.
    let fetch = ["fetch", "--output", "/media/usb/patch"];
    assert_refused(&guest.livepatch(&fetch)?, &["enabled machines", "--source"]);
    let source = guest
        .vm
        .command(&["livepatch", "fetch", "--source", "--output", "/tmp/source"])
        .uid(1000)
        .run()?;
    assert!(
        source.success() && source.stdout.contains(".tar.gz"),
        "{source:?}"
    );
    let enabled = guest.livepatch(&["enable", &token])?;
    assert!(enabled.success(), "{enabled:?}\n{}", guest.daemon_log());
    let fetched = guest.livepatch(&fetch)?;
    assert!(fetched.success(), "{fetched:?}");
    assert!(fetched.stdout.starts_with("Patch 1.1 for"), "{fetched:?}");
    assert_refused(&guest.livepatch(&fetch)?, &["name a new folder"]);
    let disabled = guest.livepatch(&["disable"])?;
    assert!(disabled.success(), "{disabled:?}");

    // A machine that never heard of the server, with the medium.
    guest.vm.set_link(false)?;
    guest.vm.reboot()?;
    guest.start_daemon()?;
    assert_nothing_loaded(&guest);
    assert_eq!(guest.ask(&seccomp)?, Verdict::Open);
    let load = ["load", "/media/usb/patch"];
    let user = guest
        .vm
        .command(&["livepatch", "load", "/media/usb/patch"])
        .uid(1000)
        .run()?;
    assert_refused(&user, &["only root"]);
    assert_refused(
        &guest.livepatch(&["load", "/media"])?,
        &["cannot read the patch in `/media`"],
    );
    let loaded = guest.livepatch(&load)?;
    assert!(loaded.success(), "{loaded:?}\n{}", guest.daemon_log());
    assert_eq!(guest.loaded_patches()?, ["suture_1_1"]);
    assert_eq!(guest.ask(&seccomp)?, Verdict::Closed);
    let status = guest.livepatch(&["status"])?;
    assert!(
        status.stderr.contains("Live patch 1.1 is in force"),
        "{status:?}"
    );
    assert_kernel_is_well(&guest);
    server.stop()
}
