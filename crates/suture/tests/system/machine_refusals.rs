//! What a machine does not load, whoever offers it.

use std::path::{Path, PathBuf};

use suture::scenario::{Guest, Probe, SECCOMP};
use suture_factory::sha256_hex;
use suture_protocol::{Manifest, TargetKind, TargetName};
use suture_repository::{Content, NewTarget, Publisher};
use suture_vm::probe::Verdict;

use crate::site::{
    Site, assert_kernel_is_well, assert_nothing_loaded, assert_refused, copy_folder,
};

#[test]
fn nothing_that_is_not_proven_is_loaded() -> anyhow::Result<()> {
    let site = Site::new()?;
    site.build_seccomp("1.1", "patch")?;
    let server = site.serve()?;
    let token = site.vendor.account("owner@localhost.localdomain")?;
    let probe = Probe::compile(&SECCOMP, &site.vendor.path("probes"))?;
    let machine = probe.install(site.machine(&server)?);
    let guest = Guest::boot(machine.disk(site.vendor.path("disk"), "/var/lib/livepatch"))?;

    // A token that nobody issued.
    let refused = guest.livepatch(&[
        "enable",
        "suture_t_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    ])?;
    assert_refused(&refused, &["Unknown Auth-Token"]);
    assert_nothing_loaded(&guest);
    let enabled = guest.livepatch(&["enable", &token])?;
    assert!(enabled.success(), "{enabled:?}");

    // A module that was made for another kernel build, published for this one by mistake.
    publish_for_wrong_build(&site)?;
    assert_refused(
        &guest.livepatch(&["refresh"])?,
        &["built for kernel", site.picked.release.as_str()],
    );
    assert_nothing_loaded(&guest);

    // A module altered by one byte where it is served from. The daemon tries again by itself soon
    // after a refusal, so nothing may be in order even for a moment: it is altered before the
    // server has it.
    site.build_seccomp("2.1", "second")?;
    let (repository, next) = (site.vendor.path("repository"), site.vendor.path("next"));
    copy_folder(&repository, &next)?;
    site.vendor.publish_untested_to("next", "second")?;
    let altered = module_in(&next, "2.1")?;
    let good = std::fs::read(&altered)?;
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&altered, bad)?;
    std::fs::rename(&repository, site.vendor.path("before"))?;
    std::fs::rename(&next, &repository)?;
    assert_refused(&guest.livepatch(&["refresh"])?, &["_2.1.ko"]);
    assert_nothing_loaded(&guest);

    // Metadata whose time is over. The good module is put back when a round that may have begun
    // before is over, which the first refresh waits for.
    let refresh = [
        "repository",
        "refresh",
        "--repository",
        "repository",
        "--keys",
        "keys",
    ];
    let expired = [&refresh[..], &["--timestamp-expires-secs", "-60"]].concat();
    site.vendor.suture(&expired)?;
    assert_refused(&guest.livepatch(&["refresh"])?, &["timestamp", "expired"]);
    std::fs::write(module_in(&repository, "2.1")?, good)?;
    assert_refused(&guest.livepatch(&["refresh"])?, &["timestamp", "expired"]);
    assert_nothing_loaded(&guest);
    assert_eq!(guest.ask(&probe)?, Verdict::Open);

    // Signed again, the same is taken.
    site.vendor.suture(&refresh)?;
    let refreshed = guest.livepatch(&["refresh"])?;
    assert!(refreshed.success(), "{refreshed:?}\n{}", guest.daemon_log());
    assert_eq!(guest.loaded_patches()?, ["suture_2_1"]);
    assert_eq!(guest.ask(&probe)?, Verdict::Closed);
    assert_kernel_is_well(&guest);
    server.stop()
}

#[test]
fn metadata_of_an_older_version_is_not_taken_again() -> anyhow::Result<()> {
    let site = Site::new()?;
    site.build_seccomp("1.1", "first")?;
    site.vendor.publish_untested("first")?;
    let (repository, old) = (site.vendor.path("repository"), site.vendor.path("old"));
    copy_folder(&repository, &old)?;
    site.build_seccomp("2.1", "second")?;
    site.vendor.publish_untested("second")?;
    let server = site.serve()?;
    let token = site.vendor.account("owner@localhost.localdomain")?;
    let machine = site.machine(&server)?;
    let guest = Guest::boot(machine.disk(site.vendor.path("disk"), "/var/lib/livepatch"))?;
    let enabled = guest.livepatch(&["enable", &token])?;
    assert!(enabled.success(), "{enabled:?}\n{}", guest.daemon_log());
    assert_eq!(guest.loaded_patches()?, ["suture_2_1"]);

    // The machine restarts without its cached module, and is offered yesterday's repository.
    let removed = guest
        .vm
        .shell("rm /var/lib/livepatch/targets/*.ko && sync")?;
    assert!(removed.success(), "{removed:?}");
    std::fs::rename(&repository, site.vendor.path("new"))?;
    std::fs::rename(&old, &repository)?;
    guest.vm.reboot()?;
    guest.start_daemon()?;
    assert_refused(&guest.livepatch(&["refresh"])?, &["older"]);
    assert_nothing_loaded(&guest);

    // Today's is taken.
    std::fs::rename(&repository, &old)?;
    std::fs::rename(site.vendor.path("new"), &repository)?;
    let refreshed = guest.livepatch(&["refresh"])?;
    assert!(refreshed.success(), "{refreshed:?}\n{}", guest.daemon_log());
    assert_eq!(guest.loaded_patches()?, ["suture_2_1"]);
    server.stop()
}

/// As under Secure Boot: the kernel takes only modules that a key of its own signed, because it
/// was told so or because it is locked down.
#[test]
fn a_kernel_that_wants_its_own_signatures_says_how_to_enrol_a_key() -> anyhow::Result<()> {
    let site = Site::new()?;
    site.build_seccomp("1.1", "patch")?;
    site.vendor.publish_untested("patch")?;
    let server = site.serve()?;
    let token = site.vendor.account("owner@localhost.localdomain")?;
    for (number, argument) in ["module.sig_enforce=1", "lockdown=integrity"]
        .into_iter()
        .enumerate()
    {
        let machine = site.machine(&server)?.kernel_argument(argument);
        let disk = site.vendor.path(&format!("disk-{number}"));
        let guest = Guest::boot(machine.disk(disk, "/var/lib/livepatch"))?;
        let enabled = guest.livepatch(&["enable", &token])?;
        assert!(enabled.success(), "it is enabled all the same: {enabled:?}");
        assert_refused(
            &guest.livepatch(&["refresh"])?,
            &["the kernel refused the module", "mokutil --import"],
        );
        assert_nothing_loaded(&guest);
        let shown = guest.livepatch(&["status"])?;
        assert!(shown.stdout.contains("mokutil --import"), "{shown:?}");
        let status = guest.status()?;
        assert_eq!(status["Status"][0]["Livepatch"]["State"], "apply-failed");
    }
    server.stop()
}

/// The file of a version's module in a repository's folder.
fn module_in(repository: &Path, version: &str) -> anyhow::Result<PathBuf> {
    let end = format!("_{version}.ko");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(repository.join("targets"))? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(&end) {
            found.push(path);
        }
    }
    anyhow::ensure!(found.len() == 1, "{found:?}");
    Ok(found.remove(0))
}

