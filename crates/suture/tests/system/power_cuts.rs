//! Power cuts on the way to a patch: the machine restarts without warning right after any file
//! got its name, or at any moment; and a patch that brings the machine down each time.
//!
//! Without SUTURE_POWER_CUTS the cuts are one after each step of the journal and a few at random;
//! `all` cuts after every file. The seed is printed, SUTURE_SEED repeats it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use suture::scenario::{Guest, Probe, SECCOMP, Server};
use suture_vm::FileSource;
use suture_vm::probe::{self, Verdict};

use crate::site::{Site, assert_kernel_is_well};

const CUT: &str = include_str!("../../../../probes/cut-after-rename.c");
const WATCHED: &str =
    "/var/lib/livepatch /var/lib/livepatch/targets /var/lib/livepatch/tuf/metadata";
/// No file is unfinished, and none is empty but the lock; the daemon may be writing one just now.
const NOTHING_HALF_DONE: &str = "! find /var/lib/livepatch -name '.new-*' -o -name '.update-*' -o \
    -type f -size 0 ! -name lock | grep -q .";
const LOG: &str = "/var/log/cut.log";
/// So that a test sees a patch settle.
const TIMES: &str = "settle-time = \"4s\"\n";
/// For a machine to restart, in emulation.
const RESTART: Duration = Duration::from_secs(120);

/// A vendor with 1.1 and 2.1, and the disk of a machine that has settled on 1.1.
struct Ground {
    site: Site,
    server: Server,
    cut: PathBuf,
    seccomp: Probe,
    disk: PathBuf,
}

impl Ground {
    fn prepare() -> anyhow::Result<Self> {
        let site = Site::new()?;
        site.build_seccomp("1.1", "first")?;
        site.vendor.publish_untested("first")?;
        let server = site.serve()?;
        let token = site.vendor.account("owner@localhost.localdomain")?;
        let folder = site.vendor.path("probes");
        let seccomp = Probe::compile(&SECCOMP, &folder)?;
        let source = folder.join("cut-after-rename.c");
        std::fs::write(&source, CUT)?;
        let cut = probe::compile(&source, &folder)?;
        let disk = site.vendor.path("disk");
        let ground = Self {
            site,
            server,
            cut,
            seccomp,
            disk,
        };
        let guest = ground.boot(&ground.disk, &[])?;
        let enabled = guest.livepatch(&["enable", &token])?;
        assert!(enabled.success(), "{enabled:?}\n{}", guest.daemon_log());
        settle(&guest, "1.1")?;
        guest.vm.shutdown()?;
        Ok(ground)
    }

    fn boot(&self, disk: &Path, arguments: &[&str]) -> anyhow::Result<Guest> {
        let mut machine = self
            .seccomp
            .install(self.site.machine(&self.server)?)
            .file(
                "/usr/bin/cut-after-rename",
                FileSource::Path(self.cut.clone()),
                0o755,
            )
            .file(
                "/etc/livepatch/config.d/60-times.toml",
                FileSource::Bytes(TIMES.into()),
                0o644,
            );
        for argument in arguments {
            machine = machine.kernel_argument(argument);
        }
        Guest::boot(machine.disk(disk, "/var/lib/livepatch"))
    }

    /// A machine as it was before 2.1 came, on a disk of its own, with 1.1 in force.
    fn machine(&self, name: &str) -> anyhow::Result<Guest> {
        let disk = self.site.vendor.path(name);
        std::fs::copy(&self.disk, &disk)?;
        let guest = self.boot(&disk, &[])?;
        settle(&guest, "1.1")?;
        Ok(guest)
    }

    /// The files that the way to 2.1 names, in their order, and how long it takes.
    fn whole_way(&self) -> anyhow::Result<(Vec<String>, Duration)> {
        let guest = self.machine("whole")?;
        watch(&guest, 0)?;
        let begun = Instant::now();
        let refreshed = guest.livepatch(&["refresh"])?;
        assert!(refreshed.success(), "{refreshed:?}\n{}", guest.daemon_log());
        settle(&guest, "2.1")?;
        let time = begun.elapsed();
        let log = String::from_utf8(guest.vm.read_file(LOG)?)?;
        let names = log.lines().skip(1).map(str::to_owned).collect();
        guest.vm.power_cut();
        Ok((names, time))
    }

