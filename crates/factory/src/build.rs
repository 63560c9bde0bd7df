//! The whole way from a fix to a signed module.
//!
//! ```text
//! fixes ─ gate ─ plan ─ apply ─┐
//! release ─ packages ─ tree ───┴─ compile: plain, original, patched ─ differ ─ link ─ sign
//!              └─ image, modules, exports ─────────── equality ┘
//! ```

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rayon::prelude::*;
use suture_advisory::{CveId, PatchVersion, Record, SeverityClaim};
use suture_differ::{ExtractedFunction, Extraction};
use suture_kernel::signature::{self, SigningKey};
use suture_kernel::{KernelRelease, ObjectName};
use suture_protocol::{
    BuildRecord, Fix as ClosedHole, Manifest, ModuleFile, NamedHash, PatchedFunction, PatchedObject,
};

use crate::command::Log;
use crate::equality::Proof;
use crate::error::{FactoryError, Refusal, Refusals};
use crate::files::{self, sha256_hex};
use crate::fix::{self, Fix};
use crate::glue::{self, Glue, GlueFunction};
use crate::included::{Inclusions, is_target};
use crate::link;
use crate::opened_kernel::{Facts, OpenedKernel, parse};
use crate::output::{BuildOutput, file_hash, write_output};
use crate::progress::{Progress, step};
use crate::resolver::{UnitResolver, added_globals};
use crate::source_archive::{Recipe, SourceArchive};
use crate::tree::Tree;
use crate::unit::{Compiled, Unit};

/// What to build.
pub struct BuildRequest {
    pub release: KernelRelease,
    pub version: PatchVersion,
    /// Diffs, in the order in which they apply.
    pub fixes: Vec<PathBuf>,
    /// CVE records: the parsed one and its text as published.
    pub advisories: Vec<(Record, String)>,
    /// The vendor's own ratings, which decide for the holes that they are of.
    pub ratings: Vec<(CveId, SeverityClaim)>,
    /// Units to compile besides those that the fixes edit, for fixes in headers.
    pub units: Vec<String>,
    /// Folder to be made for the results.
    pub output: PathBuf,
    /// Folder for what can be made again.
    pub cache: PathBuf,
    /// Key and DER certificate that sign the module.
    pub key: Option<(SigningKey, Vec<u8>)>,
    pub created: Timestamp,
}

/// How long the three compiles took; zero for what an earlier build left in the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CompileTimes {
    pub plain: Duration,
    pub original: Duration,
    pub patched: Duration,
}

/// Builds a live patch. Nothing appears in the output folder unless all went well, except the
/// log, which is then named like the folder with `.log` added.
pub fn build(request: &BuildRequest, progress: &dyn Progress) -> Result<BuildOutput, FactoryError> {
    if request.output.exists() {
        return Err(FactoryError::OutputExists(request.output.clone()));
    }
    let log = Log::to_file(&log_path(&request.output)?);
    let closed = crate::gate::gate(&request.advisories, &request.ratings)
        .map_err(|refusals| FactoryError::Refused(Refusals(refusals)))?;
    let fixes = request
        .fixes
        .iter()
        .map(|path| Fix::read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let mut plan = fix::plan(&fixes, &request.units)
        .map_err(|refusals| FactoryError::Refused(Refusals(refusals)))?;
    let kernel = OpenedKernel::open(&request.release, &request.cache, &log, progress)?;
    include(&mut plan, &request.units, &kernel, &log, progress)?;
    let image = kernel.image()?;
    let mut job = Job {
        request,
        kernel: &kernel,
        log,
        progress,
        compiles: CompileTimes::default(),
    };
    let units = job.compile(&fixes, &plan)?;
    let facts = kernel.facts(&image, progress)?;
    let extracted = job.extract(&units, &facts)?;
    job.finish(&fixes, closed, extracted, &facts)
}

/// Plans the units that are compiled from an edited file because they include it.
fn include(
    plan: &mut fix::Plan,
    named: &[String],
    kernel: &OpenedKernel,
    log: &Log,
    progress: &dyn Progress,
) -> Result<(), FactoryError> {
    let inclusions = step(progress, "reading which files include others", || {
        Inclusions::of(&kernel.tree, log)
    })?;
    let expanded = inclusions
        .expand(&plan.units, named, |source| {
            is_target(kernel.tree.path(), source)
        })
        .map_err(|refusals| FactoryError::Refused(Refusals(refusals)))?;
    (plan.units, plan.includers) = (expanded.units, expanded.includers);
    Ok(())
}

/// The log lies beside the output folder, because that appears only at the end.
fn log_path(output: &Path) -> Result<PathBuf, FactoryError> {
    let path = files::beside(output, "log");
    files::write(&path, b"")?;
    Ok(path)
}

/// A unit compiled three ways.
struct CompiledUnit {
    unit: Unit,
    original: Vec<u8>,
    patched: Vec<u8>,
}

/// What goes into the module for one unit.
struct ExtractedUnit {
    object: ObjectName,
    source: String,
    bytes: Vec<u8>,
    functions: Vec<(ExtractedFunction, String)>,
}

struct Job<'a> {
    request: &'a BuildRequest,
    kernel: &'a OpenedKernel,
    log: Log,
    progress: &'a dyn Progress,
    compiles: CompileTimes,
}

