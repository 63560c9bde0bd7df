//! Each known fix is seen at work: its probe finds the hole open on the stock kernel, and closed
//! with one live patch of all the fixes that the kernel lacks, without a restart.

use std::collections::BTreeSet;

use suture::scenario::{
    KNOWN_FIXES, KnownFix, Picked, Probe, SECCOMP, SEQUENCER, lacks, pick, showing,
};
use suture_factory::archive::{Archive, Package};
use suture_factory::{Log, default_cache, extract_sources};
use suture_vm::probe::Verdict;
use suture_vm::{GuestKernel, Vm};

use crate::site::{Site, picked};

/// Set: take further kernels, for the fixes that the usual one has already.
const EVERY_FIX: &str = "SUTURE_TEST_EVERY_FIX";

#[test]
fn every_known_hole_is_open_before_and_closed_after() -> anyhow::Result<()> {
    let archive = Archive::new(&default_cache(), Log::none());
    let first = picked();
    if std::env::var_os(EVERY_FIX).is_some() {
        for (kernel, lacking) in showing(&archive, &KNOWN_FIXES, first)? {
            show(&archive, kernel, &lacking, &[])?;
        }
        return Ok(());
    }
    let (mut lacking, mut fixed) = (Vec::new(), Vec::new());
    for fix in &KNOWN_FIXES {
        let missing = lacks(&first.version, fix)?;
        if missing { &mut lacking } else { &mut fixed }.push(fix);
    }
    show(&archive, first, &lacking, &fixed)
}

