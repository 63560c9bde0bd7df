//! From applied fixes to the linked module: the part of a build that every way of building
//! shares. What the module takes of each unit is told in `extraction`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use suture_advisory::{CveId, PatchVersion};
use suture_kernel::{LivepatchAbi, ObjectName};

use crate::changed_units::{self, Edited, Preprocessor};
use crate::command::Log;
use crate::commands::CompileCommand;
use crate::comparison::{code_differs, unreadable};
use crate::declared;
use crate::error::{FactoryError, Refusal, Refusals};
use crate::extraction::{ExtractedUnit, GlueObjects};
use crate::files;
use crate::fix::{self, Fix};
use crate::glue::Glue;
use crate::layout;
use crate::link;
use crate::opened_kernel::{Facts, OpenedKernel, parse};
use crate::progress::{Progress, step};
use crate::reach::Reach;
use crate::taken_in::take_in;
use crate::tree::WorkingCopy;
use crate::unit::Unit;

/// How long the three compiles took; zero for what an earlier build left in the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompileTimes {
    pub plain: Duration,
    pub original: Duration,
    pub patched: Duration,
    /// From the first compile's start to the last one's end; they run side by side.
    pub wall: Duration,
}

/// A unit compiled three ways, for one of the objects that it is linked into.
pub(crate) struct CompiledUnit {
    pub source: String,
    pub object: ObjectName,
    /// Whether it is linked into other objects as well.
    pub shared: bool,
    pub plain: Vec<u8>,
    pub original: Vec<u8>,
    pub patched: Vec<u8>,
    /// Functions of the unpatched unit that are part of their callers in the patched one.
    pub taken_in: Vec<String>,
    /// For another compile of it.
    pub unit: Arc<Unit>,
    pub copy: Arc<WorkingCopy>,
}

/// Units that are looked at within seconds.
const FEW: usize = 200;

/// A unit compiled without the fix and with it.
struct Both {
    unit: Unit,
    original: Vec<u8>,
    patched: Vec<u8>,
    /// Functions of the unpatched unit that are part of their callers in the patched one.
    taken_in: Vec<String>,
}

/// Fixes in a working copy.
struct Applied<'k> {
    reach: Reach<'k>,
    copy: WorkingCopy,
    /// Path and text of each edited file.
    patched: Vec<(String, String)>,
    /// Those whose own source is edited.
    units: Vec<Unit>,
}

pub(crate) struct Job<'a> {
    pub kernel: &'a OpenedKernel,
    pub log: &'a Log,
    pub progress: &'a dyn Progress,
    pub version: PatchVersion,
    pub compiles: Mutex<CompileTimes>,
}

