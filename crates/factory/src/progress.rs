//! How a long job tells what it is doing.

use std::time::{Duration, Instant};

/// Listens to the steps of a build. Steps don't overlap.
pub trait Progress: Sync {
    /// A step begins; `what` is a phrase such as `compiling kernel/entry/common.c`.
    fn begin(&self, what: &str);
    /// The step that began last has ended well.
    fn end(&self, what: &str, took: Duration);
}

/// Listens to nothing.
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _what: &str) {}
    fn end(&self, _what: &str, _took: Duration) {}
}

/// Runs a step and reports it.
pub(crate) fn step<T, E>(
    progress: &dyn Progress,
    what: &str,
    work: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    progress.begin(what);
    let started = Instant::now();
    let result = work()?;
    progress.end(what, started.elapsed());
    Ok(result)
}
