//! What the differ says of a unit's objects before and after a fix, for who names the unit.

use suture_differ::{Comparison, DifferError, FunctionChange, FunctionStatus};

use crate::error::FactoryError;

pub(crate) fn compared(
    source: &str,
    original: &[u8],
    patched: &[u8],
) -> Result<Comparison, FactoryError> {
    suture_differ::compare(original, patched).map_err(|error| unreadable(source, &error))
}

pub(crate) fn unreadable(source: &str, error: &DifferError) -> FactoryError {
    FactoryError::Differ {
        what: source.to_owned(),
        why: error.to_string(),
    }
}

/// Whether the differ finds a function changed, or can't tell.
pub(crate) fn code_differs(
    source: &str,
    original: &[u8],
    patched: &[u8],
) -> Result<bool, FactoryError> {
    let comparison = compared(source, original, patched)?;
    let changed = |function: &FunctionChange| function.status != FunctionStatus::Same;
    Ok(!comparison.refusals.is_empty() || comparison.functions.iter().any(changed))
}