impl Job<'_> {
    /// Applies the fixes and compiles what they reach.
    pub fn compile(
        &self,
        fixes: &[Fix],
        plan: &fix::Plan,
        named: &[String],
    ) -> Result<Vec<CompiledUnit>, FactoryError> {
        let Applied {
            reach,
            copy,
            patched,
            units,
        } = self.apply(fixes, plan, named)?;
        let mut both = self.compile_edited(units, &copy, fixes)?;
        if reach.includers.len() > FEW {
            self.refuse_early(&both, &copy)?;
        }
        both.extend(self.compile_includers(&reach, &patched, &copy)?);
        let (mut compiled, copy) = (Vec::new(), Arc::new(copy));
        for both in both {
            compiled.extend(self.per_object(both, &copy)?);
        }
        if compiled.is_empty() {
            return Err(refused(reach.nothing(self.kernel.tree.release())));
        }
        Ok(compiled)
    }

    /// Units that merely include what the fixes edit and that can change by it.
    pub fn changed_includers(
        &self,
        fixes: &[Fix],
        plan: &fix::Plan,
        preprocessor: Preprocessor,
    ) -> Result<Vec<String>, FactoryError> {
        let Applied {
            reach,
            copy,
            patched,
            ..
        } = self.apply(fixes, plan, &[])?;
        let changed = self.changed(&reach, &patched, &copy, preprocessor)?;
        Ok(changed.iter().map(|unit| unit.object.clone()).collect())
    }

    /// The reached units that can change; see [`changed_units`].
    fn changed<'k>(
        &self,
        reach: &Reach<'k>,
        patched: &[(String, String)],
        copy: &WorkingCopy,
        preprocessor: Preprocessor,
    ) -> Result<Vec<&'k CompileCommand>, FactoryError> {
        let edited = Edited {
            tree: &self.kernel.tree,
            headers: self.kernel.headers(self.log),
            copy,
            files: patched,
            log: self.log,
        };
        changed_units::changed(&reach.includers, &edited, preprocessor, self.progress)
    }

    /// Finds what the fixes reach, and takes a working copy with them.
    fn apply(
        &self,
        fixes: &[Fix],
        plan: &fix::Plan,
        named: &[String],
    ) -> Result<Applied<'_>, FactoryError> {
        let (tree, log) = (&self.kernel.tree, self.log);
        let scratch =
            tempfile::tempdir().map_err(FactoryError::file("make", &std::env::temp_dir()))?;
        let patched = fix::apply(fixes, plan, tree.path(), scratch.path(), log)?;
        let patched = [patched, declared::header(fixes).into_iter().collect()].concat();
        let reach = step(
            self.progress,
            "finding the units that the fix reaches",
            || Reach::find(self.kernel, plan, named, log),
        )?;
        let copy = step(self.progress, "taking a working copy of the tree", || {
            tree.working_copy()
        })?;
        let units = reach
            .edited
            .iter()
            .map(|command| Unit::new(tree, command))
            .collect::<Result<Vec<_>, _>>()?;
        for unit in &units {
            copy.complete(tree, &unit.dependencies()?)?;
        }
        copy.replace(&patched)?;
        Ok(Applied {
            reach,
            copy,
            patched,
            units,
        })
    }

    fn compile_edited(
        &self,
        units: Vec<Unit>,
        copy: &WorkingCopy,
        fixes: &[Fix],
    ) -> Result<Vec<Both>, FactoryError> {
        if units.is_empty() {
            return Ok(Vec::new());
        }
        let what = format!(
            "compiling {} as shipped, and with and without the fix",
            names(&units)
        );
        step(self.progress, &what, || {
            self.timed(|| {
                let compiled = units.into_par_iter();
                let compiled = compiled.map(|unit| self.edited(unit, copy, fixes));
                all_or_refusals(compiled.collect())
            })
        })
    }

    /// The units that merely include an edited file, as far as their code changes.
    fn compile_includers(
        &self,
        reach: &Reach<'_>,
        patched: &[(String, String)],
        copy: &WorkingCopy,
    ) -> Result<Vec<Both>, FactoryError> {
        let tree = &self.kernel.tree;
        let changed = self.changed(reach, patched, copy, Preprocessor::Own)?;
        if changed.is_empty() {
            return Ok(Vec::new());
        }
        let what = format!(
            "compiling {} units that include an edited file",
            changed.len()
        );
        step(self.progress, &what, || {
            let compile = |command| {
                let unit = Unit::new(tree, command)?;
                let both = self.both(unit, copy)?;
                let (original, patched) = (&both.original, &both.patched);
                if original == patched || !code_differs(&both.unit.source, original, patched)? {
                    return Ok(None);
                }
                self.plain(&both.unit)?;
                Ok::<_, FactoryError>(Some(both))
            };
            let found = self.timed(|| {
                let compiled = changed.par_iter().map(|command| compile(command));
                all_or_refusals(compiled.collect())
            })?;
            Ok(found.into_iter().flatten().collect())
        })
    }

    fn plain(&self, unit: &Unit) -> Result<Vec<u8>, FactoryError> {
        let compiled = unit.plain(&self.kernel.tree, self.log)?;
        self.add(|times| times.plain += compiled.took);
        Ok(compiled.bytes)
    }

    /// All three compiles side by side; the plain one is kept, and read again later. A fourth where
    /// functions have to become part of their callers.
    fn edited(&self, unit: Unit, copy: &WorkingCopy, fixes: &[Fix]) -> Result<Both, FactoryError> {
        let (plain, both) = rayon::join(|| self.plain(&unit), || self.compiled(&unit, copy));
        plain?;
        let (original, patched) = both?;
        let trees = (&self.kernel.tree, copy);
        let taken_in = take_in(&unit, (&original, &patched), fixes, trees, self.log)?;
        let (patched, taken_in) = match taken_in {
            Some(taken_in) => (taken_in.object, taken_in.functions),
            None => (patched, Vec::new()),
        };
        Ok(Both {
            unit,
            original,
            patched,
            taken_in,
        })
    }

    fn both(&self, unit: Unit, copy: &WorkingCopy) -> Result<Both, FactoryError> {
        let (original, patched) = self.compiled(&unit, copy)?;
        Ok(Both {
            unit,
            original,
            patched,
            taken_in: Vec::new(),
        })
    }

    fn compiled(
        &self,
        unit: &Unit,
        copy: &WorkingCopy,
    ) -> Result<(Vec<u8>, Vec<u8>), FactoryError> {
        let (original, patched) = unit.both(&self.kernel.tree, copy, self.log)?;
        self.add(|times| {
            times.original += original.took;
            times.patched += patched.took;
        });
        Ok((original.bytes, patched.bytes))
    }

    /// What is certain to be refused is told before many units are looked at, which takes minutes.
    fn refuse_early(&self, edited: &[Both], copy: &WorkingCopy) -> Result<(), FactoryError> {
        let mut refusals = Vec::new();
        for both in edited {
            let (source, bytes) = (&both.unit.source, (&both.original[..], &both.patched[..]));
            let anew = layout::laid_out_anew(source, bytes)?;
            refusals.extend(self.without_stacks(source, bytes, copy, anew)?);
        }
        match refusals.is_empty() {
            true => Ok(()),
            false => Err(refused(refusals)),
        }
    }

    /// The refusals without those of data structures whose objects lie on stacks alone, if the
    /// kernel looks at stacks.
    pub(crate) fn without_stacks(
        &self,
        source: &str,
        (original, patched): (&[u8], &[u8]),
        copy: &WorkingCopy,
        refusals: Vec<Refusal>,
    ) -> Result<Vec<Refusal>, FactoryError> {
        let is_layout = |refusal: &Refusal| matches!(refusal, Refusal::Layout { .. });
        if !self.kernel.abi.has_transitions() || !refusals.iter().any(is_layout) {
            return Ok(refusals);
        }
        // A function that is left alone would go on with the old layout, and so would a task in code
        // that the kernel does not look for.
        let unseen = suture_differ::unseen_code(original, patched);
        let unseen = unseen.map_err(|error| unreadable(source, &error))?;
        if unseen.is_some() || suture_differ::has_markers(&parse(source, patched)?) {
            return Ok(refusals);
        }
        let [before, after] =
            [self.kernel.tree.path(), copy.path()].map(|tree| files::read_text(&tree.join(source)));
        let (Ok(before), Ok(after)) = (before, after) else {
            return Ok(refusals);
        };
        let compiles = layout::Compiles {
            source,
            objects: [original, patched],
            texts: [&before, &after],
        };
        let mut left = Vec::new();
        for refusal in refusals {
            let Refusal::Layout { name, .. } = &refusal else {
                left.push(refusal);
                continue;
            };
            let why = layout::outlives_calls(name, &compiles)?;
            let told = why.as_deref().unwrap_or("it lies on stacks alone");
            self.log
                .note(&format!("{source}: `{name}` is laid out anew: {told}"));
            if why.is_some() {
                left.push(refusal);
            }
        }
        Ok(left)
    }

    /// Adds the wall time of compiles.
    fn timed<T>(&self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        self.add(|times| times.wall += started.elapsed());
        result
    }

    fn add(&self, what: impl FnOnce(&mut CompileTimes)) {
        what(&mut self.compiles.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn per_object(
        &self,
        both: Both,
        copy: &Arc<WorkingCopy>,
    ) -> Result<Vec<CompiledUnit>, FactoryError> {
        let (plain, unit) = (self.plain(&both.unit)?, Arc::new(both.unit));
        let compiled = unit.objects.iter().map(|object| CompiledUnit {
            source: unit.source.clone(),
            object: object.clone(),
            shared: unit.objects.len() > 1,
            plain: plain.clone(),
            original: both.original.clone(),
            patched: both.patched.clone(),
            taken_in: both.taken_in.clone(),
            unit: Arc::clone(&unit),
            copy: Arc::clone(copy),
        });
        Ok(compiled.collect())
    }

    /// Links and checks the module: its unsigned bytes.
    pub fn link(
        &self,
        extracted: &[ExtractedUnit],
        facts: &Facts<'_>,
        glue: &Glue<'_>,
    ) -> Result<Vec<u8>, FactoryError> {
        let parts: Vec<&[u8]> = extracted.iter().map(|unit| unit.bytes.as_slice()).collect();
        step(self.progress, "linking and checking the module", || {
            let folder =
                tempfile::tempdir().map_err(FactoryError::file("make", &std::env::temp_dir()))?;
            let (tree, folder) = (&self.kernel.tree, folder.path());
            let commands = self.kernel.module_link(self.log)?;
            let module = link::link(tree, &commands, folder, glue, &parts, self.log)?;
            link::check(&module, &facts.symvers, &facts.vermagic)?;
            Ok(module)
        })
    }

    /// What the glue has to say of the extracted functions.
    pub fn glue<'g>(
        &self,
        facts: &'g Facts<'_>,
        cves: &'g [CveId],
        objects: &'g GlueObjects,
    ) -> Glue<'g> {
        Glue {
            abi: self.kernel.abi,
            relocations: &objects.relocations,
            version: self.version,
            kernel: &facts.build,
            fixes: cves,
            objects: &objects.functions,
            callbacks: &objects.callbacks,
            states: &objects.states,
            // Kernels that clean up by themselves have this function; a table is written again.
            clear_relocations: self.kernel.abi == LivepatchAbi::Replacing
                && facts.kallsyms.named("clear_relocate_add").len() == 0,
        }
    }
}

fn names(units: &[Unit]) -> String {
    let names: Vec<&str> = units.iter().map(|unit| unit.source.as_str()).collect();
    names.join(", ")
}

pub(crate) fn refused(refusals: Vec<Refusal>) -> FactoryError {
    FactoryError::Refused(Refusals::merged(refusals))
}

/// All results, or the refusals of all units together.
fn all_or_refusals<T>(results: Vec<Result<T, FactoryError>>) -> Result<Vec<T>, FactoryError> {
    let (mut all, mut refusals) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(result) => all.push(result),
            Err(FactoryError::Refused(Refusals(more))) => {
                refusals.extend(more);
                refusals.dedup();
            }
            Err(error) => return Err(error),
        }
    }
    if refusals.is_empty() {
        Ok(all)
    } else {
        Err(refused(refusals))
    }
}
