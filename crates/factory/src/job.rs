//! From applied fixes to the linked module: the part of a build that every way of building
//! shares.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use suture_advisory::{CveId, PatchVersion};
use suture_differ::{
    Extracted, ExtractedFunction, Extraction, FunctionStatus, LeftOut, TableEntry, TableError,
};
use suture_kernel::{LivepatchAbi, ObjectName};

use crate::added::{self, Added};
use crate::changed_units::{self, Edited, Preprocessor};
use crate::command::Log;
use crate::commands::CompileCommand;
use crate::comparison::{code_differs, compared, unreadable};
use crate::declared::{self, Abi, Callback, Declared};
use crate::equality::Proof;
use crate::error::{FactoryError, Refusal, Refusals};
use crate::files;
use crate::fix::{self, Fix};
use crate::glue::{Glue, GlueFunction};
use crate::layout;
use crate::link;
use crate::needed_modules::NeededModules;
use crate::opened_kernel::{Facts, LIVEPATCH_HEADER, OpenedKernel, parse};
use crate::progress::{Progress, step};
use crate::reach::Reach;
use crate::reading::{Reading, Reads, own_clones};
use crate::resolver::UnitResolver;
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
    /// For another compile of it.
    unit: Arc<Unit>,
    copy: Arc<WorkingCopy>,
}

/// What goes into the module for one unit.
pub(crate) struct ExtractedUnit {
    pub object: ObjectName,
    pub source: String,
    pub bytes: Vec<u8>,
    /// What the kernel fills in, where it takes that as a table.
    pub relocations: Vec<TableEntry>,
    /// With the hash of the shipped code.
    pub functions: Vec<(ExtractedFunction, String)>,
    pub declared: Declared,
    /// What the patch goes without, with the unit; also of units of which nothing else changes.
    pub left_out: Vec<(String, LeftOut)>,
}

/// An extracted object, and the table of what the kernel fills in.
type Split = (Vec<u8>, Vec<TableEntry>);

/// Units that are looked at within seconds.
const FEW: usize = 200;

