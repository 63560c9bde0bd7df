//! The modules that are loaded whenever a patched module is.

use std::collections::BTreeSet;

use suture_kernel::ObjectName;
use suture_kernel::modinfo::Modinfo;

use crate::error::FactoryError;
use crate::shipped::ShippedKernel;

/// What a shipped module depends on, directly and through others. The image depends on nothing.
///
/// A livepatch relocation to a symbol of another module is resolved when the patched module is
/// loaded, and fails if the other one is not there.
#[derive(Debug, Default)]
pub(crate) struct NeededModules(BTreeSet<ObjectName>);

impl NeededModules {
    /// Reads the `depends=` of a module's file (empty for the image) and of what it names.
    pub fn of(shipped: &ShippedKernel, file: &[u8]) -> Result<Self, FactoryError> {
        let mut needed = Self::default();
        if file.is_empty() {
            return Ok(needed);
        }
        let mut open = depends(file)?;
        while let Some(module) = open.pop() {
            if needed.0.insert(module.clone()) {
                open.extend(depends(&shipped.module(module.as_str())?)?);
            }
        }
        Ok(needed)
    }

    pub fn has(&self, module: &ObjectName) -> bool {
        self.0.contains(module)
    }
}

fn depends(file: &[u8]) -> Result<Vec<ObjectName>, FactoryError> {
    let unreadable = |why: String| FactoryError::Differ {
        what: "the modinfo of a shipped module".to_owned(),
        why,
    };
    let modinfo = Modinfo::of_module(file).map_err(|error| unreadable(error.to_string()))?;
    modinfo
        .depends()
        .map_err(|error| unreadable(error.to_string()))
}
