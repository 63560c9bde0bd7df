//! How long it takes to find the units that diffs of headers change, and whether our own
//! preprocessor finds those that the compiler's finds. With `--one-of N` it first compares what
//! both see in one of so many units of the kernel.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use suture_factory::{
    FactoryError, Log, Preprocessor, Preprocessors, Silent, Workbench, default_cache,
    with_workbench,
};

const USAGE: &str = "usage: bench_reach [--compare] [--one-of N] RELEASE [DIFF...]";

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let compares = arguments.iter().any(|word| word == "--compare");
    arguments.retain(|word| word != "--compare");
    let one_of = take_value(&mut arguments, "--one-of")?;
    let (release, diffs) = arguments.split_first().context(USAGE)?;
    let log = Log::to_file(&std::env::temp_dir().join("bench_reach.log"));
    let release = release.parse()?;
    with_workbench(&release, &default_cache(), &log, &Silent, |bench| {
        if let Some(one_of) = one_of {
            compare_units(bench, one_of)?;
        }
        for diff in diffs {
            let diffs = [PathBuf::from(diff)];
            println!("{diff}: {} units may include it", bench.reach(&diffs)?);
            let own = changed(bench, &diffs, Preprocessor::Own)?;
            changed(bench, &diffs, Preprocessor::Own)?;
            if compares {
                let compiler = changed(bench, &diffs, Preprocessor::Compiler)?;
                let missed: Vec<_> = compiler.difference(&own).collect();
                let more: Vec<_> = own.difference(&compiler).collect();
                println!("  missed {missed:?}, more {more:?}");
                ensure!(missed.is_empty(), "our preprocessor misses units");
            }
        }
        Ok(())
    })?
}

/// Takes a flag with a number out of the arguments.
fn take_value(arguments: &mut Vec<String>, flag: &str) -> Result<Option<usize>> {
    let Some(at) = arguments.iter().position(|word| word == flag) else {
        return Ok(None);
    };
    let value = arguments.get(at + 1).context(USAGE)?.parse()?;
    arguments.drain(at..at + 2);
    Ok(Some(value))
}

/// Prints in how many units the two preprocessors see the same.
fn compare_units(bench: &Workbench<'_>, one_of: usize) -> Result<()> {
    let started = Instant::now();
    let Preprocessors { same, other, left } = bench.compare_preprocessors(one_of)?;
    let took = started.elapsed().as_secs_f64();
    println!("{took:>7.1} s: the same in {same} units, other in {other:?}, left {left:?}");
    ensure!(other.is_empty(), "our preprocessor sees other things");
    Ok(())
}

/// Finds the units and prints how long that takes.
fn changed(
    bench: &Workbench<'_>,
    diffs: &[PathBuf],
    preprocessor: Preprocessor,
) -> Result<BTreeSet<String>> {
    let started = Instant::now();
    let found = bench.changed_includers(diffs, preprocessor);
    let took = started.elapsed().as_secs_f64();
    match found {
        Ok(units) => {
            println!(
                "  {took:>7.1} s by {preprocessor:?}: {} units change",
                units.len()
            );
            Ok(units.into_iter().collect())
        }
        Err(error @ FactoryError::Refused(_)) => {
            println!("  {took:>7.1} s by {preprocessor:?}: {error}");
            Ok(BTreeSet::new())
        }
        Err(error) => Err(error.into()),
    }
}
