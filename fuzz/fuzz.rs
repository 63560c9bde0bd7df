//! A mutation fuzzer for tests: on stable Rust, without instrumentation, the same every time.
//!
//! A test hands over seeds, real input that a parser accepts, and the parser. What comes in is
//! changed in the ways in which files lie: bits, lengths, offsets, pieces in the wrong place, a
//! missing end. Nothing may panic, take more memory than is allowed, or run for long.
//!
//! How many seconds: `SUTURE_FUZZ_SECONDS` (default: 3). Execution `n` of a target is always the
//! same, so a longer run goes on where a shorter one ends. An input that failed is written to a
//! file, to be kept in `fuzz/corpus/TARGET/`; what is there is tried first.

#[path = "allocation.rs"]
mod allocation;
#[path = "mutate.rs"]
mod mutate;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest that one input may take, far above what any needs on a busy machine.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// A parser and what it may use.
pub struct Target<'a> {
    /// Name of its folder under `fuzz/corpus`.
    pub name: &'a str,
    pub seeds: Vec<Vec<u8>>,
    /// Most bytes that may be in use at one time beyond 32 times the length of the input.
    pub memory: usize,
    pub run: &'a dyn Fn(&[u8]),
}

impl Target<'_> {
    /// Runs kept inputs, the seeds, and then changed seeds until the time is over.
    pub fn fuzz(&self) {
        for (path, input) in self.kept() {
            self.execute(&input, &path.display().to_string());
        }
        for (number, seed) in self.seeds.iter().enumerate() {
            self.execute(seed, &format!("seed {number}"));
        }
        let start = Instant::now();
        let budget = budget();
        let mut executions: u64 = 0;
        while start.elapsed() < budget {
            let input = mutate::mutant(&self.seeds, executions);
            self.execute(&input, &format!("execution {executions}"));
            executions += 1;
        }
        assert!(executions > 0, "no time for target `{}`", self.name);
        println!("{}: {executions} executions in {budget:?}", self.name);
    }

    fn kept(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
        let Ok(folder) = std::fs::read_dir(corpus.join(self.name)) else {
            return Vec::new();
        };
        let mut paths: Vec<PathBuf> = folder.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        let read = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
        paths.into_iter().map(read).collect()
    }

    fn execute(&self, input: &[u8], what: &str) {
        let start = Instant::now();
        let (outcome, peak) =
            allocation::peak_of(|| catch_unwind(AssertUnwindSafe(|| (self.run)(input))));
        let limit = self.memory + 32 * input.len();
        let fault = if outcome.is_err() {
            "it panicked".to_owned()
        } else if peak > limit {
            format!("it used {peak} bytes of memory, {limit} are allowed")
        } else if start.elapsed() > TIME_LIMIT {
            format!("it took {:?}", start.elapsed())
        } else {
            return;
        };
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{}.bin", self.name));
        std::fs::write(&path, input).unwrap();
        panic!(
            "{what} of target `{}`: {fault}; the input is in `{}`",
            self.name,
            path.display()
        );
    }
}

fn budget() -> Duration {
    let seconds = std::env::var("SUTURE_FUZZ_SECONDS");
    let seconds = seconds.map_or(3, |text| {
        text.parse().expect("SUTURE_FUZZ_SECONDS: a number")
    });
    Duration::from_secs(seconds)
}
