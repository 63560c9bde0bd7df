//! A free account has three machines.

use suture::scenario::Guest;

use crate::site::{Site, assert_nothing_loaded, assert_refused};

/// Makes the guest another machine: other machine id, other state. What the machine before it
/// kept is put aside under its number, and taken back by the same call.
fn become_machine(guest: &Guest, number: u32, before: u32) -> anyhow::Result<()> {
    guest.stop_daemon()?;
    let script = format!(
        "set -e; \
         [ {before} = 0 ] || mv /var/lib/livepatch /var/lib/machine-{before}; \
         [ ! -d /var/lib/machine-{number} ] || mv /var/lib/machine-{number} /var/lib/livepatch; \
         printf '%032x\\n' {number} > /etc/machine-id"
    );
    let changed = guest.vm.shell(&script)?;
    anyhow::ensure!(changed.success(), "{changed:?}");
    guest.start_daemon()
}

#[test]
fn the_fourth_machine_needs_room() -> anyhow::Result<()> {
    let site = Site::new()?;
    let server = site.serve()?;
    let token = site.vendor.account("owner@localhost.localdomain")?;
    let guest = Guest::boot(site.machine(&server)?)?;
    for number in 1..=3 {
        become_machine(&guest, number, number - 1)?;
        let enabled = guest.livepatch(&["enable", &token])?;
        assert!(
            enabled.success(),
            "machine {number}: {enabled:?}\n{}",
            guest.daemon_log()
        );
    }
    become_machine(&guest, 4, 3)?;
    let fourth = guest.livepatch(&["enable", &token])?;
    assert_refused(&fourth, &["3 machines", "livepatch disable", "operator"]);
    assert_eq!(
        guest.livepatch(&["status"])?.status,
        1,
        "the fourth is not enabled"
    );

    become_machine(&guest, 2, 4)?;
    let disabled = guest.livepatch(&["disable"])?;
    assert!(disabled.success(), "{disabled:?}");
    become_machine(&guest, 4, 2)?;
    let fourth = guest.livepatch(&["enable", &token])?;
    assert!(fourth.success(), "{fourth:?}");

    // Nothing was published for this kernel: that is told, and is no failure.
    let status = guest.status()?;
    assert_eq!(status["Status"][0]["Supported"], "unsupported");
    assert_nothing_loaded(&guest);
    let machines = site
        .vendor
        .suture(&["admin", "machines", "owner@localhost.localdomain"])?;
    assert_eq!(machines.lines().count(), 3, "{machines}");
    server.stop()
}