impl Job<'_> {
    fn compile(
        &mut self,
        fixes: &[Fix],
        plan: &fix::Plan,
    ) -> Result<Vec<CompiledUnit>, FactoryError> {
        let (tree, log) = (&self.kernel.tree, &self.log);
        let scratch =
            tempfile::tempdir().map_err(FactoryError::file("make", &std::env::temp_dir()))?;
        let patched = fix::apply(fixes, plan, tree.path(), scratch.path(), log)?;
        let names = [plan.units.as_slice(), &plan.includers].concat().join(", ");
        let recorded = step(
            self.progress,
            &format!("compiling {names} as shipped"),
            || record(plan, tree, log),
        )?;
        let copy = step(self.progress, "taking a working copy of the tree", || {
            tree.working_copy()
        })?;
        for (unit, _) in &recorded {
            copy.complete(tree, &unit.dependencies)?;
        }
        copy.replace(&patched)?;
        let what = format!("compiling {names} with and without the fix");
        let both: Vec<(Compiled, Compiled)> = step(self.progress, &what, || {
            let compile = |(unit, _): &(Unit, Duration)| {
                let (original, patched) = rayon::join(
                    || unit.original(tree, log),
                    || unit.patched(copy.path(), log),
                );
                Ok::<_, FactoryError>((original?, patched?))
            };
            recorded.par_iter().map(compile).collect()
        })?;
        let mut units = Vec::new();
        for ((unit, plain), (original, patched)) in recorded.into_iter().zip(both) {
            self.compiles.plain += plain;
            self.compiles.original += original.took;
            self.compiles.patched += patched.took;
            units.push(CompiledUnit {
                unit,
                original: original.bytes,
                patched: patched.bytes,
            });
        }
        Ok(units)
    }

    fn extract(
        &self,
        units: &[CompiledUnit],
        facts: &Facts<'_>,
    ) -> Result<Vec<ExtractedUnit>, FactoryError> {
        step(
            self.progress,
            "comparing, and proving equality with what was shipped",
            || {
                let mut added = HashSet::new();
                for unit in units {
                    added.extend(added_globals(
                        &parse(&unit.unit.source, &unit.original)?,
                        &parse(&unit.unit.source, &unit.patched)?,
                    ));
                }
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
        added: &HashSet<String>,
    ) -> Result<Result<Option<ExtractedUnit>, Vec<Refusal>>, FactoryError> {
        let Unit {
            source,
            object,
            plain,
            ..
        } = &compiled.unit;
        let file = self.kernel.object_file(object)?;
        let shipped = facts.shipped_object(object, &file)?;
        let plain = parse(source, plain)?;
        let proof = Proof::establish(&plain, &shipped);
        let (compared, equal) = proof.counts();
        self.log.note(&format!(
            "{source}: {equal} of {compared} functions equal what {object} shipped"
        ));
        let (kallsyms, symvers) = (&facts.kallsyms, &facts.symvers);
        let (plain, proof, shipped) = (&plain, &proof, &shipped);
        let resolver = UnitResolver {
            object,
            plain,
            proof,
            shipped,
            kallsyms,
            symvers,
            added,
        };
        let name = format!("u{index}");
        let extraction = suture_differ::extract(
            &compiled.original,
            &compiled.patched,
            object,
            &name,
            &resolver,
        )
        .map_err(|error| FactoryError::Differ {
            what: source.clone(),
            why: error.to_string(),
        })?;
        let patch = match extraction {
            Extraction::NoChange => return Ok(Ok(None)),
            Extraction::Refused(refusals) => {
                let named = |why: suture_differ::Refusal| Refusal::Differ {
                    unit: source.clone(),
                    why: why.to_string(),
                };
                return Ok(Err(refusals.into_iter().map(named).collect()));
            }
            Extraction::Patch(patch) => patch,
        };
        Ok(
            proven_functions(source, object, proof, patch.functions).map(|functions| {
                let (object, source) = (object.clone(), source.clone());
                Some(ExtractedUnit {
                    object,
                    source,
                    bytes: patch.object,
                    functions,
                })
            }),
        )
    }

    fn finish(
        &self,
        fixes: &[Fix],
        closed: Vec<ClosedHole>,
        extracted: Vec<ExtractedUnit>,
        facts: &Facts<'_>,
    ) -> Result<BuildOutput, FactoryError> {
        let cves: Vec<CveId> = closed.iter().map(|hole| hole.cve.clone()).collect();
        let objects = glue_objects(&extracted);
        let glue = Glue {
            version: self.request.version,
            kernel: &facts.build,
            fixes: &cves,
            objects: &objects,
            // Kernels that clean up by themselves have this function.
            clear_relocations: facts.kallsyms.named("clear_relocate_add").len() == 0,
        };
        let parts: Vec<Vec<u8>> = extracted.iter().map(|unit| unit.bytes.clone()).collect();
        let unsigned = step(self.progress, "linking and checking the module", || {
            let folder =
                tempfile::tempdir().map_err(FactoryError::file("make", &std::env::temp_dir()))?;
            let module = link::link(&self.kernel.tree, folder.path(), &glue, &parts, &self.log)?;
            link::check(&module, &facts.symvers, &facts.vermagic)?;
            Ok::<_, FactoryError>(module)
        })?;
        let signed = self.sign(&unsigned)?;
        let source = self.source_archive(fixes, &glue, parts.len()).write()?;
        let manifest = Manifest {
            schema: Manifest::SCHEMA,
            version: self.request.version,
            kernel: facts.build.clone(),
            module: ModuleFile {
                name: self.request.version.module_name(),
                unsigned_sha256: sha256_hex(&unsigned),
                file: file_hash(&signed),
            },
            fixes: closed,
            objects: patched_objects(&extracted),
            build: self.build_record(fixes)?,
            source: file_hash(&source),
            created: self.request.created,
        };
        let output = write_output(&self.request.output, &signed, &manifest, &source)?;
        Ok(BuildOutput {
            manifest,
            compiles: self.compiles,
            ..output
        })
    }

    fn sign(&self, unsigned: &[u8]) -> Result<Vec<u8>, FactoryError> {
        match &self.request.key {
            Some((key, certificate)) => signature::sign(unsigned, key, certificate)
                .map_err(|error| FactoryError::Signature(error.to_string())),
            None => Ok(unsigned.to_vec()),
        }
    }

    fn source_archive(&self, fixes: &[Fix], glue: &Glue<'_>, parts: usize) -> SourceArchive {
        let request = self.request;
        let module = request.version.module_name();
        let units: Vec<String> = (0..parts).map(|index| format!("unit{index}.o")).collect();
        SourceArchive {
            recipe: Recipe {
                schema: Recipe::SCHEMA,
                release: request.release.clone(),
                version: request.version,
                source_package: self.kernel.shipped.source.name.clone(),
                source_version: self.kernel.shipped.source.version.clone(),
                compiler: self.kernel.tree.compiler().version.clone(),
                units: request.units.clone(),
                ratings: request.ratings.clone(),
                created: request.created,
            },
            fixes: fixes.iter().map(|fix| fix.text.clone()).collect(),
            advisories: request
                .advisories
                .iter()
                .map(|(_, text)| text.clone())
                .collect(),
            generated: vec![
                ("Kbuild".to_owned(), glue::kbuild(&module, &units)),
                ("glue.c".to_owned(), glue.source()),
            ],
        }
    }

    fn build_record(&self, fixes: &[Fix]) -> Result<BuildRecord, FactoryError> {
        let shipped = &self.kernel.shipped;
        let hashed = |name: String, text: &str| NamedHash {
            name,
            sha256: sha256_hex(text.as_bytes()),
        };
        let mut inputs = vec![
            hashed("kernel configuration".to_owned(), &shipped.configuration()?),
            hashed("Module.symvers".to_owned(), &shipped.symvers_text()?),
        ];
        let numbered = fixes.iter().enumerate();
        inputs
            .extend(numbered.map(|(i, fix)| hashed(format!("fixes/{:04}.diff", i + 1), &fix.text)));
        Ok(BuildRecord {
            compiler: self.kernel.tree.compiler().version.clone(),
            source_package: format!("{} {}", shipped.source.name, shipped.source.version),
            inputs,
            suture: env!("CARGO_PKG_VERSION").to_owned(),
        })
    }
}

/// Compiles the planned units as shipped. One that merely includes another may not be in this
/// kernel's configuration, and then does not compile or belongs to nothing.
fn record(plan: &fix::Plan, tree: &Tree, log: &Log) -> Result<Vec<(Unit, Duration)>, FactoryError> {
    let mut recorded = Vec::new();
    for source in &plan.units {
        recorded.push(Unit::record(tree, source, log)?);
    }
    for source in &plan.includers {
        match Unit::record(tree, source, log) {
            Ok(unit) => recorded.push(unit),
            Err(FactoryError::ProgramFailed { .. } | FactoryError::Refused(_)) => {
                log.note(&format!("{source} is no part of this kernel"));
            }
            Err(error) => return Err(error),
        }
    }
    if recorded.is_empty() {
        return Err(FactoryError::Refused(Refusals(vec![
            Refusal::NothingCompiled,
        ])));
    }
    Ok(recorded)
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
    if refusals.is_empty() && extracted.is_empty() {
        let names: Vec<&str> = units.iter().map(|unit| unit.unit.source.as_str()).collect();
        refusals.push(Refusal::NoChange {
            units: names.join(", "),
        });
    }
    if refusals.is_empty() {
        Ok(extracted)
    } else {
        Err(FactoryError::Refused(Refusals(refusals)))
    }
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

/// Functions by object, each object once.
fn glue_objects(extracted: &[ExtractedUnit]) -> Vec<(ObjectName, Vec<GlueFunction>)> {
    let mut objects: Vec<(ObjectName, Vec<GlueFunction>)> = Vec::new();
    for unit in extracted {
        let functions = unit.functions.iter().map(|(function, _)| GlueFunction {
            old_name: function.old_name.clone(),
            old_sympos: function.old_sympos,
            alias: function.alias.clone(),
        });
        match objects.iter_mut().find(|(name, _)| *name == unit.object) {
            Some((_, known)) => known.extend(functions),
            None => objects.push((unit.object.clone(), functions.collect())),
        }
    }
    objects
}

fn patched_objects(extracted: &[ExtractedUnit]) -> Vec<PatchedObject> {
    let mut objects: Vec<PatchedObject> = Vec::new();
    for unit in extracted {
        let functions = unit
            .functions
            .iter()
            .map(|(function, sha256)| PatchedFunction {
                name: function.old_name.clone(),
                sympos: function.old_sympos,
                unit: unit.source.clone(),
                old_size: function.old_size,
                new_size: function.new_size,
                shipped_sha256: sha256.clone(),
            });
        match objects.iter_mut().find(|object| object.name == unit.object) {
            Some(known) => known.functions.extend(functions),
            None => objects.push(PatchedObject {
                name: unit.object.clone(),
                functions: functions.collect(),
            }),
        }
    }
    objects
}
