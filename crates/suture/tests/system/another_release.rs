//! A kernel of another release of the distribution than the machine's own: another compiler,
//! compressed modules, indirect branch tracking.

use anyhow::Context as _;
use suture::scenario::{Guest, SECCOMP, Vendor};
use suture_factory::archive::{Archive, Package};
use suture_factory::{
    Log, ShippedKernel, StockKernel, default_cache, extract_sources, stock_kernels, unified,
};
use suture_kernel::KernelRelease;

use crate::site::assert_kernel_is_well;

const EMAIL: &str = "owner@localhost.localdomain";
const SERIES: &str = "6.12";

/// Edits of the image and of a module. The first can be seen from outside, and calls a function that
/// is exported to a namespace, which gives the error `EBADF` for what is no file. The second is in
/// code of which the kernel writes a part while it boots: the address of all names' table. The third
/// can be seen too.
const EDITS: [(&str, &str, &str); 3] = [
    (
        "fs/proc/meminfo.c",
        "\tshow_val_kb(m, \"MemFree:        \", i.freeram);\n",
        "\tstruct dma_buf *dma_buf_get(int fd);\n\
         \tseq_printf(m, \"MemPatched:     %ld\\n\", PTR_ERR(dma_buf_get(-1)));\n",
    ),
    (
        "fs/dcache.c",
        "\tstruct hlist_bl_head *b = d_hash(hash);\n\tstruct hlist_bl_node *node;\n\
         \tstruct dentry *found = NULL;\n",
        "\tstruct hlist_bl_head *b = d_hash(hash);\n\tstruct hlist_bl_node *node;\n\
         \tstruct dentry *found = NULL;\n\n\tif (!name->len)\n\t\treturn NULL;\n",
    ),
    ("net/phonet/socket.c", "pt  loc  rem", "pt  patched  rem"),
];

/// An edit by itself: of a system call whose body is a function that is not traced, and to which its
/// entry points jump.
const SYSTEM_CALL: (&str, &str, &str) = (
    "mm/swapfile.c",
    "\tif (!capable(CAP_SYS_ADMIN))\n\t\treturn -EPERM;\n\n\tBUG_ON(!current->mm);\n",
    "\tif (!capable(CAP_SYS_ADMIN))\n\t\treturn -EPERM;\n\n\tBUG_ON(!current->mm);\n\
     \tif (current->mm->map_count)\n\t\treturn -EXDEV;\n",
);

/// The kernel that SUTURE_TEST_OTHER_KERNEL names, else the newest of the series whose source is
/// on offer.
fn pick() -> anyhow::Result<(Archive, KernelRelease, String)> {
    let wanted = std::env::var("SUTURE_TEST_OTHER_KERNEL").ok();
    let (cache, log) = (default_cache(), Log::none());
    for archive in Archive::all(&cache, &log)?.split_off(1) {
        // A mirror need not have every release.
        let kernels = stock_kernels(&archive, Some(SERIES)).unwrap_or_default();
        let mut kernels = kernels.into_iter().filter(|kernel| kernel.has_source);
        let asked_for = |kernel: &StockKernel| {
            let wanted = wanted.as_ref();
            wanted.is_none_or(|wanted| wanted == kernel.release.as_str())
        };
        if let Some(StockKernel {
            release, version, ..
        }) = kernels.find(asked_for)
        {
            eprintln!("picked kernel {release} ({version})");
            return Ok((archive, release, version));
        }
    }
    anyhow::bail!(
        "the machine's mirror offers no stock kernel {SERIES} with its source in another release \
         of the distribution; this story needs one"
    )
}

/// One diff of the edits.
fn diff(archive: &Archive, version: &str, edits: &[(&str, &str, &str)]) -> anyhow::Result<String> {
    let folder = tempfile::tempdir()?;
    let package = Package {
        name: format!("linux-source-{SERIES}"),
        version: version.to_owned(),
    };
    let paths: Vec<String> = edits.iter().map(|edit| edit.0.to_owned()).collect();
    extract_sources(archive, &package, &paths, folder.path(), &Log::none())?;
    let mut diff = String::new();
    for &(path, from, to) in edits {
        let before = std::fs::read_to_string(folder.path().join(path))?;
        anyhow::ensure!(before.contains(from), "`{path}` has no `{from}` any more");
        let after = before.replacen(from, to, 1);
        diff += &unified(path, Some(&before), Some(&after));
    }
    Ok(diff)
}

