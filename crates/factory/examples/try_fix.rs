//! Tries whether diffs become a live patch for a stock kernel, and says what it would replace.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use suture_factory::{Log, Progress, default_cache, with_workbench};

const USAGE: &str = "usage: try_fix RELEASE DIFF...";

/// Prints each step.
struct Steps;

impl Progress for Steps {
    fn begin(&self, _what: &str) {}

    fn end(&self, what: &str, took: Duration) {
        println!("{:>7.1} s  {what}", took.as_secs_f64());
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let release = arguments.next().context(USAGE)?.parse()?;
    let fixes: Vec<PathBuf> = arguments.map(PathBuf::from).collect();
    let started = Instant::now();
    let version = "1.1".parse()?;
    let log = Log::to_file(&std::env::temp_dir().join("try_fix.log"));
    let result = with_workbench(&release, &default_cache(), &log, &Steps, |bench| {
        bench.try_fixes(version, &fixes)
    })?;
    match result {
        Ok(trial) => {
            for function in &trial.functions {
                println!(
                    "{} of {} in {}",
                    function.name, function.unit, function.object
                );
            }
        }
        Err(error) => println!("{error}"),
    }
    println!("{:.1} s in all", started.elapsed().as_secs_f64());
    Ok(())
}
