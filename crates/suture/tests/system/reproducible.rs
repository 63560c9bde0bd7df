//! What is published can be made again by anyone, with Suture and without it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Context as _;
use suture::scenario::{Guest, Probe, SECCOMP};
use suture_differ::object::Object;
use suture_factory::archive::{Archive, Package};
use suture_factory::{Log, default_cache};
use suture_protocol::Manifest;
use suture_vm::probe::Verdict;
use suture_vm::{FileSource, GuestKernel, Vm};

use crate::site::Site;

fn run(command: &mut Command) -> anyhow::Result<Output> {
    let output = command.output()?;
    anyhow::ensure!(output.status.success(), "{command:?}: {output:?}");
    Ok(output)
}

fn verify(site: &Site, module: &str) -> anyhow::Result<(Option<i32>, String)> {
    let output = Command::new(site.vendor.program("suture"))
        .args(["verify", module, "--source", "patch/source.tar.gz"])
        .current_dir(site.vendor.path(""))
        .output()?;
    let stdout = String::from_utf8(output.stdout)?;
    Ok((output.status.code(), stdout))
}

#[test]
fn a_published_module_is_built_again_to_the_same_bytes() -> anyhow::Result<()> {
    let site = Site::new()?;
    site.build_seccomp("1.1", "patch")?;
    let again = [
        "rebuild",
        "patch/source.tar.gz",
        "--output",
        "elsewhere/again",
    ];
    site.vendor.suture(&again)?;
    let manifest = |folder: &str| -> anyhow::Result<Manifest> {
        let path = site.vendor.path(folder).join("manifest.json");
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    };
    let (first, again) = (manifest("patch")?, manifest("elsewhere/again")?);
    assert_eq!(first.module.unsigned_sha256, again.module.unsigned_sha256);
    assert_eq!(first.source, again.source);
    assert_ne!(
        first.module.file, again.module.file,
        "only the published one is signed"
    );

    let (status, told) = verify(&site, "patch/livepatch.ko")?;
    assert_eq!(status, Some(0), "{told}");
    assert!(told.contains("before its signature"), "{told}");
    assert!(told.contains(&first.module.unsigned_sha256), "{told}");

    // One bit in the new code is enough.
    let mut bytes = std::fs::read(site.vendor.path("patch/livepatch.ko"))?;
    let needle = b"Live patch 1.1 for";
    let place = bytes
        .windows(needle.len())
        .position(|window| window == needle);
    bytes[place.context("the description of the module")?] ^= 1;
    site.vendor.write("other.ko", &bytes)?;
    let (status, told) = verify(&site, "other.ko")?;
    assert_eq!(status, Some(1), "{told}");
    assert!(told.contains("first in section `.modinfo`"), "{told}");
    Ok(())
}

/// The headers that the archive's README asks for, in a folder instead of the whole machine.
fn headers(site: &Site, root: &Path) -> anyhow::Result<PathBuf> {
    let release = site.picked.release.as_str();
    let archive = Archive::new(&default_cache(), Log::none());
    let flavour = format!("linux-headers-{release}");
    let base = release.rsplit_once('-').context("a flavour")?.0;
    let common = format!("linux-headers-{base}-common");
    let series = SECCOMP.package.trim_start_matches("linux-source-");
    let mut packages = vec![archive.newest(&format!("linux-kbuild-{series}"))?];
    packages.extend([&flavour, &common].map(|name| Package {
        name: name.clone(),
        version: site.picked.version.clone(),
    }));
    for package in &packages {
        run(Command::new("dpkg")
            .arg("-x")
            .arg(archive.fetch(package)?)
            .arg(root))?;
    }
    // The package names its other half by the place where it is installed.
    let folder = root.join("usr/src").join(&flavour);
    let makefile = std::fs::read_to_string(folder.join("Makefile"))?;
    let installed = format!("/usr/src/{common}");
    let here = root.join("usr/src").join(&common);
    let makefile = makefile.replace(&installed, &here.to_string_lossy());
    std::fs::write(folder.join("Makefile"), makefile)?;
    Ok(folder)
}

/// What our link and Kbuild's put into a module is the same, section by section; only the build
/// id, of the whole file, is not.
fn assert_same_content(ours: &[u8], by_hand: &[u8]) -> anyhow::Result<()> {
    let content = |bytes: &[u8]| -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
        let sections = Object::parse(bytes)?.sections.into_iter();
        let loaded = sections.filter(|section| section.is_alloc());
        let told = loaded.filter(|section| section.name != ".note.gnu.build-id");
        Ok(told.map(|section| (section.name, section.data)).collect())
    };
    let (ours, by_hand) = (content(ours)?, content(by_hand)?);
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        by_hand.keys().collect::<Vec<_>>()
    );
    for needed in [".modinfo", "__versions", ".gnu.linkonce.this_module"] {
        assert!(ours.contains_key(needed), "no {needed}");
    }
    for (name, data) in ours {
        assert!(data == by_hand[&name], "section {name} differs");
    }
    Ok(())
}

#[test]
fn plain_make_builds_a_module_that_closes_the_hole() -> anyhow::Result<()> {
    let site = Site::new()?;
    site.build_seccomp("1.1", "patch")?;
    let folder = tempfile::tempdir()?;
    let headers = headers(&site, &folder.path().join("root"))?;
    let archive = site.vendor.path("patch/source.tar.gz");
    run(Command::new("tar")
        .arg("-xzf")
        .arg(archive)
        .current_dir(folder.path()))?;
    let by_hand = folder.path().join("suture-1.1/by-hand");
    run(Command::new("make")
        .arg("-C")
        .arg(&by_hand)
        .arg(format!("KDIR={}", headers.display())))?;
    assert_same_content(
        &std::fs::read(site.vendor.path("patch/livepatch.ko"))?,
        &std::fs::read(by_hand.join("livepatch.ko"))?,
    )?;

    let probe = Probe::compile(&SECCOMP, &site.vendor.path("probes"))?;
    let kernel = GuestKernel::new(site.shipped.vmlinuz(), site.shipped.modules());
    let builder = Vm::builder(kernel)
        .guest_init(site.vendor.program("guest-init"))
        .file(
            "/root/livepatch.ko",
            FileSource::Bytes(std::fs::read(by_hand.join("livepatch.ko"))?),
            0o600,
        );
    let guest = Guest {
        vm: probe.install(builder).boot()?,
    };
    assert_eq!(guest.ask(&probe)?, Verdict::Open);
    let loaded = guest.vm.shell(
        "insmod /root/livepatch.ko && cd /sys/kernel/livepatch/suture_1_1 && \
         end=$(($(cut -d. -f1 /proc/uptime) + 60)) && until [ $(cat transition) = 0 ]; do \
         [ $(cut -d. -f1 /proc/uptime) -lt $end ] || exit 1; usleep 50000; done",
    )?;
    assert!(loaded.success(), "{loaded:?}\n{}", guest.vm.console());
    assert_eq!(guest.ask(&probe)?, Verdict::Closed);
    assert!(suture_vm::kernel_faults(&guest.vm.console()).is_empty());
    Ok(())
}
