//! `suture demo`: a real hole in a running stock kernel is closed without a reboot.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use suture_factory::archive::Archive;
use suture_factory::{Log, ShippedKernel, default_cache};
use suture_kernel::KernelRelease;
use suture_vm::probe::Verdict;

use super::{Guest, KnownFix, Picked, Probe, SECCOMP, Server, Vendor, pick};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder for what the demo makes; what an earlier demo left in it goes.
    #[arg(long, default_value = "demo")]
    folder: PathBuf,
    /// Address of the server.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: String,
    /// Kernel release to show it on [default: the newest that lacks the fix].
    #[arg(long, value_name = "RELEASE")]
    kernel: Option<KernelRelease>,
}

/// The version of the demo's live patch.
const VERSION: &str = "1.1";
const EMAIL: &str = "admin@localhost.localdomain";

/// Tells the story.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let folder = std::path::absolute(&args.folder).context("cannot find the demo's folder")?;
    let mut acts = Acts::default();
    let fix = &SECCOMP;
    let vendor = Vendor::new(&folder, true)?;
    let archive = Archive::new(&default_cache(), Log::none());

    let picked = acts.play("pick a kernel that lacks a fix", || {
        choose(&archive, fix, args.kernel.as_ref())
    })?;
    acts.play("make the fix from two source packages", || {
        make_fix(&vendor, fix, &picked)
    })?;
    acts.play("build and sign the live patch", || {
        build(&vendor, fix, &picked)
    })?;
    acts.play("publish it in a signed repository", || {
        vendor.set_up_repository()?;
        Ok(vendor.publish("patch")?)
    })?;
    let (server, token) = acts.play("start the server, make an account", || {
        let server = vendor.serve(&args.listen)?;
        Ok((server, vendor.account(EMAIL)?))
    })?;
    let shipped = ShippedKernel::fetch(&default_cache(), &archive, &picked.release)?;
    let (guest, probe) = acts.play("boot the stock kernel, see the hole open", || {
        boot(&vendor, &server, &shipped, fix)
    })?;
    acts.play("enable live patches, see the hole closed", || {
        close(&guest, &probe, fix, &token)
    })?;
    guest.vm.shutdown()?;
    server.stop()?;
    acts.summary(fix, &picked, &folder);
    Ok(())
}

fn choose(
    archive: &Archive,
    fix: &KnownFix,
    wanted: Option<&KernelRelease>,
) -> anyhow::Result<Picked> {
    let picked = pick(archive, fix, wanted)?;
    say(&format!("{}: {}", fix.cve, fix.hole));
    say(&format!(
        "the stock kernel {} ({}) lacks the fix",
        picked.release, picked.version
    ));
    say(&format!("{} {} has it", fix.package, picked.fixed_version));
    Ok(picked)
}

fn make_fix(vendor: &Vendor, fix: &KnownFix, picked: &Picked) -> anyhow::Result<()> {
    let mut arguments = vec![
        "fix",
        "--package",
        fix.package,
        "--from",
        &picked.version,
        "--to",
        &picked.fixed_version,
        "--output",
        "fix.diff",
    ];
    arguments.extend(fix.files);
    vendor.suture(&arguments)?;
    let diff = std::fs::read_to_string(vendor.path("fix.diff")).context("the fix is missing")?;
    for line in diff.lines() {
        say(line);
    }
    Ok(())
}

fn build(vendor: &Vendor, fix: &KnownFix, picked: &Picked) -> anyhow::Result<()> {
    vendor.write("advisory.json", fix.record.as_bytes())?;
    vendor.suture(&["module-key", "--output", "module-key"])?;
    vendor.suture(&[
        "build",
        "--kernel",
        picked.release.as_str(),
        "--patch-version",
        VERSION,
        "--fix",
        "fix.diff",
        "--advisory",
        "advisory.json",
        "--module-key",
        "module-key/module.key",
        "--module-certificate",
        "module-key/module.crt",
        "--output",
        "patch",
    ])?;
    Ok(())
}