/// Publishes version 1.1 with a module whose own facts name another build id. `suture publish`
/// would notice, so this goes to the repository directly.
fn publish_for_wrong_build(site: &Site) -> anyhow::Result<()> {
    let folder = site.vendor.path("patch");
    let mut manifest: Manifest =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json"))?)?;
    let mut module = std::fs::read(folder.join("livepatch.ko"))?;
    let own = manifest.kernel.build_id.as_str().as_bytes().to_vec();
    let other: Vec<u8> = own.iter().rev().copied().collect();
    let at = module.windows(own.len()).position(|window| window == own);
    let at = at.ok_or_else(|| anyhow::anyhow!("the module does not name its build id"))?;
    module[at..at + own.len()].copy_from_slice(&other);
    manifest.module.file.sha256 = sha256_hex(&module);
    let target = |kind, content: Vec<u8>| NewTarget {
        name: TargetName {
            kernel: manifest.kernel.clone(),
            version: manifest.version,
            kind,
        },
        content: Content::Bytes(content),
        fixes: vec![],
    };
    let targets = vec![
        target(TargetKind::Manifest, serde_json::to_vec(&manifest)?),
        target(
            TargetKind::Source,
            std::fs::read(folder.join("source.tar.gz"))?,
        ),
        target(TargetKind::Module, module),
    ];
    let publisher = Publisher::new(site.vendor.path("repository"), site.vendor.path("keys"));
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(publisher.publish(targets, manifest.created))?;
    Ok(())
}
