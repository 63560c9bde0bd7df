//! How many real fixes become live patches: the stable series' own, one file at a time.
//!
//! Between two source packages of a series lie some hundred small fixes. Each `.c` file that
//! differs and that the stock kernel of the older version is compiled from is one fix here; with
//! the headers and files that it needs where it does not compile alone. Each result is a line of
//! JSON, so that a run can be continued; what another build of this program found is tried again.

mod changes;
mod group;
mod holes;
mod load;
mod report;
mod row;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use suture_factory::archive::Archive;
use suture_factory::{
    Log, Silent, Suite, default_cache, sha256_hex, stock_releases, with_workbench,
};
use suture_kernel::KernelRelease;

use crate::changes::Changes;
use crate::holes::Hole;
use crate::row::{Attempt, Case, Row, Tried};

const USAGE: &str = "usage: bench_coverage [--suite SUITE] [--series 6.1] [--from VERSION] [--to VERSION] \
    [--results FILE] [--resume] [--keep-built] [--sample N] [--seed S] [--minutes M] [--only PATH] \
    [--holes FILE] [--reach UNITS] [--load-each N]";

/// Settings from the command line.
struct Options {
    /// Another release of the distribution than this machine's, e.g. `trixie`.
    suite: Option<String>,
    series: String,
    from: Option<String>,
    to: Option<String>,
    results: PathBuf,
    /// Results of this very build of the program are kept.
    resume: bool,
    /// And modules that another build of it made.
    keep_built: bool,
    sample: Option<usize>,
    seed: u64,
    minutes: Option<u64>,
    only: Vec<String>,
    /// A list of holes, whose whole fixes are tried first.
    holes: Option<PathBuf>,
    /// Fixes are left that need what more units may include: each has to be preprocessed.
    reach: usize,
    /// One of so many modules that were built is loaded; 0 for none.
    load_each: usize,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            suite: None,
            series: "6.1".to_owned(),
            from: None,
            to: None,
            results: "target/coverage.jsonl".into(),
            resume: false,
            keep_built: false,
            sample: None,
            seed: 1,
            minutes: None,
            only: Vec::new(),
            holes: None,
            reach: usize::MAX,
            load_each: 0,
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().context(USAGE);
            match name.as_str() {
                "--suite" => options.suite = Some(value()?),
                "--series" => options.series = value()?,
                "--from" => options.from = Some(value()?),
                "--to" => options.to = Some(value()?),
                "--results" => options.results = value()?.into(),
                "--resume" => options.resume = true,
                "--keep-built" => {
                    options.resume = true;
                    options.keep_built = true;
                }
                "--sample" => options.sample = Some(value()?.parse()?),
                "--seed" => options.seed = value()?.parse()?,
                "--minutes" => options.minutes = Some(value()?.parse()?),
                "--only" => options.only.push(value()?),
                "--holes" => options.holes = Some(value()?.into()),
                "--reach" => options.reach = value()?.parse()?,
                "--load-each" => options.load_each = value()?.parse()?,
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
    let (cache, log) = (default_cache(), Log::none());
    let archive = match &options.suite {
        Some(name) => Archive::of_suite(&cache, Suite::named(&cache, name, &log)?, log),
        None => Archive::new(&cache, log),
    };
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

/// What tells this build of the program from another, whose answers may differ: the hash of its
/// file.
fn program() -> Result<String> {
    let path = std::env::current_exe()?;
    Ok(sha256_hex(&std::fs::read(path)?))
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
    let holes: Vec<Hole> = match &options.holes {
        Some(path) => holes::read(path)?,
        None => Vec::new(),
    };
    let modules = options.results.with_extension("modules").join(&step.from);
    std::fs::create_dir_all(&modules)?;
    let log = Log::to_file(&options.results.with_extension("log"));
    let (cache, program) = (default_cache(), program()?);
    with_workbench(&step.release, &cache, &log, &Silent, |bench| {
        let mut files: Vec<&str> = changes
            .units()
            .filter(|file| bench.is_compiled(file))
            .collect();
        println!("{} of its files are compiled into that kernel", files.len());
        choose(&mut files, options);
        let mut cases = holes::cases(&holes, &step.to, &changes);
        cases.extend(files.into_iter().map(|file| Case {
            name: file.to_owned(),
            files: vec![file.to_owned()],
            cve: None,
        }));
        let attempt = Attempt {
            program: &program,
            from: &step.from,
            changes: &changes,
            bench,
            modules: &modules,
        };
        try_all(&attempt, &cases, options, deadline)?;
        if options.load_each > 0 {
            let rows = Row::read(&options.results)?;
            load::load(&rows, &step.from, bench, &modules, options.load_each)?;
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

/// Changes that are whole by themselves come first: what another needs is found by compiling it,
/// and an edited header has to be looked at by every unit that includes it, the fewest first.
fn try_all(
    attempt: &Attempt<'_>,
    cases: &[Case],
    options: &Options,
    deadline: Option<Instant>,
) -> Result<()> {
    let rows = Row::read(&options.results)?.into_iter();
    let of_step: Vec<Row> = rows.filter(|row| row.from == attempt.from).collect();
    // Modules are numbered as they are made, whatever the options of the run that made them.
    let mut number = of_step
        .iter()
        .map(|row| row.number)
        .max()
        .unwrap_or_default();
    let known: HashSet<(String, Option<String>)> = of_step
        .into_iter()
        .filter(|row| !row.is_stale(attempt.program) || options.keep_built && row.is_built())
        .map(|row| (row.file, row.cve))
        .collect();
    let is_open = |case: &&Case| !known.contains(&(case.name.clone(), case.cve.clone()));
    let mut open: Vec<&Case> = cases.iter().filter(is_open).collect();
    for most in [0, options.reach] {
        let mut needing = Vec::new();
        for (done, case) in open.iter().enumerate() {
            if deadline.is_some_and(|deadline| Instant::now() > deadline) {
                let left = open.len() - done + needing.len();
                println!(
                    "the time is up; {left} are left, of which at least {} need other files",
                    needing.len()
                );
                return Ok(());
            }
            match attempt.run(case, number + 1, most)? {
                Tried::Done(row) => {
                    number += 1;
                    println!("{number:>4} {row}");
                    row.append(&options.results)?;
                }
                Tried::Needs { reach } => {
                    println!(
                        "     {} needs more, which {reach} units may include",
                        case.name
                    );
                    needing.push((reach, *case));
                }
            }
        }
        needing.sort_by_key(|(reach, _)| *reach);
        open = needing.into_iter().map(|(_, case)| case).collect();
    }
    if !open.is_empty() {
        let (left, most) = (open.len(), options.reach);
        println!("{left} are left, which need what more than {most} units may include");
    }
    Ok(())
}
