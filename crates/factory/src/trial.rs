//! Trying fixes on a kernel, one after another, to see which become live patches.
//!
//! A trial makes a module and nothing that could be published: no manifest, no source archive,
//! no signature. So it needs no advisory.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use suture_advisory::PatchVersion;
use suture_differ::{FunctionChange, FunctionStatus};
use suture_kernel::{KernelRelease, ObjectName};

use crate::changed_units::{self, Comparison, Edited, Preprocessor};
use crate::command::Log;
use crate::comparison::compared;
use crate::error::{FactoryError, Refusals};
use crate::extraction::glue_objects;
use crate::fix::{self, Fix};
use crate::job::{CompileTimes, Job};
use crate::opened_kernel::{Facts, OpenedKernel};
use crate::progress::Progress;
use crate::reach::Reach;
use crate::unit::Unit;

/// A kernel that is open for trials.
pub struct Workbench<'a> {
    kernel: &'a OpenedKernel,
    facts: &'a Facts<'a>,
    log: Log,
    progress: &'a dyn Progress,
}

/// What a trial made.
#[derive(Debug)]
pub struct Trial {
    /// The unsigned module.
    pub module: Vec<u8>,
    pub functions: Vec<TrialFunction>,
    pub compiles: CompileTimes,
}

/// A function that the module replaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialFunction {
    pub object: ObjectName,
    pub name: String,
    /// Its place among the symbols of that name in the object, 0 if there is but one.
    pub position: u64,
    pub unit: String,
}

/// Opens a kernel, from the cache as far as it is there, and lets `work` try fixes on it.
pub fn with_workbench<T>(
    release: &KernelRelease,
    cache: &Path,
    log: &Log,
    progress: &dyn Progress,
    work: impl FnOnce(&Workbench<'_>) -> T,
) -> Result<T, FactoryError> {
    let kernel = OpenedKernel::open(release, cache, log, progress)?;
    let facts = kernel.facts(progress)?;
    Ok(work(&Workbench {
        kernel: &kernel,
        facts: &facts,
        log: log.clone(),
        progress,
    }))
}

/// What our own preprocessor and the compiler's see in some units of a kernel.
#[derive(Debug, Default)]
pub struct Preprocessors {
    /// Units in which both see the same.
    pub same: usize,
    /// Sources of units in which they see different things.
    pub other: Vec<String>,
    /// Sources of units that only the compiler handles.
    pub left: Vec<String>,
}

impl Workbench<'_> {
    /// Whether this kernel is compiled from a source file.
    pub fn is_compiled(&self, source: &str) -> bool {
        self.kernel.commands.units_of(source).next().is_some()
    }

    /// The kernel's image and the folder of its modules, for booting it.
    pub fn boot_files(&self) -> (PathBuf, PathBuf) {
        (self.kernel.shipped.vmlinuz(), self.kernel.shipped.modules())
    }

    /// The files that the compiler read for a source file; none if it was never compiled.
    pub fn files_read(&self, source: &str) -> Result<BTreeSet<String>, FactoryError> {
        let mut read = BTreeSet::new();
        for command in self.kernel.commands.units_of(source) {
            let unit = Unit::new(&self.kernel.tree, command)?;
            read.extend(unit.dependencies()?);
        }
        Ok(read)
    }

    /// How many units may include a file that these diffs edit.
    pub fn reach(&self, fixes: &[PathBuf]) -> Result<usize, FactoryError> {
        let plan = plan(&read(fixes)?)?;
        let reach = Reach::find(self.kernel, &plan, &[], &self.log)?;
        Ok(reach.includers.len())
    }

    /// The units, by their objects, that merely include what these diffs edit, and that can change
    /// by it.
    pub fn changed_includers(
        &self,
        fixes: &[PathBuf],
        preprocessor: Preprocessor,
    ) -> Result<Vec<String>, FactoryError> {
        let fixes = read(fixes)?;
        let plan = plan(&fixes)?;
        let version = PatchVersion::new(NonZeroU32::MIN, NonZeroU32::MIN);
        self.job(version)
            .changed_includers(&fixes, &plan, preprocessor)
    }

    /// Compares our own preprocessor with the compiler's in one of so many C units.
    ///
    /// # Errors
    ///
    /// If the compiler can't be run. That the two see different things is in the answer.
    pub fn compare_preprocessors(&self, one_of: usize) -> Result<Preprocessors, FactoryError> {
        let tree = &self.kernel.tree;
        let copy = tree.working_copy()?;
        let edited = Edited {
            tree,
            headers: self.kernel.headers(&self.log),
            copy: &copy,
            files: &[],
            log: &self.log,
        };
        let units = self.kernel.commands.all().iter();
        let units: Vec<_> = units.filter(|unit| unit.is_c()).step_by(one_of).collect();
        let mut told = Preprocessors::default();
        for (unit, comparison) in units.iter().zip(changed_units::compare(&units, &edited)?) {
            match comparison {
                Comparison::Same => told.same += 1,
                Comparison::Other => told.other.push(unit.source.clone()),
                Comparison::NotHere => told.left.push(unit.source.clone()),
            }
        }
        Ok(told)
    }

    /// Makes the module of these diffs, which apply in order.
    pub fn try_fixes(
        &self,
        version: PatchVersion,
        fixes: &[PathBuf],
    ) -> Result<Trial, FactoryError> {
        let fixes = read(fixes)?;
        let plan = plan(&fixes)?;
        let job = self.job(version);
        let units = job.compile(&fixes, &plan, &[])?;
        let extracted = job.extract(&units, self.facts)?;
        let objects = glue_objects(&extracted);
        let glue = job.glue(self.facts, &[], &objects);
        let module = job.link(&extracted, self.facts, &glue)?;
        let functions = extracted.iter().flat_map(|unit| {
            unit.functions.iter().map(|(function, _)| TrialFunction {
                object: unit.object.clone(),
                name: function.old_name.clone(),
                position: function.old_sympos,
                unit: unit.source.clone(),
            })
        });
        Ok(Trial {
            module,
            functions: functions.collect(),
            compiles: *job.compiles.lock().unwrap_or_else(PoisonError::into_inner),
        })
    }

    /// Whether diffs, which apply in order, change or add a function that outlives the start; else
    /// it is only data, tables and code of the start that they change.
    pub fn changes_running_code(&self, fixes: &[PathBuf]) -> Result<bool, FactoryError> {
        let fixes = read(fixes)?;
        let version = PatchVersion::new(NonZeroU32::MIN, NonZeroU32::MIN);
        let units = self.job(version).compile(&fixes, &plan(&fixes)?, &[])?;
        for unit in &units {
            let functions = compared(&unit.source, &unit.original, &unit.patched)?.functions;
            let changed = |function: &&FunctionChange| {
                let other = [FunctionStatus::Changed, FunctionStatus::New];
                other.contains(&function.status) && function.outlives_start()
            };
            if functions.iter().any(|function| changed(&function)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn job(&self, version: PatchVersion) -> Job<'_> {
        Job {
            kernel: self.kernel,
            log: &self.log,
            progress: self.progress,
            version,
            compiles: Mutex::default(),
        }
    }
}

fn read(fixes: &[PathBuf]) -> Result<Vec<Fix>, FactoryError> {
    fixes.iter().map(|path| Fix::read(path)).collect()
}

fn plan(fixes: &[Fix]) -> Result<fix::Plan, FactoryError> {
    fix::plan(fixes, &[]).map_err(|refusals| FactoryError::Refused(Refusals(refusals)))
}
