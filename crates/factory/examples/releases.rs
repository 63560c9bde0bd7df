//! The whole job on a stock kernel of each release of the distribution that the archive offers:
//! equality of what is compiled here, a live patch of the image and of a module, and the smoke
//! test on the booted kernel. One line for each kernel.
//!
//! Without arguments: the newest kernel of each series in each release. With arguments: the
//! kernels of these names.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use suture_advisory::Record;
use suture_factory::archive::{Archive, Package};
use suture_factory::{
    BuildOutput, BuildRequest, Log, Silent, SmokePlan, StockKernel, build, default_cache,
    extract_sources, prove, stock_kernels, unified,
};

const RECORD: &str = include_str!("../../../advisories/CVE-2026-89603.json");

/// Units whose functions are compared with the shipped ones: of the image, and of a module.
const UNITS: [&str; 4] = [
    "fs/proc/cmdline.c",
    "fs/proc/meminfo.c",
    "net/ipv4/tcp_input.c",
    "fs/ext4/inode.c",
];

/// Edits that need nothing of the kernel's version: in the image, and in a module.
const EDITS: [(&str, &str, &str); 2] = [
    (
        "fs/proc/meminfo.c",
        "\"MemFree:        \"",
        "\"MemPatched:     \"",
    ),
    ("net/phonet/socket.c", "pt  loc  rem", "pt  patched  rem"),
];

/// What came of one kernel.
#[derive(Default)]
struct Row {
    compiler: String,
    equal: usize,
    compared: usize,
    /// Functions that are not equal and not weak: those that no patch can be made of.
    unequal: Vec<String>,
    prepared: Duration,
    built: Duration,
    smoke: Duration,
}

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let kernels = offered(&wanted)?;
    ensure!(
        !kernels.is_empty(),
        "the archive offers no such kernel with its source"
    );
    println!(
        "{:<26}{:>12}{:>11}{:>9}{:>8}{:>8}  compiler",
        "kernel (seconds)", "equal", "prepare", "build", "smoke", "loaded"
    );
    let mut failed = Vec::new();
    for (archive, kernel) in &kernels {
        let release = kernel.release.to_string();
        let mut row = Row::default();
        let result = whole_job(archive, kernel, &mut row);
        let loaded = if result.is_ok() { "yes" } else { "no" };
        let seconds = |duration: Duration| format!("{:.1}", duration.as_secs_f64());
        println!(
            "{release:<26}{:>12}{:>11}{:>9}{:>8}{loaded:>8}  {}",
            format!("{}/{}", row.equal, row.compared),
            seconds(row.prepared),
            seconds(row.built),
            seconds(row.smoke),
            row.compiler
        );
        for function in &row.unequal {
            println!("  {function}");
        }
        if let Err(why) = result {
            println!("  {why:#}");
            failed.push(release);
        }
    }
    ensure!(failed.is_empty(), "not served: {}", failed.join(", "));
    Ok(())
}

/// The kernels to try, with the archive that has each.
fn offered(wanted: &[String]) -> Result<Vec<(Archive, StockKernel)>> {
    let mut kernels: Vec<(Archive, StockKernel)> = Vec::new();
    for archive in Archive::all(&default_cache(), &Log::none())? {
        let mut series = Vec::new();
        // A mirror need not have every release.
        for kernel in stock_kernels(&archive, None).unwrap_or_default() {
            let release = kernel.release.as_str();
            let own = release.split('.').take(2).map(str::to_owned);
            let own: Vec<String> = own.collect();
            let chosen = if wanted.is_empty() {
                !series.contains(&own)
            } else {
                wanted.iter().any(|wanted| wanted == release)
            };
            if kernel.has_source && chosen {
                series.push(own);
                kernels.push((archive.clone(), kernel));
            }
        }
    }
    Ok(kernels)
}

fn whole_job(archive: &Archive, kernel: &StockKernel, row: &mut Row) -> Result<()> {
    let cache = default_cache();
    let started = Instant::now();
    let units = UNITS.map(str::to_owned);
    let proofs = prove(&kernel.release, &units, &cache, &Silent)?;
    row.prepared = started.elapsed();
    for proof in proofs {
        row.compared += proof.compared;
        row.equal += proof.compared - proof.unequal.len();
        let real = proof
            .unequal
            .iter()
            .filter(|(_, why)| !why.contains("weak"));
        row.unequal
            .extend(real.map(|(name, why)| format!("{name}: {why}")));
    }
    let folder = tempfile::tempdir()?;
    let fix = write_fix(archive, kernel, folder.path())?;
    let started = Instant::now();
    let built = build_from(kernel, &fix, &folder.path().join("patch"))?;
    let all = started.elapsed();
    row.smoke = smoke_time(&folder.path().join("patch"))?;
    row.built = all.saturating_sub(row.smoke);
    row.compiler = built.manifest.build.compiler;
    Ok(())
}

fn write_fix(archive: &Archive, kernel: &StockKernel, folder: &Path) -> Result<std::path::PathBuf> {
    let numbers: Vec<&str> = kernel.release.as_str().split('.').take(2).collect();
    let package = Package {
        name: format!("linux-source-{}", numbers.join(".")),
        version: kernel.version.clone(),
    };
    let paths = EDITS.map(|(path, _, _)| path.to_owned());
    extract_sources(archive, &package, &paths, folder, &Log::none())?;
    let mut diff = String::new();
    for (path, from, to) in EDITS {
        let before = std::fs::read_to_string(folder.join(path))
            .with_context(|| format!("{} has no {path}", package.name))?;
        ensure!(before.contains(from), "`{path}` has no `{from}`");
        diff += &unified(path, Some(&before), Some(&before.replacen(from, to, 1)));
    }
    let fix = folder.join("fix.diff");
    std::fs::write(&fix, diff)?;
    Ok(fix)
}

fn build_from(kernel: &StockKernel, fix: &Path, output: &Path) -> Result<BuildOutput> {
    let request = BuildRequest {
        release: kernel.release.clone(),
        version: "1.1".parse()?,
        fixes: vec![fix.to_owned()],
        advisories: vec![(Record::parse(RECORD.as_bytes())?, RECORD.to_owned())],
        ratings: vec![],
        units: vec![],
        output: output.to_owned(),
        cache: default_cache(),
        key: None,
        smoke: SmokePlan::Run { extra_load: None },
        created: Timestamp::UNIX_EPOCH,
    };
    Ok(build(&request, &Silent)?)
}

/// How long the steps of the smoke test took together.
fn smoke_time(folder: &Path) -> Result<Duration> {
    let text = std::fs::read_to_string(folder.join(suture_factory::SMOKE_FILE))?;
    let evidence: suture_protocol::SmokeEvidence = serde_json::from_str(&text)?;
    let took = evidence.steps.iter().map(|step| step.took_ms).sum();
    Ok(Duration::from_millis(took))
}
