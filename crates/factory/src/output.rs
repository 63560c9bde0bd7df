//! The output folder of a build.

use std::path::{Path, PathBuf};

use suture_protocol::{FileHash, Manifest};

use crate::error::FactoryError;
use crate::files::{self, sha256_hex};
use crate::job::CompileTimes;

/// What was built.
#[derive(Debug)]
pub struct BuildOutput {
    pub manifest: Manifest,
    /// `livepatch.ko`, `manifest.json` and `source.tar.gz`, in the output folder.
    pub module: PathBuf,
    pub manifest_file: PathBuf,
    pub source: PathBuf,
    /// `smoke.json`, if there was a smoke test.
    pub smoke: Option<PathBuf>,
    /// Sum over all units.
    pub compiles: CompileTimes,
    /// What this kernel does not do for its patches.
    pub warning: Option<&'static str>,
}

pub(crate) fn file_hash(bytes: &[u8]) -> FileHash {
    FileHash {
        sha256: sha256_hex(bytes),
        length: bytes.len() as u64,
    }
}

/// Name of the smoke test's evidence in the output folder.
pub const SMOKE_FILE: &str = "smoke.json";

/// Makes the output folder in one step.
pub(crate) fn write_output(
    output: &Path,
    module: &[u8],
    manifest: &Manifest,
    source: &[u8],
    smoke: Option<&[u8]>,
) -> Result<BuildOutput, FactoryError> {
    let scratch = files::beside(output, "writing");
    files::remove_dir(&scratch)?;
    let json = serde_json::to_vec_pretty(manifest)
        .map_err(|error| FactoryError::UnsoundModule(error.to_string()))?;
    files::write(&scratch.join("livepatch.ko"), module)?;
    files::write(&scratch.join("manifest.json"), &json)?;
    files::write(&scratch.join("source.tar.gz"), source)?;
    if let Some(evidence) = smoke {
        files::write(&scratch.join(SMOKE_FILE), evidence)?;
    }
    std::fs::rename(&scratch, output).map_err(FactoryError::file("make", output))?;
    Ok(BuildOutput {
        manifest: manifest.clone(),
        module: output.join("livepatch.ko"),
        manifest_file: output.join("manifest.json"),
        source: output.join("source.tar.gz"),
        smoke: smoke.map(|_| output.join(SMOKE_FILE)),
        compiles: CompileTimes::default(),
        warning: None,
    })
}
