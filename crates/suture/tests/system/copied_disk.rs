//! A machine's disk is copied, and both run at once.

use suture::scenario::{Guest, Server};

use crate::site::{Site, assert_kernel_is_well};

const OWNER: &str = "owner@localhost.localdomain";

/// Check-ins of each after which the service must have told them apart.
const ROUNDS: u32 = 4;

#[test]
fn a_copied_disk_becomes_a_machine_of_its_own() -> anyhow::Result<()> {
    let site = Site::new()?;
    let server = site.serve()?;
    let token = site.vendor.account(OWNER)?;
    let original = boot(&site, &server, "disk")?;
    let enabled = original.livepatch(&["enable", &token])?;
    assert!(enabled.success(), "{enabled:?}\n{}", original.daemon_log());
    let id = machine_id(&original)?;
    original.stop_daemon()?;
    original.vm.shutdown()?;
    std::fs::copy(site.vendor.path("disk"), site.vendor.path("copy"))?;

    let both = [boot(&site, &server, "disk")?, boot(&site, &server, "copy")?];
    for guest in &both {
        assert_eq!(machine_id(guest)?, id);
    }
    let mut rounds = 0;
    while machines(&site)?.len() < 2 {
        rounds += 1;
        assert!(rounds <= ROUNDS, "they are one machine still");
        both.iter().try_for_each(refresh)?;
    }
    both.iter().try_for_each(refresh)?;
    let ids = [machine_id(&both[0])?, machine_id(&both[1])?];
    assert!(
        ids[0] != ids[1] && ids.contains(&id),
        "{ids:?}, {id} before"
    );
    let known = machines(&site)?;
    assert!(
        known.len() == 2 && ids.iter().all(|id| known.contains(id)),
        "{known:?}, {ids:?}"
    );
    for guest in &both {
        let check = guest.status()?["Status"][0]["Livepatch"]["CheckState"].clone();
        assert_eq!(check, "checked");
        assert_kernel_is_well(guest);
    }
    server.stop()
}

/// A machine with the agent's files on this disk.
fn boot(site: &Site, server: &Server, disk: &str) -> anyhow::Result<Guest> {
    let machine = site.machine(server)?;
    Guest::boot(machine.disk(site.vendor.path(disk), "/var/lib/livepatch"))
}

fn refresh(guest: &Guest) -> anyhow::Result<()> {
    let refreshed = guest.livepatch(&["refresh"])?;
    anyhow::ensure!(refreshed.success(), "{refreshed:?}\n{}", guest.daemon_log());
    Ok(())
}

/// As its owner reads it.
fn machine_id(guest: &Guest) -> anyhow::Result<String> {
    let id = guest.status()?["Machine-Id"].clone();
    Ok(id.as_str().unwrap_or_default().to_owned())
}

/// Ids of the account's machines, as the service knows them.
fn machines(site: &Site) -> anyhow::Result<Vec<String>> {
    let listed = site.vendor.suture(&["admin", "machines", OWNER])?;
    let id = |line: &str| line.split('\t').next().map(str::to_owned);
    Ok(listed.lines().filter_map(id).collect())
}