    /// Restarts without warning, then looks at what came of it.
    fn cut(
        &self,
        name: &str,
        how: impl FnOnce(&Guest) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let guest = self.machine(name)?;
        how(&guest)?;
        guest.start_daemon()?;
        self.look(&guest)?;
        guest.vm.power_cut();
        Ok(())
    }

    /// Everything is as it was or as it should be, and goes on from there.
    fn look(&self, guest: &Guest) -> anyhow::Result<()> {
        let log = || guest.daemon_log();
        wait(guest, "ls /sys/kernel/livepatch | grep -q suture_").with_context(log)?;
        let status = guest.status()?;
        let livepatch = &status["Status"][0]["Livepatch"];
        let held = quarantined(&status);
        let loaded = guest.loaded_patches()?;
        assert_eq!(loaded.len(), 1, "{loaded:?}\n{}", log());
        if held {
            assert_eq!(loaded, ["suture_1_1"], "2.1 is in quarantine: {livepatch}");
            let lifted = guest.livepatch(&["quarantine", "lift", "2.1"])?;
            assert!(lifted.success(), "{lifted:?}");
        }
        eprintln!(
            "  {} after the cut{}",
            loaded[0],
            if held { ", 2.1 in quarantine" } else { "" }
        );
        assert_eq!(guest.ask(&self.seccomp)?, Verdict::Closed);
        // Whatever is left to do is done when it is asked for.
        let refreshed = guest.livepatch(&["refresh"])?;
        assert!(refreshed.success(), "{refreshed:?}\n{}", log());
        assert_eq!(guest.loaded_patches()?, ["suture_2_1"]);
        settle(guest, "2.1")?;
        wait(guest, NOTHING_HALF_DONE).with_context(|| {
            let files = guest.vm.shell("ls -laR /var/lib/livepatch");
            format!("{files:?}\n{}", log())
        })?;
        assert_kernel_is_well(guest);
        Ok(())
    }
}

fn quarantined(status: &serde_json::Value) -> bool {
    let entries = status["Status"][0]["Livepatch"]["Quarantine"].as_array();
    entries.is_some_and(|entries| !entries.is_empty())
}

/// Waits in the guest until the script says yes.
fn wait(guest: &Guest, script: &str) -> anyhow::Result<()> {
    let script = format!(
        "n=0; until {script}; do n=$((n + 1)); [ $n -lt 900 ] || exit 1; usleep 100000; done"
    );
    let waited = guest.vm.command(&["sh", "-c", &script]);
    let waited = waited.timeout(Duration::from_secs(180)).run()?;
    anyhow::ensure!(
        waited.success(),
        "it never came: {script}\n{}",
        guest.daemon_log()
    );
    Ok(())
}

/// Waits until the journal says that a version settled.
fn settle(guest: &Guest, version: &str) -> anyhow::Result<()> {
    wait(
        guest,
        &format!(
            "grep -q '\"settled\"' /var/lib/livepatch/journal.json 2>/dev/null && \
             grep -q '\"{version}\"' /var/lib/livepatch/journal.json"
        ),
    )
}

/// Cuts after so many files from now on.
fn watch(guest: &Guest, count: usize) -> anyhow::Result<()> {
    guest
        .vm
        .spawn_shell(&format!("cut-after-rename {count} {WATCHED}"), LOG)?;
    wait(guest, &format!("grep -q watching {LOG}"))
}

/// Asks for 2.1 and waits for no answer: none may come.
fn ask_for_the_next(guest: &Guest) -> anyhow::Result<()> {
    guest
        .vm
        .spawn_shell("livepatch refresh", "/var/log/refresh.log")?;
    Ok(())
}