/// Closes on one kernel what it lacks; what it has must be closed from the start.
fn show(
    archive: &Archive,
    kernel: Picked,
    lacking: &[&'static KnownFix],
    fixed: &[&'static KnownFix],
) -> anyhow::Result<()> {
    let site = Site::of(kernel)?;
    build(archive, &site, lacking)?;
    let (vm, probes) = boot(&site, &[lacking, fixed].concat())?;
    for (fix, probe) in &probes {
        let missing = lacking.iter().any(|other| other.cve == fix.cve);
        let before = if missing {
            Verdict::Open
        } else {
            Verdict::Closed
        };
        assert_eq!(ask(&vm, probe, fix)?, before, "{} at first", fix.cve);
    }
    load_patch(&site, &vm)?;
    for (fix, probe) in &probes {
        assert_eq!(ask(&vm, probe, fix)?, Verdict::Closed, "{}", fix.cve);
    }
    // Patched modules go and come back; but not the sequencer, whose stock code has lost count of
    // who uses it by now, and waits for them.
    let goes = |fix: &KnownFix| !fix.modules.is_empty() && fix.cve != SEQUENCER.cve;
    for (fix, probe) in probes.iter().filter(|(fix, _)| goes(fix)) {
        let last_first = fix.modules.iter().rev().copied();
        let modules = last_first.collect::<Vec<_>>().join(" ");
        let again = format!("modprobe -r {modules} && {}", load_modules(fix));
        let output = vm.shell(&again)?;
        assert!(output.success(), "{}: {output:?}", fix.cve);
        assert_eq!(ask(&vm, probe, fix)?, Verdict::Closed, "{} again", fix.cve);
    }
    let console = vm.console();
    let faults = suture_vm::kernel_faults(&console);
    assert!(faults.is_empty(), "{faults:#?}");
    let names: Vec<&str> = lacking.iter().map(|fix| fix.cve).collect();
    let release = &site.picked.release;
    eprintln!("closed on {release}: {}", names.join(", "));
    vm.shutdown()?;
    Ok(())
}

/// One live patch of all the fixes: the series' own differences in their files, or edits.
fn build(archive: &Archive, site: &Site, fixes: &[&KnownFix]) -> anyhow::Result<()> {
    let mut arguments: Vec<String> = Vec::new();
    let picked: anyhow::Result<Vec<Picked>> = fixes
        .iter()
        .map(|fix| pick(archive, fix, Some(&site.picked.release)))
        .collect();
    let picked = picked?;
    take_out(archive, &picked, fixes)?;
    for (
        fix,
        Picked {
            fixed_version: to, ..
        },
    ) in fixes.iter().zip(&picked)
    {
        let (diff, record) = (format!("{}.diff", fix.cve), format!("{}.json", fix.cve));
        if let Some(edit) = fix.edit {
            let edited = site.edited(fix.files[0], &[edit])?;
            site.vendor.write(&diff, edited.as_bytes())?;
        } else {
            let from = &site.picked.version;
            let mut make = vec!["fix", "--package", fix.package, "--from", from, "--to", to];
            make.extend(["--output", &diff]);
            make.extend(fix.files);
            site.vendor.suture(&make)?;
        }
        site.vendor.write(&record, fix.record.as_bytes())?;
        arguments.extend(["--fix".to_owned(), diff, "--advisory".to_owned(), record]);
        if fix.unrated {
            let rating = format!("{}=high", fix.cve);
            arguments.extend(["--severity".to_owned(), rating]);
        }
    }
    if fixes.iter().any(|fix| fix.unrated) {
        arguments.extend(["--rated-by", "the test"].map(str::to_owned));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    site.build("1.1", "patch", &arguments)?;
    Ok(())
}

/// Takes the files of all fixes out of each version at once; `suture fix` then finds them.
fn take_out(archive: &Archive, picked: &[Picked], fixes: &[&KnownFix]) -> anyhow::Result<()> {
    let versions = picked.iter().flat_map(|p| [&p.version, &p.fixed_version]);
    let versions: BTreeSet<&String> = versions.collect();
    let files = fixes.iter().flat_map(|fix| fix.files);
    let files: Vec<String> = files.map(|&file| file.to_owned()).collect();
    let take = |version: &String| {
        let package = Package {
            name: SECCOMP.package.to_owned(),
            version: version.clone(),
        };
        let folder = tempfile::tempdir()?;
        extract_sources(archive, &package, &files, folder.path(), &Log::none())?;
        anyhow::Ok(())
    };
    std::thread::scope(|scope| {
        let taking = versions.iter().map(|version| scope.spawn(|| take(version)));
        let taking: Vec<_> = taking.collect();
        taking
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic"))
    })
}

type Probes = Vec<(&'static KnownFix, Probe)>;

fn boot(site: &Site, fixes: &[&'static KnownFix]) -> anyhow::Result<(Vm, Probes)> {
    let kernel = GuestKernel::new(site.shipped.vmlinuz(), site.shipped.modules());
    let mut builder = Vm::builder(kernel)
        .guest_init(site.vendor.program("guest-init"))
        .network(false);
    let mut probes = Vec::new();
    for &fix in fixes {
        let probe = Probe::compile(fix, &site.vendor.path("probes"))?;
        builder = probe.install(builder);
        for module in fix.modules {
            builder = builder.module_file(module);
        }
        probes.push((fix, probe));
    }
    let vm = builder.boot()?;
    for (fix, _) in &probes {
        let output = vm.shell(&load_modules(fix))?;
        anyhow::ensure!(output.success(), "{}: {output:?}", fix.cve);
    }
    Ok((vm, probes))
}

/// Loads a fix's modules and lets everybody use the sequencer, as those of the group `audio` may.
fn load_modules(fix: &KnownFix) -> String {
    let load: String = fix
        .modules
        .iter()
        .map(|m| format!("modprobe {m} && "))
        .collect();
    format!("{load} if [ -e /dev/snd/seq ]; then chmod 666 /dev/snd/seq; fi")
}

fn load_patch(site: &Site, vm: &Vm) -> anyhow::Result<()> {
    let module = std::fs::read(site.vendor.path("patch/livepatch.ko"))?;
    vm.write_file("/run/patch.ko", &module, 0o600)?;
    let script = "insmod /run/patch.ko && cd /sys/kernel/livepatch/suture_1_1 && n=0; \
                  until [ \"$(cat enabled transition | xargs)\" = '1 0' ]; \
                  do n=$((n + 1)); [ $n -lt 600 ] || exit 1; usleep 100000; done";
    let loaded = vm.shell(script)?;
    anyhow::ensure!(loaded.success(), "{loaded:?}\n{}", vm.console());
    Ok(())
}

fn ask(vm: &Vm, probe: &Probe, fix: &KnownFix) -> anyhow::Result<Verdict> {
    let output = vm.command(&[&probe.guest_path]).uid(fix.uid).run()?;
    Ok(Verdict::of(&output))
}
