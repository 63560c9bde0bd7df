//! How long a live patch takes against the compiles that it needs, measured in one run.
//!
//! For each unit a small fix is made, built once with nothing kept of the unit (new), and once
//! more with the unpatched unit kept (kept). Printed are wall times, their ratio, and the most
//! memory that the build and the programs that it runs had at one time.

#[path = "bench_build/memory.rs"]
mod memory;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use suture_advisory::Record;
use suture_factory::archive::{Archive, Package};
use suture_factory::{
    BuildOutput, BuildRequest, FactoryError, Log, Silent, SmokePlan, build, default_cache,
    extract_sources, stock_releases, unified,
};
use suture_kernel::KernelRelease;

/// A unit and an edit of one function in it.
struct Case {
    unit: &'static str,
    from: &'static str,
    to: &'static str,
}

const CASES: [Case; 3] = [
    Case {
        unit: "fs/proc/cmdline.c",
        from: "seq_putc(m, '\\n');",
        to: "seq_putc(m, '\\n');\n\tbarrier_data(m);\n\tseq_putc(m, '\\n');",
    },
    Case {
        unit: "net/phonet/pep.c",
        from: "case PNPIPE_IFINDEX:",
        to: "case PNPIPE_IFINDEX + 77:\n\tcase PNPIPE_IFINDEX:",
    },
    Case {
        unit: "net/ipv4/tcp_input.c",
        from: "inet_csk_schedule_ack(sk);",
        to: "inet_csk_schedule_ack(sk);\n\tprefetch(sk);",
    },
];

const RECORD: &str = include_str!("../../../advisories/CVE-2026-89603.json");

fn main() {
    if let Err(error) = run() {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), FactoryError> {
    let archive = Archive::new(&default_cache(), Log::none());
    let sources = archive.versions("linux-source-6.1")?;
    let offered = stock_releases(&archive, "6.1")?;
    // One that the demo or the tests prepared already needs no download.
    let known = |(release, version): &(KernelRelease, String)| {
        sources.contains(version) && kernel_folder(release).exists()
    };
    let with_source = |(_, version): &(KernelRelease, String)| sources.contains(version);
    let picked = offered.iter().find(|kernel| known(kernel));
    let Some((release, version)) = picked.or_else(|| offered.iter().find(|k| with_source(k)))
    else {
        eprintln!("the package archive offers no stock 6.1 kernel with its source");
        std::process::exit(1);
    };
    println!("kernel {release} ({version}); seconds of wall time\n");
    println!(
        "{:<22}{:>6}{:>8}{:>10}{:>9}{:>10}{:>7}{:>7}{:>8}",
        "unit", "", "plain", "original", "patched", "compiles", "all", "ratio", "MiB"
    );
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (number, case) in CASES.iter().enumerate() {
        let fix = write_fix(&archive, version, case, folder.path())?;
        // The tree is prepared and its working copy made before anything is measured.
        measure(
            release,
            &fix,
            &folder.path().join(format!("{number}-first")),
        )?;
        let kept = kernel_folder(release)
            .join("units")
            .join(case.unit.replace('/', "__"));
        std::fs::remove_dir_all(&kept).expect("the kept unit");
        for name in ["new", "kept"] {
            let output = folder.path().join(format!("{number}-{name}"));
            let watch = memory::Watch::start();
            let (built, took) = measure(release, &fix, &output)?;
            report(case.unit, name, &built, took, watch.peak());
        }
    }
    println!("\ncompiles: all of them, which run side by side; ratio: all / compiles");
    Ok(())
}

fn kernel_folder(release: &KernelRelease) -> PathBuf {
    default_cache()
        .join("kernels")
        .join(format!("{release}_amd64"))
}

fn write_fix(
    archive: &Archive,
    version: &str,
    case: &Case,
    folder: &Path,
) -> Result<PathBuf, FactoryError> {
    let package = Package {
        name: "linux-source-6.1".to_owned(),
        version: version.to_owned(),
    };
    extract_sources(
        archive,
        &package,
        &[case.unit.to_owned()],
        folder,
        &Log::none(),
    )?;
    let before = std::fs::read_to_string(folder.join(case.unit)).expect("the unit's source");
    assert!(
        before.contains(case.from),
        "{} has no `{}` any more",
        case.unit,
        case.from
    );
    let after = before.replacen(case.from, case.to, 1);
    let path = folder
        .join(case.unit.replace('/', "-"))
        .with_extension("diff");
    std::fs::write(&path, unified(case.unit, Some(&before), Some(&after))).expect("the fix");
    Ok(path)
}

fn measure(
    release: &KernelRelease,
    fix: &Path,
    output: &Path,
) -> Result<(BuildOutput, Duration), FactoryError> {
    let record = Record::parse(RECORD.as_bytes()).expect("a CVE record");
    let request = BuildRequest {
        release: release.clone(),
        version: "1.1".parse().expect("a version"),
        fixes: vec![fix.to_owned()],
        advisories: vec![(record, RECORD.to_owned())],
        ratings: vec![],
        units: vec![],
        output: output.to_owned(),
        cache: default_cache(),
        key: None,
        smoke: SmokePlan::Skip {
            why: "the benchmark times the build alone".to_owned(),
        },
        created: Timestamp::UNIX_EPOCH,
    };
    let started = Instant::now();
    let built = build(&request, &Silent)?;
    Ok((built, started.elapsed()))
}

fn report(unit: &str, name: &str, built: &BuildOutput, took: Duration, peak: u64) {
    let compiles = built.compiles;
    let seconds = |duration: Duration| format!("{:.2}", duration.as_secs_f64());
    println!(
        "{unit:<22}{name:>6}{:>8}{:>10}{:>9}{:>10}{:>7}{:>7.2}{:>8}",
        seconds(compiles.plain),
        seconds(compiles.original),
        seconds(compiles.patched),
        seconds(compiles.wall),
        seconds(took),
        took.as_secs_f64() / compiles.wall.as_secs_f64(),
        peak >> 20,
    );
}
