//! A bad version is halted by what its first machine tells; the others never get it; a way back
//! reaches them all.

use suture::scenario::{Guest, Server};
use suture_vm::CommandOutput;

use crate::site::{Site, assert_kernel_is_well};

const EMAIL: &str = "owner@localhost.localdomain";

/// One machine of four first, then everyone; times as short as a virtual machine allows, but for
/// the first step's, which is the bad version's time to show what it is.
fn plan(soak_secs: u32) -> String {
    format!(
        r#"
name = "one-then-all"
signal_secs = 2
silence_secs = 10800
settled_share = 1.0
heard_share = 1.0
alpha = 0.01
hold_at = 4.0

[early_group]
share = 0.25
unit = "machine"
eligible = "everyone"

[[steps]]
share = 0.25
early_only = true
soak_secs = {soak_secs}

[[steps]]
share = 1.0
soak_secs = 4

[tolerated]
apply_failure = 0.01
stall = 0.02
patch_trouble_per_hour = 1e-6
"#
    )
}

const MACHINES: usize = 4;

fn ok(output: CommandOutput, guest: &Guest) -> anyhow::Result<CommandOutput> {
    anyhow::ensure!(output.success(), "{output:?}\n{}", guest.daemon_log());
    Ok(output)
}

/// Boots the machines and enables them.
fn boot_all(site: &Site, server: &Server, token: &str) -> anyhow::Result<Vec<Guest>> {
    let boot = |number: usize| -> anyhow::Result<Guest> {
        let machine = site
            .machine(server)?
            .machine_id(&format!("{:032x}", number + 1))
            .hostname(&format!("web-{number}"));
        let guest = Guest::boot(machine)?;
        ok(guest.livepatch(&["enable", token])?, &guest)?;
        Ok(guest)
    };
    (0..MACHINES).map(boot).collect()
}

fn start(site: &Site, version: &str, plan: &str) -> anyhow::Result<()> {
    let of = ["--repository", "repository", "--plan", plan];
    let command = ["rollout", "start", version];
    site.vendor.suture(&[&command[..], &of[..]].concat())?;
    Ok(())
}

/// Waits until the rollout of a version has come to this phase. The server looks each second.
fn wait_for_phase(site: &Site, version: &str, phase: &str) -> anyhow::Result<serde_json::Value> {
    let waited = site.vendor.suture(&[
        "rollout",
        "show",
        version,
        "--wait",
        phase,
        "--timeout-secs",
        "120",
        "--format",
        "json",
    ])?;
    Ok(serde_json::from_str(&waited)?)
}

/// Asks for a refresh until the machines have this patch; the rollout decides when that is. All
/// are asked in turn: the others wait until the one that goes first was heard of again.
fn refresh_until(guests: &[Guest], patch: &str) -> anyhow::Result<()> {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(180);
    loop {
        let mut waiting = None;
        for guest in guests {
            ok(guest.livepatch(&["refresh"])?, guest)?;
            if guest.loaded_patches()? != [patch] {
                waiting = Some(guest);
            }
        }
        let Some(guest) = waiting else { return Ok(()) };
        anyhow::ensure!(
            std::time::Instant::now() < deadline,
            "{patch} does not come:\n{}",
            guest.daemon_log()
        );
    }
}

