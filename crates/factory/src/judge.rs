//! Judging a fix: the way of a build up to the point where a module would be linked.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use suture_advisory::PatchVersion;
use suture_kernel::KernelRelease;

use crate::command::Log;
use crate::error::{FactoryError, Refusals};
use crate::fix::{self, Fix};
use crate::job::Job;
use crate::opened_kernel::OpenedKernel;
use crate::progress::Progress;
use crate::verdict::Verdict;

/// Judges whether diffs, which apply in order, can become a live patch of a kernel. `named` are
/// units to compile besides the edited ones.
///
/// # Errors
///
/// What is no verdict: a fix that does not apply, a kernel that can't be had.
pub fn judge(
    release: &KernelRelease,
    fixes: &[PathBuf],
    named: &[String],
    cache: &Path,
    log: &Log,
    progress: &dyn Progress,
) -> Result<Verdict, FactoryError> {
    let fixes = fixes
        .iter()
        .map(|path| Fix::read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let mut verdict = Verdict::blank(release);
    let plan = match fix::plan(&fixes, named) {
        Ok(plan) => plan,
        Err(refusals) => {
            verdict.conclude(Err(FactoryError::Refused(Refusals(refusals))))?;
            return Ok(verdict);
        }
    };
    let kernel = OpenedKernel::open(release, cache, log, progress)?;
    verdict.of_kernel(kernel.abi);
    let (batch, rebuild) = (NonZeroU32::MIN, NonZeroU32::MIN);
    let job = Job {
        kernel: &kernel,
        log,
        progress,
        // Nothing is linked, so no version is seen.
        version: PatchVersion::new(batch, rebuild),
        compiles: Mutex::default(),
    };
    let units = match job.compile(&fixes, &plan, named) {
        Ok(units) => units,
        Err(error) => {
            verdict.conclude(Err(error))?;
            return Ok(verdict);
        }
    };
    for unit in &units {
        verdict.add(unit)?;
    }
    let facts = kernel.facts(progress)?;
    verdict.conclude(job.extract(&units, &facts).map(drop))?;
    Ok(verdict)
}
