//! Whether this machine compiles a kernel's units to what the distribution shipped.

use std::path::Path;

use suture_kernel::{KernelRelease, ObjectName};

use crate::command::Log;
use crate::equality::Proof;
use crate::error::FactoryError;
use crate::opened_kernel::{OpenedKernel, parse};
use crate::progress::{Progress, step};
use crate::unit::Unit;

/// How one unit compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitProof {
    pub source: String,
    pub object: ObjectName,
    /// Functions compared.
    pub compared: usize,
    /// Those that can't be patched because they are not equal, with the reason.
    pub unequal: Vec<(String, String)>,
}

/// Compiles units of the unpatched source and compares all their functions.
pub fn prove(
    release: &KernelRelease,
    units: &[String],
    cache: &Path,
    progress: &dyn Progress,
) -> Result<Vec<UnitProof>, FactoryError> {
    let log = Log::none();
    let kernel = OpenedKernel::open(release, cache, &log, progress)?;
    let image = kernel.image()?;
    let facts = kernel.facts(&image, progress)?;
    let mut proofs = Vec::new();
    for source in units {
        let (unit, _) = step(progress, &format!("compiling {source} as shipped"), || {
            Unit::record(&kernel.tree, source, &log)
        })?;
        let file = kernel.object_file(&unit.object)?;
        let shipped = facts.shipped_object(&unit.object, &file)?;
        let proof = Proof::establish(&parse(source, &unit.plain)?, &shipped);
        let (compared, _) = proof.counts();
        proofs.push(UnitProof {
            source: source.clone(),
            object: unit.object,
            compared,
            unequal: proof.unequal(),
        });
    }
    Ok(proofs)
}
