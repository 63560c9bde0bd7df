//! The whole way from a fix to a signed module.
//!
//! ```text
//! fixes ─ gate ─ plan ─ apply ─┐
//! release ─ packages ─ tree ───┴─ compile: plain, original, patched ─ differ ─ link ─ sign
//!              └─ image, modules, exports ─────────── equality ┘
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use suture_advisory::{CveId, PatchVersion, Record, SeverityClaim};
use suture_kernel::KernelRelease;
use suture_kernel::signature::{self, SigningKey};
use suture_protocol::{
    BuildRecord, Fix as ClosedHole, Manifest, ModuleFile, NamedHash, PatchedFunction,
    PatchedObject, SmokeTest,
};
use suture_vm::GuestKernel;

use crate::by_hand;
use crate::command::Log;
use crate::error::{FactoryError, Refusals};
use crate::extraction::{ExtractedUnit, glue_objects};
use crate::files::{self, sha256_hex};
use crate::fix::{self, Fix};
use crate::glue::Glue;
use crate::job::Job;
use crate::opened_kernel::{Facts, OpenedKernel};
use crate::output::{BuildOutput, SMOKE_FILE, file_hash, write_output};
use crate::progress::{Progress, Silent, step};
use crate::smoke::{self, Candidate, SmokePlan, SmokeRun};
use crate::source_archive::{Recipe, SourceArchive};
use crate::verdict;

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
    pub smoke: SmokePlan,
    pub created: Timestamp,
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
    let plan = fix::plan(&fixes, &request.units)
        .map_err(|refusals| FactoryError::Refused(Refusals(refusals)))?;
    let kernel = OpenedKernel::open(&request.release, &request.cache, &log, progress)?;
    let job = Job {
        kernel: &kernel,
        log: &log,
        progress,
        version: request.version,
        compiles: Mutex::default(),
    };
    // What else is wanted of the kernel is read, or learned, while the compilers run.
    let (units, (facts, learned)) = rayon::join(
        || job.compile(&fixes, &plan, &request.units),
        || (kernel.facts(&Silent), kernel.module_link(&log).map(drop)),
    );
    let (units, facts) = (units?, facts?);
    learned?;
    let extracted = job.extract(&units, &facts)?;
    finish(request, &job, &fixes, closed, &extracted, &facts)
}

/// The log lies beside the output folder, because that appears only at the end.
fn log_path(output: &Path) -> Result<PathBuf, FactoryError> {
    let path = files::beside(output, "log");
    files::write(&path, b"")?;
    Ok(path)
}

/// Signs, describes and writes what was built.
fn finish(
    request: &BuildRequest,
    job: &Job<'_>,
    fixes: &[Fix],
    closed: Vec<ClosedHole>,
    extracted: &[ExtractedUnit],
    facts: &Facts<'_>,
) -> Result<BuildOutput, FactoryError> {
    let cves: Vec<CveId> = closed.iter().map(|hole| hole.cve.clone()).collect();
    let objects = glue_objects(extracted);
    let glue = job.glue(facts, &cves, &objects);
    let unsigned = job.link(extracted, facts, &glue)?;
    let (evidence, smoke_test) = match &request.smoke {
        SmokePlan::Skip { why } => (None, SmokeTest::Skipped { why: why.clone() }),
        SmokePlan::Run { extra_load } => {
            let extra = extra_load.as_deref();
            let bytes = smoke_test(request, job, extracted, facts, &glue, &unsigned, extra)?;
            let evidence = file_hash(&bytes);
            (Some(bytes), SmokeTest::Passed { evidence })
        }
    };
    let result = Described {
        request,
        kernel: job.kernel,
    };
    let signed = result.sign(&unsigned)?;
    let source = result.source_archive(fixes, &glue, extracted).write()?;
    let manifest = Manifest {
        schema: Manifest::SCHEMA,
        version: request.version,
        kernel: facts.build.clone(),
        module: ModuleFile {
            name: request.version.module_name(),
            unsigned_sha256: sha256_hex(&unsigned),
            file: file_hash(&signed),
        },
        fixes: closed,
        objects: patched_objects(extracted),
        build: result.build_record(fixes)?,
        source: file_hash(&source),
        smoke_test: Some(smoke_test),
        left_out: left_out(extracted),
        created: request.created,
    };
    let output = write_output(
        &request.output,
        &signed,
        &manifest,
        &source,
        evidence.as_deref(),
    )?;
    Ok(BuildOutput {
        manifest,
        warning: verdict::warning(job.kernel.abi),
        compiles: *job.compiles.lock().unwrap_or_else(PoisonError::into_inner),
        ..output
    })
}