fn read(guest: &Guest, path: &str) -> anyhow::Result<String> {
    Ok(guest.vm.shell(&format!("cat {path}"))?.stdout)
}

#[test]
fn a_kernel_of_another_release_is_patched() -> anyhow::Result<()> {
    let (archive, release, version) = pick()?;
    let folder = tempfile::tempdir().context("a folder for the site")?;
    let vendor = Vendor::new(&folder.path().join("vendor"), false)?;
    vendor.suture(&["module-key", "--output", "module-key"])?;
    vendor.set_up_repository()?;
    vendor.write("advisory.json", SECCOMP.record.as_bytes())?;
    let wide = diff(&archive, &version, &EDITS)?;
    let alone = diff(&archive, &version, &[SYSTEM_CALL])?;
    vendor.write("wide.diff", wide.as_bytes())?;
    vendor.write("alone.diff", alone.as_bytes())?;
    let kernel = release.as_str();
    let mut build = vec!["build", "--kernel", kernel, "--patch-version", "1.1"];
    build.extend(["--fix", "wide.diff", "--fix", "alone.diff"]);
    build.extend(["--advisory", "advisory.json"]);
    build.extend(["--module-key", "module-key/module.key"]);
    build.extend(["--module-certificate", "module-key/module.crt"]);
    build.extend(["--output", "patch"]);
    let built = vendor.suture(&build)?;
    assert!(
        built.contains("swaps meminfo_proc_show of vmlinux"),
        "{built}"
    );
    assert!(built.contains("swaps __d_lookup of vmlinux"), "{built}");
    assert!(
        built.contains("swaps __x64_sys_swapoff of vmlinux"),
        "{built}"
    );
    assert!(
        built.contains("swaps pn_sock_seq_show of phonet"),
        "{built}"
    );
    vendor.publish("patch")?;

    let server = vendor.serve("127.0.0.1:0")?;
    let token = vendor.account(EMAIL)?;
    let shipped = ShippedKernel::fetch(&default_cache(), &archive, &release)?;
    let machine = Guest::builder(&vendor, &server, &shipped)?;
    // Emulated processors do not see each other's changes of code in order; one has no others.
    let guest = Guest::boot(machine.cpus(1).module_file("phonet"))?;
    assert!(read(&guest, "/proc/meminfo")?.contains("MemFree:"));
    let enabled = guest.livepatch(&["enable", &token])?;
    assert!(enabled.success(), "{enabled:?}\n{}", guest.daemon_log());
    assert_eq!(guest.loaded_patches()?, ["suture_1_1"]);
    let memory = read(&guest, "/proc/meminfo")?;
    assert!(memory.contains("MemPatched:     -9\n") && !memory.contains("MemFree:"));
    let found = guest
        .vm
        .shell("echo found > /tmp/looked-up && cat /tmp/looked-up")?;
    assert_eq!(found.stdout, "found\n");
    let swapoff = guest.vm.shell("swapoff /dev/null")?;
    assert!(swapoff.stderr.contains("ross-device"), "{swapoff:?}");

    // The module comes after the patch, twice: the kernel takes its relocations back by itself.
    for _ in 0..2 {
        let loaded = guest.vm.run(&["modprobe", "phonet"])?;
        assert!(loaded.success(), "{loaded:?}");
        let sockets = read(&guest, "/proc/net/phonet")?;
        assert!(sockets.starts_with("pt  patched  rem"), "{sockets}");
        let unloaded = guest.vm.run(&["rmmod", "phonet"])?;
        assert!(unloaded.success(), "{unloaded:?}");
    }

    // Without it, the kernel's own code is in force again.
    let disable = "cd /sys/kernel/livepatch; echo 0 > suture_1_1/enabled; \
        while [ -e suture_1_1 ]; do usleep 50000; done";
    assert!(guest.vm.shell(disable)?.success());
    assert!(read(&guest, "/proc/meminfo")?.contains("MemFree:"));
    assert_kernel_is_well(&guest);
    server.stop()
}
