//! The examples of docs/patch-authors.md, built as one patch and loaded into one kernel.

use anyhow::Context as _;
use suture::scenario::Guest;
use suture_vm::{FileSource, GuestKernel, Vm};

use crate::site::Site;
use crate::static_key;

const GUIDE: &str = include_str!("../../../../docs/patch-authors.md");
const INCLUDE: &str = "#include <linux/suture.h>\n";

/// The code of an example of the guide.
fn example(name: &str) -> &'static str {
    let (_, rest) = GUIDE
        .split_once(&format!("<!-- example: {name} -->\n```c\n"))
        .unwrap_or_else(|| panic!("the guide has no example `{name}`"));
    rest.split_once("```").expect("an end of the example").0
}

/// Writes the fix that holds all examples.
fn write_fix(site: &Site) -> anyhow::Result<()> {
    let show = "static int cmdline_proc_show(";
    let puts = "\tseq_puts(m, saved_command_line);";
    let call = "proc_create_single(\"cmdline\", 0, ";
    let initcall = "fs_initcall(proc_cmdline_init);";
    let cmdline = site.edited(
        "fs/proc/cmdline.c",
        &[
            (show, &format!("{INCLUDE}\n{show}")),
            (
                puts,
                &format!("{}{puts}", example("shadow variable, in the function")),
            ),
            (call, "proc_create_single(\"cmdline\", 0444, "),
            (
                initcall,
                &format!(
                    "{initcall}\n\n{}\n{}\n{}",
                    example("ignore"),
                    example("shadow variable, its end"),
                    example("state")
                ),
            ),
        ],
    )?;
    let end = "module_exit(pep_unregister);";
    let pep = site.edited(
        "net/phonet/pep.c",
        &[(end, &format!("{end}\n{INCLUDE}{}", example("callback")))],
    )?;
    let call = "SYSCALL_DEFINE0(getppid)\n{\n\tint pid;\n";
    let sys = site.edited(
        "kernel/sys.c",
        &[
            (
                call,
                &format!("{call}\n{}", example("system call, in the function")),
            ),
            // A system call with an argument: what others may do is never allowed.
            ("mask & S_IRWXUGO", "(mask | 7) & S_IRWXUGO"),
        ],
    )?;
    let fix = [cmdline, pep, sys, static_key::fix(site)?].concat();
    site.vendor.write("examples.diff", fix.as_bytes())
}

#[test]
fn the_examples_of_the_guide_work_on_a_kernel() -> anyhow::Result<()> {
    let site = Site::new()?;
    write_fix(&site)?;

    let release = site.picked.release.as_str();
    let judged = site
        .vendor
        .suture(&["judge", "examples.diff", "--kernel", release])?;
    assert!(judged.contains("changed  cmdline_proc_show"), "{judged}");
    assert!(
        judged.contains("ignored at the author's word: `proc_cmdline_init`"),
        "{judged}"
    );

    let fix = ["--fix", "examples.diff", "--advisory", "seccomp.json"];
    site.build("1.1", "first", &fix)?;
    site.build("1.2", "second", &fix)?;
    let module = |name: &str| -> anyhow::Result<FileSource> {
        let path = site.vendor.path(name).join("livepatch.ko");
        Ok(FileSource::Bytes(std::fs::read(path)?))
    };
    let kernel = GuestKernel::new(site.shipped.vmlinuz(), site.shipped.modules());
    let machine = Vm::builder(kernel)
        .guest_init(site.vendor.program("guest-init"))
        .module_file("pn_pep")
        .file("/root/first.ko", module("first")?, 0o600)
        .file("/root/second.ko", module("second")?, 0o600);
    let guest = Guest {
        vm: static_key::prepare(&site, machine)?.boot()?,
    };
    load(&guest, "first", "suture_1_1")?;

    let first = shell(&guest, "cat /proc/cmdline")?;
    let second = shell(&guest, "cat /proc/cmdline")?;
    assert!(
        first.starts_with("reads=1 ") && second.starts_with("reads=2 "),
        "{first}{second}"
    );
    assert_eq!(
        shell(&guest, "sh -c 'echo $PPID'")?,
        "4242\n",
        "getppid is patched"
    );
    let umask = shell(&guest, "umask 022; umask")?;
    assert_eq!(umask, "0027\n", "umask is patched, with its argument");
    assert!(!guest.vm.console().contains("patching pn_pep"));
    shell(&guest, "modprobe pn_pep")?;
    assert!(
        guest
            .vm
            .console()
            .contains("suture example: patching pn_pep")
    );
    assert!(
        guest
            .vm
            .console()
            .contains("suture example: state 7 is new")
    );
    static_key::assert_followed(&guest)?;

    // The second version knows the state; the shadow variable outlives the first.
    let before = reads(&guest)?;
    assert!(before > 2, "{before}");
    load(&guest, "second", "suture_1_2")?;
    assert!(
        guest
            .vm
            .console()
            .contains("suture example: state 7 was taken over")
    );
    assert!(reads(&guest)? > before, "the count goes on");
    shell(
        &guest,
        "rmmod suture_1_1; cd /sys/kernel/livepatch/suture_1_2 && echo 0 >enabled && \
         end=$(($(cut -d. -f1 /proc/uptime) + 60)) && while [ -e transition ]; do \
         [ $(cut -d. -f1 /proc/uptime) -lt $end ] || exit 1; usleep 50000; done",
    )?;
    assert!(!shell(&guest, "cat /proc/cmdline")?.contains("reads="));
    let console = guest.vm.console();
    assert!(suture_vm::kernel_faults(&console).is_empty(), "{console}");

    way_back_is_refused(&site)
}

/// An earlier set of fixes knows nothing of what the examples keep.
fn way_back_is_refused(site: &Site) -> anyhow::Result<()> {
    site.build_seccomp("2.1", "earlier")?;
    let back = [
        "rebuild",
        "earlier/source.tar.gz",
        "--as",
        "3.1",
        "--instead-of",
        "second",
        "--output",
        "third",
    ];
    let refused = site.vendor.suture(&back).unwrap_err();
    for words in ["callback `pre_patch`", "state", "klp_shadow_get_or_alloc"] {
        assert!(refused.stderr.contains(words), "no `{words}` in {refused}");
    }
    Ok(())
}

/// What the patched file counts; programs of the guest read it as well.
fn reads(guest: &Guest) -> anyhow::Result<u64> {
    let text = shell(guest, "cat /proc/cmdline")?;
    let count = text
        .strip_prefix("reads=")
        .and_then(|rest| rest.split(' ').next());
    Ok(count.context("no count in /proc/cmdline")?.parse()?)
}

fn shell(guest: &Guest, script: &str) -> anyhow::Result<String> {
    let output = guest.vm.shell(script)?;
    anyhow::ensure!(
        output.success(),
        "{script}: {output:?}\n{}",
        guest.vm.console()
    );
    Ok(output.stdout)
}

fn load(guest: &Guest, file: &str, name: &str) -> anyhow::Result<()> {
    let script = format!(
        "insmod /root/{file}.ko && cd /sys/kernel/livepatch/{name} && \
         end=$(($(cut -d. -f1 /proc/uptime) + 60)) && until [ $(cat transition) = 0 ]; do \
         [ $(cut -d. -f1 /proc/uptime) -lt $end ] || exit 1; usleep 50000; done"
    );
    shell(guest, &script).map(drop)
}
