//! How many real fixes become live patches: the stable series' own, one file at a time.
//!
//! Between two source packages of a series lie some hundred small fixes. Each `.c` file that
//! differs and that the stock kernel of the older version is compiled from is one fix here; with
//! the headers and files that it needs where it does not compile alone. Each result is a line of
//! JSON, so that a run can be continued.

mod changes;
mod load;
mod report;
mod row;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use suture_factory::archive::Archive;
use suture_factory::{Log, Silent, Workbench, default_cache, stock_releases, with_workbench};
use suture_kernel::KernelRelease;

use crate::changes::Changes;
use crate::row::{Row, try_file};

const USAGE: &str = "usage: bench_coverage [--series 6.1] [--from VERSION] [--to VERSION] \
    [--results FILE] [--resume] [--sample N] [--seed S] [--minutes M] [--only PATH] [--load N]";

/// Settings from the command line.
struct Options {
    series: String,
    from: Option<String>,
    to: Option<String>,
    results: PathBuf,
    resume: bool,
    sample: Option<usize>,
    seed: u64,
    minutes: Option<u64>,
    only: Vec<String>,
    load: usize,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            series: "6.1".to_owned(),
            from: None,
            to: None,
            results: "target/coverage.jsonl".into(),
            resume: false,
            sample: None,
            seed: 1,
            minutes: None,
            only: Vec::new(),
            load: 0,
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().context(USAGE);
            match name.as_str() {
                "--series" => options.series = value()?,
                "--from" => options.from = Some(value()?),
                "--to" => options.to = Some(value()?),
                "--results" => options.results = value()?.into(),
                "--resume" => options.resume = true,
                "--sample" => options.sample = Some(value()?.parse()?),
                "--seed" => options.seed = value()?.parse()?,
                "--minutes" => options.minutes = Some(value()?.parse()?),
                "--only" => options.only.push(value()?),
                "--load" => options.load = value()?.parse()?,
                _ => anyhow::bail!(USAGE),
            }
        }
        Ok(options)
    }
}

/// From one source package to the next, on the stock kernel of the older.
struct Step {
    release: KernelRelease,
    from: String,
    to: String,
}

fn main() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1))?;
    let archive = Archive::new(&default_cache(), Log::none());
    let deadline = options
        .minutes
        .map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    if !options.resume && options.results.exists() {
        std::fs::remove_file(&options.results)?;
    }
    let steps = steps(&archive, &options)?;
    ensure!(
        !steps.is_empty(),
        "the archive offers no two sources with a stock kernel between"
    );
    for step in &steps {
        println!("{} → {} on kernel {}", step.from, step.to, step.release);
        run(step, &options, &archive, deadline)?;
    }
    report::print(&Row::read(&options.results)?);
    Ok(())
}

fn steps(archive: &Archive, options: &Options) -> Result<Vec<Step>> {
    let package = format!("linux-source-{}", options.series);
    let mut versions = archive.versions(&package)?;
    versions.reverse();
    let kernels = stock_releases(archive, &options.series)?;
    let mut steps = Vec::new();
    for (index, from) in versions.iter().enumerate() {
        let next = options
            .to
            .clone()
            .or_else(|| versions.get(index + 1).cloned());
        let chosen = options.from.as_ref().is_none_or(|wanted| wanted == from);
        let kernel = kernels.iter().find(|(_, version)| version == from);
        if let (Some(to), Some((release, _)), true) = (next, kernel, chosen) {
            let (release, from) = (release.clone(), from.clone());
            steps.push(Step { release, from, to });
        }
    }
    Ok(steps)
}

fn run(step: &Step, options: &Options, archive: &Archive, deadline: Option<Instant>) -> Result<()> {
    let changes = Changes::between(archive, &options.series, &step.from, &step.to)?;
    let modules = options.results.with_extension("modules").join(&step.from);
    std::fs::create_dir_all(&modules)?;
    let log = Log::to_file(&options.results.with_extension("log"));
    let cache = default_cache();
    with_workbench(&step.release, &cache, &log, &Silent, |bench| {
        let mut files: Vec<&str> = changes
            .units()
            .filter(|file| bench.is_compiled(file))
            .collect();
        println!("{} of its files are compiled into that kernel", files.len());
        choose(&mut files, options);
        try_files(step, &files, &changes, bench, options, &modules, deadline)?;
        if options.load > 0 {
            let rows = Row::read(&options.results)?;
            load::load(&rows, &step.from, bench, &modules, options.load)?;
        }
        Ok(())
    })?
}

/// Shuffles with the seed, so that another run with it goes on where this one ends.
fn choose(files: &mut Vec<&str>, options: &Options) {
    if !options.only.is_empty() {
        files.retain(|file| {
            options
                .only
                .iter()
                .any(|only| file.starts_with(only.as_str()))
        });
    }
    fastrand::Rng::with_seed(options.seed).shuffle(files);
    files.truncate(options.sample.unwrap_or(files.len()));
}

fn try_files(
    step: &Step,
    files: &[&str],
    changes: &Changes,
    bench: &Workbench<'_>,
    options: &Options,
    modules: &Path,
    deadline: Option<Instant>,
) -> Result<()> {
    let known: HashSet<String> = Row::read(&options.results)?
        .into_iter()
        .filter(|row| row.from == step.from)
        .map(|row| row.file)
        .collect();
    for (number, file) in files.iter().enumerate() {
        if known.contains(*file) {
            continue;
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            println!("the time is up after {number} files");
            break;
        }
        let row = try_file(file, &step.from, changes, bench, number, modules)?;
        println!("{:>4} {row}", number + 1);
        row.append(&options.results)?;
    }
    Ok(())
}