/// After which files the machine is cut off, counted from 1.
fn chosen(names: &[String], random: &mut fastrand::Rng) -> Vec<usize> {
    let all = 1..=names.len();
    if std::env::var("SUTURE_POWER_CUTS").is_ok_and(|word| word == "all") {
        return all.collect();
    }
    let journal = |n: &usize| names.get(n - 1).is_some_and(|name| name == "journal.json");
    let mut chosen: Vec<usize> = all.filter(journal).take(4).collect();
    chosen.push(random.usize(1..=names.len()));
    chosen
}

#[test]
fn after_a_power_cut_at_any_step_the_machine_is_whole_and_goes_on() -> anyhow::Result<()> {
    let ground = Ground::prepare()?;
    ground.site.build_seccomp("2.1", "second")?;
    ground.site.vendor.publish_untested("second")?;
    let seed = std::env::var("SUTURE_SEED").ok();
    let seed = seed.map_or_else(|| Ok(fastrand::u64(..)), |seed| seed.parse())?;
    let mut random = fastrand::Rng::with_seed(seed);
    let (names, time) = ground.whole_way()?;
    eprintln!("SUTURE_SEED={seed}; the way to 2.1 names {names:?} in {time:?}");
    anyhow::ensure!(
        names.iter().any(|name| name == "journal.json"),
        "the journal was not seen: {names:?}"
    );
    for count in chosen(&names, &mut random) {
        eprintln!("cut after file {count} ({})", names[count - 1]);
        ground.cut("cut", |guest| {
            watch(guest, count)?;
            let boot_id = guest.vm.boot_id();
            ask_for_the_next(guest)?;
            Ok(guest.vm.wait_for_restart(&boot_id, RESTART)?)
        })?;
    }
    for _ in 0..2 {
        let after = time.mul_f64(random.f64());
        eprintln!("cut after {after:?}");
        ground.cut("cut", |guest| {
            ask_for_the_next(guest)?;
            // Any moment will do; this is the dice and waits for nothing.
            std::thread::sleep(after);
            Ok(guest.vm.reset()?)
        })?;
    }
    ground.server.stop()
}

/// The kernel dies as soon as the patch is in force, and restarts by itself.
const DEADLY: &str = "#include <linux/suture.h>\n\
static void deadly(struct klp_object *object)\n\
{\n\
\tpanic(\"a patch that must not be tried twice\");\n\
}\n\
SUTURE_POST_PATCH(deadly);\n";

#[test]
fn a_patch_that_brings_the_machine_down_is_loaded_once() -> anyhow::Result<()> {
    let ground = Ground::prepare()?;
    let show = "static int cmdline_proc_show(struct seq_file *m, void *v)\n{\n";
    let end = "fs_initcall(proc_cmdline_init);";
    let fix = ground.site.edited(
        "fs/proc/cmdline.c",
        &[
            (show, &format!("{show}\tseq_puts(m, \"patched \");\n")),
            (end, &format!("{end}\n\n{DEADLY}")),
        ],
    )?;
    ground.site.vendor.write("deadly.diff", fix.as_bytes())?;
    let fix = ["--fix", "deadly.diff", "--advisory", "seccomp.json"];
    ground.site.build("2.1", "deadly", &fix)?;
    ground.site.vendor.publish_untested("deadly")?;
    let guest = ground.boot(&ground.disk, &["panic=1"])?;
    let mut boot_id = guest.vm.boot_id();
    // The started daemon takes 2.1 by itself, or when it is asked; once.
    ask_for_the_next(&guest)?;
    guest.vm.wait_for_restart(&boot_id, RESTART)?;
    for _ in 0..2 {
        boot_id = guest.vm.boot_id();
        guest.start_daemon()?;
        settle(&guest, "1.1")?;
        let refreshed = guest.livepatch(&["refresh"])?;
        assert!(!refreshed.success(), "{refreshed:?}");
        assert!(refreshed.stderr.contains("quarantine"), "{refreshed:?}");
        assert_eq!(guest.loaded_patches()?, ["suture_1_1"]);
        assert_eq!(guest.vm.boot_id(), boot_id, "{}", guest.vm.console());
        guest.vm.reset()?;
    }
    let deaths = guest
        .vm
        .console()
        .matches("a patch that must not be tried twice")
        .count();
    assert_eq!(deaths, 1, "{}", guest.vm.console());
    ground.server.stop()
}