#[test]
fn a_bad_version_stops_at_its_first_machine() -> anyhow::Result<()> {
    let site = Site::new()?;
    site.vendor.write("quick.toml", plan(4).as_bytes())?;
    site.vendor.write("patient.toml", plan(600).as_bytes())?;
    let server = site.vendor.serve_with(
        "127.0.0.1:0",
        &[
            "--rollout-plan",
            "none",
            "--look-interval-secs",
            "5",
            "--check-in-interval-secs",
            "5",
        ],
    )?;
    let token = site.vendor.account(EMAIL)?;
    site.vendor
        .suture(&["admin", "account", "set-plan", EMAIL, "subscription"])?;
    let guests = boot_all(&site, &server, &token)?;

    // A good version reaches one machine, then all.
    site.build_seccomp("1.1", "first")?;
    site.vendor.publish_untested("first")?;
    start(&site, "1.1", "quick.toml")?;
    refresh_until(&guests, "suture_1_1")?;
    wait_for_phase(&site, "1.1", "complete")?;

    // The next one has a bug beside its fix: whoever reads /proc/version, which our agent
    // does not, meets a null pointer.
    site.edit_source(
        "fs/proc/version.c",
        "seq_printf(m, linux_proc_banner,",
        "WRITE_ONCE(*(int *)8, 1);\n\tseq_printf(m, linux_proc_banner,",
        "bug.diff",
    )?;
    let fixes = ["--fix", "seccomp.diff", "--fix", "bug.diff"];
    let both = [&fixes[..], &["--advisory", "seccomp.json"]].concat();
    site.build("2.1", "second", &both)?;
    site.vendor.publish_untested("second")?;
    start(&site, "2.1", "patient.toml")?;
    wait_for_phase(&site, "2.1", "running")?;
    for guest in &guests {
        ok(guest.livepatch(&["refresh"])?, guest)?;
    }
    let with_it = |guests: &[Guest]| -> anyhow::Result<Vec<usize>> {
        let mut found = Vec::new();
        for (number, guest) in guests.iter().enumerate() {
            if guest.loaded_patches()? == ["suture_2_1"] {
                found.push(number);
            }
        }
        Ok(found)
    };
    let exposed = with_it(&guests)?;
    assert_eq!(exposed.len(), 1, "one of the four is drawn");
    let first = &guests[exposed[0]];
    let status = first.livepatch(&["status"])?;
    assert!(status.stdout.contains("early group"), "{status:?}");
    let waiting = guests[(exposed[0] + 1) % MACHINES].livepatch(&["status"])?;
    assert!(waiting.stdout.contains("2.1"), "it is told: {waiting:?}");

    // The bug strikes. The agent sees it in the kernel's log and tells; the server decides.
    // An oops kills the task alone, as on a stock installation; our test machines panic otherwise.
    let read = first
        .vm
        .shell("echo 0 > /proc/sys/kernel/panic_on_oops; cat /proc/version")?;
    assert!(!read.success(), "{read:?}");
    assert!(first.vm.console().contains("[suture_2_1]"));
    let halted = wait_for_phase(&site, "2.1", "halted")?;
    assert_eq!(halted["counts"]["exposed"], 1, "{halted}");
    let sentence = halted["sentence"].as_str().unwrap_or_default();
    assert!(sentence.contains("names the patch"), "{sentence}");

    // However often they ask, the others never get it.
    for _ in 0..3 {
        for guest in &guests {
            ok(guest.livepatch(&["refresh"])?, guest)?;
        }
    }
    assert_eq!(with_it(&guests)?, exposed);

    // Withdrawn: the machine that has it is told, and keeps it.
    let reason = "reading /proc/version fails";
    site.vendor
        .suture(&["rollout", "withdraw", "2.1", "--reason", reason])?;
    ok(first.livepatch(&["refresh"])?, first)?;
    let status = first.livepatch(&["status"])?;
    assert!(status.stdout.contains(reason), "{status:?}");
    assert_eq!(first.loaded_patches()?, ["suture_2_1"]);
    let audit = site.vendor.suture(&["admin", "audit"])?;
    assert!(
        audit.contains("withdraw-rollout") && audit.contains(reason),
        "{audit}"
    );

    // The way back: the fixes of before under a later number, for everyone.
    let again = [
        "rebuild",
        "first/source.tar.gz",
        "--as",
        "3.1",
        "--instead-of",
        "second",
        "--skip-smoke-test",
        "this story is of something else",
        "--module-key",
        "module-key/module.key",
        "--module-certificate",
        "module-key/module.crt",
        "--output",
        "third",
    ];
    site.vendor.suture(&again)?;
    site.vendor.publish_untested("third")?;
    start(&site, "3.1", "quick.toml")?;
    refresh_until(&guests, "suture_3_1")?;
    let read = first.vm.shell("cat /proc/version")?;
    assert!(read.success(), "{read:?}");
    for guest in guests
        .iter()
        .enumerate()
        .filter(|(number, _)| !exposed.contains(number))
    {
        assert_kernel_is_well(guest.1);
    }

    // Anyone can check who was drawn, once it is over.
    wait_for_phase(&site, "3.1", "complete")?;
    let record = site.vendor.suture(&["rollout", "draw", "3.1"])?;
    site.vendor.write("draw.json", record.as_bytes())?;
    let verified = site.vendor.suture(&["rollout", "verify", "draw.json"])?;
    assert!(verified.contains("1 of 4"), "{verified}");
    server.stop()
}
