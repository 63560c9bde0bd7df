//! A kernel that no archive offers, which takes patches in the way of Linux 4.5: registered, then
//! enabled, with a table of relocations, one generation at a time.
//!
//! The variable SUTURE_TEST_KERNEL_TREE names the folder in which it was built, and
//! SUTURE_TEST_KERNEL_SUITE the release of Debian that has its compiler, if this machine lacks it.
//! Such a kernel is not part of the project: without the variable the story says that it is left out.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use suture::scenario::{Guest, SECCOMP, Vendor};
use suture_factory::{Log, ShippedKernel, default_cache, unified};
use suture_kernel::KernelRelease;
use suture_vm::{CommandOutput, FileSource, probe};

use crate::site::assert_kernel_is_well;

const TREE: &str = "SUTURE_TEST_KERNEL_TREE";
const SUITE: &str = "SUTURE_TEST_KERNEL_SUITE";
const EMAIL: &str = "owner@localhost.localdomain";
const MODULE: &str = "af_packet";

/// Without it, the agent's first handshake waits for random numbers.
const ENTROPY: &str = include_str!("../../../../probes/kernel-entropy.c");

/// A fix by which the command line tells the version and calls a function that is not exported,
/// and a module tells what a static list of its own is like.
fn diff(tree: &Path, version: &str) -> anyhow::Result<String> {
    let edits = [
        (
            "fs/proc/cmdline.c",
            "\tseq_printf(m, \"%s\\n\", saved_command_line);\n",
            format!(
                "\textern int nr_processes(void);\n\tseq_printf(m, \"patched {version} with \
                 %d processes: %s\\n\", nr_processes(), saved_command_line);\n"
            ),
        ),
        (
            "net/packet/af_packet.c",
            "seq_puts(seq, \"sk       RefCnt Type Proto  Iface R Rmem   User   Inode\\n\")",
            format!(
                "seq_printf(seq, \"patched {version}, no fanout: %d\\n\", \
                 list_empty(&fanout_list))"
            ),
        ),
    ];
    let mut diff = String::new();
    for (path, from, to) in edits {
        let before = std::fs::read_to_string(tree.join(path))?;
        anyhow::ensure!(before.contains(from), "`{path}` of {TREE} has no `{from}`");
        let after = before.replacen(from, &to, 1);
        diff += &unified(path, Some(&before), Some(&after));
    }
    Ok(diff)
}

struct OlderKernel {
    vendor: Vendor,
    tree: PathBuf,
    release: KernelRelease,
    _folder: tempfile::TempDir,
}

impl OlderKernel {
    /// Takes the kernel in, as an operator would.
    fn add(tree: PathBuf) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the site")?;
        let vendor = Vendor::new(&folder.path().join("vendor"), false)?;
        let named = tree.to_string_lossy().into_owned();
        let suite = std::env::var(SUITE).ok();
        let mut add = vec!["kernel", "add", "--tree", &named];
        if let Some(suite) = &suite {
            add.extend(["--suite", suite]);
        }
        let told = vendor.suture(&add)?;
        let release = told.split_whitespace().next().unwrap_or_default();
        let release = release.parse().context("a release that was added")?;
        vendor.suture(&["module-key", "--output", "module-key"])?;
        vendor.set_up_repository()?;
        vendor.write("advisory.json", SECCOMP.record.as_bytes())?;
        Ok(Self {
            vendor,
            tree,
            release,
            _folder: folder,
        })
    }

    /// Builds a version, tries it on its kernel, and publishes it.
    fn publish(&self, version: &str) -> anyhow::Result<()> {
        let (fix, output) = (format!("{version}.diff"), format!("patch-{version}"));
        let diff = diff(&self.tree, version)?;
        self.vendor.write(&fix, diff.as_bytes())?;
        let kernel = self.release.as_str();
        let mut build = vec!["build", "--kernel", kernel, "--patch-version", version];
        build.extend(["--fix", &fix, "--advisory", "advisory.json"]);
        build.extend(["--module-key", "module-key/module.key"]);
        build.extend(["--module-certificate", "module-key/module.crt"]);
        build.extend(["--output", &output]);
        let built = self.vendor.suture(&build)?;
        for swapped in [
            "swaps cmdline_proc_show of vmlinux",
            "swaps packet_seq_show of af_packet",
            "has no transition",
        ] {
            assert!(built.contains(swapped), "{built}");
        }
        self.vendor.publish(&output)?;
        Ok(())
    }
}