/// Tries the module on its kernel, and gives the evidence's bytes.
fn smoke_test(
    request: &BuildRequest,
    job: &Job<'_>,
    extracted: &[ExtractedUnit],
    facts: &Facts<'_>,
    glue: &Glue<'_>,
    unsigned: &[u8],
    extra_load: Option<&str>,
) -> Result<Vec<u8>, FactoryError> {
    let version = smoke::next(request.version).ok_or(FactoryError::LastVersion(request.version))?;
    let successor = job.link(extracted, facts, &Glue { version, ..*glue })?;
    let units: Vec<&str> = extracted.iter().map(|unit| unit.source.as_str()).collect();
    let shipped = &job.kernel.shipped;
    let run = SmokeRun {
        kernel: &facts.build,
        abi: job.kernel.abi,
        boot: GuestKernel::new(shipped.vmlinuz(), shipped.modules()),
        cpus: smoke::cpus(job.kernel.tree.path()),
        candidate: Candidate {
            version: request.version,
            unsigned,
        },
        successor: Candidate {
            version,
            unsigned: &successor,
        },
        objects: glue.objects,
        units: &units,
        extra_load,
        began: request.created,
    };
    let evidence = step(job.progress, "smoke test on the booted kernel", || {
        run.run()
    })?;
    let json = serde_json::to_vec_pretty(&evidence)
        .map_err(|error| FactoryError::UnsoundModule(error.to_string()))?;
    let Some(why) = evidence.failure else {
        return Ok(json);
    };
    let path = files::beside(&request.output, SMOKE_FILE);
    files::write(&path, &json)?;
    Err(FactoryError::SmokeTest {
        why,
        evidence: path,
    })
}

/// What a built module is described from.
struct Described<'a> {
    request: &'a BuildRequest,
    kernel: &'a OpenedKernel,
}

impl Described<'_> {
    fn sign(&self, unsigned: &[u8]) -> Result<Vec<u8>, FactoryError> {
        match &self.request.key {
            Some((key, certificate)) => signature::sign(unsigned, key, certificate)
                .map_err(|error| FactoryError::Signature(error.to_string())),
            None => Ok(unsigned.to_vec()),
        }
    }

    fn source_archive(
        &self,
        fixes: &[Fix],
        glue: &Glue<'_>,
        extracted: &[ExtractedUnit],
    ) -> SourceArchive {
        let request = self.request;
        let objects: Vec<&[u8]> = extracted.iter().map(|unit| unit.bytes.as_slice()).collect();
        let compiler = self.kernel.tree.compiler();
        SourceArchive {
            recipe: Recipe {
                schema: Recipe::SCHEMA,
                release: request.release.clone(),
                version: request.version,
                source_package: self.kernel.shipped.source.name.clone(),
                source_version: self.kernel.shipped.source.version.clone(),
                compiler: compiler.version.clone(),
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
            by_hand: by_hand::files(glue, &objects, &request.release, &compiler.program),
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

fn left_out(extracted: &[ExtractedUnit]) -> Vec<String> {
    let parts = extracted.iter().flat_map(|unit| &unit.left_out);
    let parts = parts.map(|(unit, part)| format!("in `{unit}`, {part}"));
    parts.collect()
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