fn boot(
    vendor: &Vendor,
    server: &Server,
    shipped: &ShippedKernel,
    fix: &KnownFix,
) -> anyhow::Result<(Guest, Probe)> {
    let probe = Probe::compile(fix, &vendor.path("probes"))?;
    let builder = probe.install(Guest::builder(vendor, server, shipped)?);
    let guest = Guest::boot(builder.hostname("bookworm"))?;
    show(&guest, "uname -a")?;
    let verdict = ask(&guest, &probe)?;
    anyhow::ensure!(
        verdict == Verdict::Open,
        "the hole is not open on this kernel: {verdict:?}"
    );
    Ok((guest, probe))
}

fn close(guest: &Guest, probe: &Probe, fix: &KnownFix, token: &str) -> anyhow::Result<()> {
    let before = boot_time(guest)?;
    say("# livepatch enable TOKEN");
    let enabled = guest.livepatch(&["enable", token])?;
    quote(&enabled.stdout);
    anyhow::ensure!(
        enabled.success(),
        "enable failed: {}\n{}",
        enabled.stderr,
        guest.daemon_log()
    );
    let verdict = ask(guest, probe)?;
    anyhow::ensure!(
        verdict == Verdict::Closed,
        "the hole is still there: {verdict:?}"
    );
    show(guest, "livepatch status --verbose")?;
    show(
        guest,
        "cd /sys/kernel/livepatch && grep . */enabled */transition && ls -d */*/*",
    )?;
    show(guest, "uptime")?;
    let status = guest.status()?.to_string().to_lowercase();
    anyhow::ensure!(
        status.contains(&fix.cve.to_lowercase()),
        "status does not name the fix"
    );
    anyhow::ensure!(boot_time(guest)? == before, "the machine was rebooted");
    say("the same boot as before: nothing was restarted");
    Ok(())
}

/// Changes with every boot.
fn boot_time(guest: &Guest) -> anyhow::Result<String> {
    Ok(guest
        .vm
        .shell("cat /proc/sys/kernel/random/boot_id")?
        .stdout)
}

fn ask(guest: &Guest, probe: &Probe) -> anyhow::Result<Verdict> {
    let output = guest.ask_for_words(probe)?;
    say(&format!("$ {}", probe.guest_path));
    quote(&output.stdout);
    Ok(Verdict::of(&output))
}

fn show(guest: &Guest, script: &str) -> anyhow::Result<()> {
    say(&format!("# {script}"));
    let output = guest.vm.shell(script)?;
    quote(&output.stdout);
    quote(&output.stderr);
    Ok(())
}

fn say(line: &str) {
    eprintln!("  {line}");
}

fn quote(text: &str) {
    for line in text.lines() {
        eprintln!("    {line}");
    }
}

/// The acts so far and how long each took.
#[derive(Default)]
struct Acts {
    done: Vec<(String, Duration)>,
}

impl Acts {
    fn play<T>(
        &mut self,
        title: &str,
        act: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        eprintln!("\n── {}. {title}", self.done.len() + 1);
        let started = Instant::now();
        let result = act().with_context(|| format!("the demo stopped at: {title}"))?;
        self.done.push((title.to_owned(), started.elapsed()));
        Ok(result)
    }

    fn summary(&self, fix: &KnownFix, picked: &Picked, folder: &Path) {
        println!(
            "\nClosed {} in a running {} without a reboot.\n",
            fix.cve, picked.release
        );
        for (title, took) in &self.done {
            println!("  {:>6.1} s  {title}", took.as_secs_f64());
        }
        let total: Duration = self.done.iter().map(|(_, took)| *took).sum();
        println!("  {:>6.1} s  in all\n", total.as_secs_f64());
        let suture = std::env::current_exe().unwrap_or_else(|_| "suture".into());
        let suture = suture.display();
        println!("Try next:\n  cd {}", folder.display());
        println!(
            "  {suture} serve --repository repository --tls-certificate tls.crt --tls-key tls.key"
        );
        println!("    then open https://127.0.0.1:8443 (the certificate is the demo's own)");
        println!("  {suture} admin machines {EMAIL}");
        println!("  {suture} verify patch/livepatch.ko --source patch/source.tar.gz");
        println!("  {suture} kernels");
    }
}
