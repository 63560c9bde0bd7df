//! Whether this machine compiles a kernel's units to what the distribution shipped.

use std::path::Path;

use suture_kernel::{KernelRelease, ObjectName};

use crate::command::Log;
use crate::equality::Proof;
use crate::error::FactoryError;
use crate::opened_kernel::{OpenedKernel, parse};
use crate::progress::{Progress, step};
use crate::unit::{Unit, not_built};

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
    let facts = kernel.facts(progress)?;
    let mut proofs = Vec::new();
    for source in units {
        let mut commands = kernel.commands.units_of(source).peekable();
        if commands.peek().is_none() {
            return Err(not_built(source, release));
        }
        for command in commands {
            let unit = Unit::new(&kernel.tree, command)?;
            let what = format!("compiling {source} as shipped");
            let plain = step(progress, &what, || unit.plain(&kernel.tree, &log))?;
            for object in unit.objects {
                let file = kernel.object_file(&object)?;
                let shipped = facts.shipped_object(&object, &file)?;
                let proof = Proof::establish(&parse(source, &plain.bytes)?, &shipped);
                let (compared, _) = proof.counts();
                proofs.push(UnitProof {
                    source: source.clone(),
                    object,
                    compared,
                    unequal: proof.unequal(),
                });
            }
        }
    }
    Ok(proofs)
}