/// A unit compiled with and without the fix.
type Both = (Unit, Vec<u8>, Vec<u8>);

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
        let mut both = self.compile_edited(units, &copy)?;
        if reach.includers.len() > FEW {
            refuse_early(&both)?;
        }
        both.extend(self.compile_includers(&reach, &patched, &copy)?);
        let (mut compiled, copy) = (Vec::new(), Arc::new(copy));
        for (unit, original, patched) in both {
            compiled.extend(self.per_object(unit, &copy, original, patched)?);
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
                let compiled = compiled.map(|unit| self.three_ways(unit, copy));
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
                let (unit, original, patched) = self.both(unit, copy)?;
                let same = original == patched || !code_differs(&unit.source, &original, &patched)?;
                if same {
                    return Ok(None);
                }
                self.plain(&unit)?;
                Ok::<_, FactoryError>(Some((unit, original, patched)))
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

    /// All three compiles side by side; the plain one is kept, and read again later.
    fn three_ways(&self, unit: Unit, copy: &WorkingCopy) -> Result<Both, FactoryError> {
        let (plain, both) = rayon::join(|| self.plain(&unit), || self.compiled(&unit, copy));
        plain?;
        let (original, patched) = both?;
        Ok((unit, original, patched))
    }

    fn both(&self, unit: Unit, copy: &WorkingCopy) -> Result<Both, FactoryError> {
        let (original, patched) = self.compiled(&unit, copy)?;
        Ok((unit, original, patched))
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
        unit: Unit,
        copy: &Arc<WorkingCopy>,
        original: Vec<u8>,
        patched: Vec<u8>,
    ) -> Result<Vec<CompiledUnit>, FactoryError> {
        let (plain, unit) = (self.plain(&unit)?, Arc::new(unit));
        let compiled = unit.objects.iter().map(|object| CompiledUnit {
            source: unit.source.clone(),
            object: object.clone(),
            shared: unit.objects.len() > 1,
            plain: plain.clone(),
            original: original.clone(),
            patched: patched.clone(),
            unit: Arc::clone(&unit),
            copy: Arc::clone(copy),
        });
        Ok(compiled.collect())
    }

    /// What the module takes of each unit, or all refusals together.
    pub fn extract(
        &self,
        units: &[CompiledUnit],
        facts: &Facts<'_>,
    ) -> Result<Vec<ExtractedUnit>, FactoryError> {
        step(
            self.progress,
            "comparing, and proving equality with what was shipped",
            || {
                let added = added::of_units(self.kernel, units, facts)?;
                let results: Vec<_> = units
                    .par_iter()
                    .enumerate()
                    .map(|(index, unit)| self.extract_unit(index, unit, facts, &added))
                    .collect::<Result<_, FactoryError>>()?;
                collect_units(units, results)
            },
        )
    }

    /// The unit's part of the module, nothing if the fix does not change its code, or refusals.
    fn extract_unit(
        &self,
        index: usize,
        compiled: &CompiledUnit,
        facts: &Facts<'_>,
        added: &HashMap<String, Added>,
    ) -> Result<Result<Option<ExtractedUnit>, Vec<Refusal>>, FactoryError> {
        let CompiledUnit { source, object, .. } = compiled;
        let file = self.kernel.object_file(object)?;
        let shipped = facts.shipped_object(object, &file)?;
        let plain = parse(source, &compiled.plain)?;
        let proof = Proof::establish(&plain, &shipped);
        let (count, equal) = proof.counts();
        self.log.note(&format!(
            "{source}: {equal} of {count} functions equal what {object} shipped"
        ));
        let (kallsyms, symvers) = (&facts.kallsyms, &facts.symvers);
        let (plain, proof, shipped) = (&plain, &proof, &shipped);
        let needed = NeededModules::of(&self.kernel.shipped, &file)?;
        let resolver = UnitResolver {
            object,
            plain,
            proof,
            shipped,
            kallsyms,
            symvers,
            added,
            needed: &needed,
            other_compile: None,
            abi: self.kernel.abi,
        };
        let name = format!("u{index}");
        let bytes = (&compiled.original[..], &compiled.patched[..]);
        let mut extraction = extracted(source, bytes, object, &name, &resolver)?;
        if let Extraction::Refused(why) = &extraction
            && let Some(reads) = Reads::against(why)
            && let Some(patch) = self.extract_reading(reads, compiled, &name, &resolver)?
        {
            extraction = Extraction::Patch(patch);
        }
        let mut refusals = layout::refusals(source, object, bytes, &facts.symvers)?;
        let declared = Declared::of(&parse(source, &compiled.patched)?);
        refusals.extend(self.abi()?.refusals(source, &declared));
        let patch = match extraction {
            Extraction::NoChange if refusals.is_empty() && declared.is_empty() => {
                return Ok(Ok(None));
            }
            Extraction::NoChange if refusals.is_empty() => {
                let unit = source.clone();
                return Ok(Err(vec![Refusal::StateAlone { unit }]));
            }
            Extraction::NoChange => return Ok(Err(refusals)),
            Extraction::Refused(more) => {
                let unit = source.clone();
                refusals.extend(more.into_iter().map(|why| Refusal::Differ {
                    unit: unit.clone(),
                    why,
                }));
                return Ok(Err(refusals));
            }
            Extraction::Patch(_) if !refusals.is_empty() => return Ok(Err(refusals)),
            Extraction::Patch(patch) => patch,
        };
        let (bytes, relocations) = match self.relocations(source, &name, patch.object)? {
            Ok(split) => split,
            Err(refusal) => return Ok(Err(vec![refusal])),
        };
        Ok(
            proven_functions(source, object, proof, patch.functions).map(|functions| {
                let (object, source) = (object.clone(), source.clone());
                let left_out = patch.left_out.into_iter();
                let left_out = left_out.map(|part| (source.clone(), part)).collect();
                Some(ExtractedUnit {
                    object,
                    source,
                    bytes,
                    relocations,
                    functions,
                    declared,
                    left_out,
                })
            }),
        )
    }

    /// The extracted object as it is linked, and the table for kernels that want one.
    fn relocations(
        &self,
        source: &str,
        name: &str,
        object: Vec<u8>,
    ) -> Result<Result<Split, Refusal>, FactoryError> {
        match self.kernel.abi {
            LivepatchAbi::Replacing => Ok(Ok((object, Vec::new()))),
            LivepatchAbi::Registering => match suture_differ::relocation_table(&object, name) {
                Ok(split) => Ok(Ok(split)),
                Err(TableError::Object(error)) => Err(unreadable(source, &error)),
                Err(why) => Ok(Err(Refusal::Table {
                    unit: source.to_owned(),
                    why: why.to_string(),
                })),
            },
        }
    }

    /// What the kernel's livepatch has for authors of fixes.
    fn abi(&self) -> Result<Abi, FactoryError> {
        let header = self.kernel.tree.path().join(LIVEPATCH_HEADER);
        Ok(Abi::of(&files::read_text(&header)?))
    }

    /// The patch of the unit compiled so that it reads something, if it may stand for that of the
    /// ordinary compile.
    fn extract_reading(
        &self,
        reads: Reads,
        compiled: &CompiledUnit,
        name: &str,
        resolver: &UnitResolver<'_>,
    ) -> Result<Option<Extracted>, FactoryError> {
        let (source, unit) = (&compiled.source, &compiled.unit);
        let (original, patched) = rayon::join(
            || unit.original_reading(reads, &self.kernel.tree, self.log),
            || unit.patched_reading(reads, &self.kernel.tree, compiled.copy.path(), self.log),
        );
        let (original, patched) = (original?.bytes, patched?.bytes);
        let bytes = (&original[..], &patched[..]);
        let compiles = compared(source, &compiled.original, &original)?;
        let clones = own_clones(&compiles);
        let resolver = UnitResolver {
            other_compile: Some(&clones),
            ..*resolver
        };
        // What the ordinary compile would replace is replaced here too, be it the same: the running
        // kernel's may have taken in something that changed.
        let fix = compared(source, &compiled.original, &compiled.patched)?;
        let also = fix.with_status(FunctionStatus::Changed);
        let also: Vec<&str> = also.map(|function| function.name.as_str()).collect();
        let object = &compiled.object;
        let extraction =
            suture_differ::extract_also(bytes.0, bytes.1, object, name, &resolver, &also)
                .map_err(|error| unreadable(source, &error))?;
        let no_patch = |why: &str| {
            let what = "made to read what the kernel writes into code";
            self.log
                .note(&format!("{source}: {what}, it is no patch: {why}"));
        };
        let patch = match extraction {
            Extraction::Patch(patch) => patch,
            Extraction::NoChange => return Ok(None),
            Extraction::Refused(refusals) => {
                for refusal in refusals {
                    no_patch(&refusal.to_string());
                }
                return Ok(None);
            }
        };
        let reading = Reading {
            fix: &fix,
            compiles: &compiles,
            ordinary: &parse(source, &compiled.original)?,
            reading: &parse(source, &original)?,
        };
        let functions = patch.functions.iter();
        let functions: Vec<&str> = functions.map(|f| f.old_name.as_str()).collect();
        let objection = reading.objection(&functions, &parse(source, &patch.object)?);
        if let Some(why) = &objection {
            no_patch(why);
        }
        Ok(objection.is_none().then_some(patch))
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

fn extracted(
    source: &str,
    (original, patched): (&[u8], &[u8]),
    object: &ObjectName,
    name: &str,
    resolver: &UnitResolver<'_>,
) -> Result<Extraction, FactoryError> {
    let extraction = suture_differ::extract(original, patched, object, name, resolver);
    extraction.map_err(|error| unreadable(source, &error))
}

/// What is certain to be refused is told before many units are looked at, which takes minutes.
fn refuse_early(edited: &[Both]) -> Result<(), FactoryError> {
    let mut refusals = Vec::new();
    for (unit, original, patched) in edited {
        refusals.extend(layout::laid_out_anew(&unit.source, original, patched)?);
    }
    match refusals.is_empty() {
        true => Ok(()),
        false => Err(refused(refusals)),
    }
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

/// All units' parts, or all refusals together.
fn collect_units(
    units: &[CompiledUnit],
    results: Vec<Result<Option<ExtractedUnit>, Vec<Refusal>>>,
) -> Result<Vec<ExtractedUnit>, FactoryError> {
    let (mut extracted, mut refusals) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(unit) => extracted.extend(unit),
            Err(more) => refusals.extend(more),
        }
    }
    take_left_out(&mut extracted, &mut refusals);
    let declared = extracted
        .iter()
        .map(|unit: &ExtractedUnit| (&unit.object, unit.source.as_str(), &unit.declared));
    refusals.extend(declared::contradictions(declared));
    if refusals.is_empty() && extracted.is_empty() {
        let names: Vec<&str> = units.iter().map(|unit| unit.source.as_str()).collect();
        refusals.push(Refusal::NoChange {
            units: names.join(", "),
        });
    }
    let replaces = |unit: &ExtractedUnit| !unit.functions.is_empty() || !unit.declared.is_empty();
    if refusals.is_empty() && !extracted.iter().any(replaces) {
        let names: Vec<&str> = extracted.iter().map(|unit| unit.source.as_str()).collect();
        refusals.push(Refusal::OnlyAdds {
            units: names.join(", "),
        });
    }
    if refusals.is_empty() {
        Ok(extracted)
    } else {
        Err(refused(refusals))
    }
}

/// A unit that has nothing but what a patch goes without stands against no patch of others.
fn take_left_out(extracted: &mut [ExtractedUnit], refusals: &mut Vec<Refusal>) {
    let Some(last) = extracted.last_mut() else {
        return;
    };
    refusals.retain(|refusal| {
        let Refusal::Differ { unit, why } = refusal else {
            return true;
        };
        let part = LeftOut::of_refusal(why);
        let is_left_out = part.is_some();
        last.left_out.extend(part.map(|part| (unit.clone(), part)));
        !is_left_out
    });
}

/// Pairs each function with the hash of its shipped code; one that is not proven is refused.
fn proven_functions(
    source: &str,
    object: &ObjectName,
    proof: &Proof,
    functions: Vec<ExtractedFunction>,
) -> Result<Vec<(ExtractedFunction, String)>, Vec<Refusal>> {
    let (mut proven, mut refusals) = (Vec::new(), Vec::new());
    for function in functions {
        match proof.function(&function.old_name) {
            Ok(found) => proven.push((function, found.sha256.clone())),
            Err(why) => refusals.push(Refusal::Unequal {
                unit: source.to_owned(),
                function: function.old_name,
                object: object.clone(),
                why,
            }),
        }
    }
    if refusals.is_empty() {
        Ok(proven)
    } else {
        Err(refusals)
    }
}

/// What the glue has to know of the extracted units.
#[derive(Debug, Default)]
pub(crate) struct GlueObjects {
    /// Functions by object, each object once.
    pub functions: Vec<(ObjectName, Vec<GlueFunction>)>,
    pub callbacks: Vec<(ObjectName, Callback)>,
    pub states: BTreeMap<u64, u64>,
    pub relocations: Vec<TableEntry>,
}

/// Gathers it.
pub(crate) fn glue_objects(extracted: &[ExtractedUnit]) -> GlueObjects {
    let mut all = GlueObjects::default();
    for unit in extracted {
        let functions = unit.functions.iter().map(|(function, _)| GlueFunction {
            old_name: function.old_name.clone(),
            old_sympos: function.old_sympos,
            alias: function.alias.clone(),
        });
        let mut known = all.functions.iter_mut();
        match known.find(|(name, _)| *name == unit.object) {
            Some((_, known)) => known.extend(functions),
            None => all
                .functions
                .push((unit.object.clone(), functions.collect())),
        }
        let callbacks = unit.declared.callbacks.iter();
        all.callbacks
            .extend(callbacks.map(|callback| (unit.object.clone(), callback.clone())));
        all.states.extend(&unit.declared.states);
        all.relocations.extend(unit.relocations.iter().cloned());
    }
    all
}
