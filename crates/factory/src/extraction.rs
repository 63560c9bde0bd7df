//! From compiled units to what the module takes of each: the second half of a job.

use std::collections::{BTreeMap, HashMap};

use rayon::prelude::*;
use suture_differ::{
    Extracted, ExtractedFunction, Extraction, FunctionStatus, LeftOut, TableEntry, TableError,
};
use suture_kernel::{LivepatchAbi, ObjectName};

use crate::added::{self, Added};
use crate::comparison::{compared, unreadable};
use crate::declared::{self, Abi, Callback, Declared};
use crate::equality::Proof;
use crate::error::{FactoryError, Refusal};
use crate::files;
use crate::glue::GlueFunction;
use crate::job::{CompiledUnit, Job, refused};
use crate::layout;
use crate::needed_modules::NeededModules;
use crate::opened_kernel::{Facts, LIVEPATCH_HEADER, parse};
use crate::progress::step;
use crate::reading::{Reading, Reads, own_clones};
use crate::resolver::UnitResolver;

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

impl Job<'_> {
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
        let refusals = layout::refusals(source, object, bytes, &facts.symvers)?;
        let mut refusals = self.without_stacks(source, bytes, &compiled.copy, refusals)?;
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