fn read(guest: &Guest, path: &str) -> anyhow::Result<String> {
    Ok(guest.vm.shell(&format!("cat {path}"))?.stdout)
}

#[track_caller]
fn assert_done(output: &CommandOutput, guest: &Guest) {
    assert!(output.success(), "{output:?}\n{}", guest.daemon_log());
}

/// The image runs a version, and so does the module each time that it comes.
fn assert_in_force(guest: &Guest, version: &str) -> anyhow::Result<()> {
    let line = read(guest, "/proc/cmdline")?;
    let told = format!("patched {version} with ");
    assert!(line.starts_with(&told), "{line}");
    for _ in 0..2 {
        let loaded = guest.vm.run(&["modprobe", MODULE])?;
        assert!(loaded.success(), "{loaded:?}");
        let sockets = read(guest, "/proc/net/packet")?;
        let told = format!("patched {version}, no fanout: 1\n");
        assert!(sockets.starts_with(&told), "{sockets}");
        assert!(guest.vm.run(&["rmmod", MODULE])?.success());
    }
    Ok(())
}

#[test]
fn a_kernel_that_registers_patches_runs_one_generation_at_a_time() -> anyhow::Result<()> {
    let Some(tree) = std::env::var_os(TREE) else {
        eprintln!(
            "LEFT OUT: no kernel that registers patches is at hand; let {TREE} name the folder in \
             which one was built"
        );
        return Ok(());
    };
    let kernel = OlderKernel::add(PathBuf::from(tree))?;
    kernel.publish("1.1")?;
    let (cache, log) = (default_cache(), Log::none());
    let archive = ShippedKernel::archive(&cache, &kernel.release, &log)?;
    let shipped = ShippedKernel::fetch(&cache, &archive, &kernel.release)?;
    let vendor = &kernel.vendor;
    let server = vendor.serve("127.0.0.1:0")?;
    let token = vendor.account(EMAIL)?;
    let machine = Guest::builder(vendor, &server, &shipped)?;
    let source = vendor.path("kernel-entropy.c");
    std::fs::write(&source, ENTROPY)?;
    let entropy = FileSource::Path(probe::compile(&source, &vendor.path("probes"))?);
    let machine = machine.file("/usr/bin/add-entropy", entropy, 0o755);
    let guest = Guest::boot(machine.module_file(MODULE))?;
    assert_done(&guest.vm.run(&["add-entropy"])?, &guest);
    let before = read(&guest, "/proc/cmdline")?;
    let enabled = guest.livepatch(&["enable", &token])?;
    assert_done(&enabled, &guest);
    assert_eq!(
        guest.loaded_patches()?,
        ["suture_1_1"],
        "{enabled:?}\n{}",
        guest.daemon_log()
    );
    assert_in_force(&guest, "1.1")?;

    kernel.publish("2.1")?;
    assert_done(&guest.livepatch(&["refresh"])?, &guest);
    assert_eq!(guest.loaded_patches()?, ["suture_2_1"], "one at a time");
    assert_in_force(&guest, "2.1")?;
    let status = guest.status()?;
    assert_eq!(status["Status"][0]["Livepatch"]["Version"], "2.1");

    // By hand it goes whole, and comes back.
    let parameter = "/sys/module/suture_2_1/parameters/in_force";
    assert!(guest.vm.shell(&format!("echo 0 > {parameter}"))?.success());
    assert_eq!(read(&guest, "/proc/cmdline")?, before);
    assert_eq!(guest.loaded_patches()?, Vec::<String>::new());
    assert!(guest.vm.shell(&format!("echo 1 > {parameter}"))?.success());
    assert_in_force(&guest, "2.1")?;
    assert_kernel_is_well(&guest);
    server.stop()
}
