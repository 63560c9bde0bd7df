//! What can't be patched of a unit for how it lays out data or calls functions.

use suture_kernel::ObjectName;
use suture_kernel::symvers::Symvers;

use super::{Changed, Layouts};
use crate::error::{FactoryError, Refusal};

/// Data structures that the fix lays out anew, as the unit sees them, whose objects without and
/// with the fix are given.
pub(crate) fn laid_out_anew(
    unit: &str,
    (original, patched): (&[u8], &[u8]),
) -> Result<Vec<Refusal>, FactoryError> {
    let (before, after) = both(unit, original, patched)?;
    Ok(told(unit, before.changed(&after)))
}

/// The same, and what the fix lets be called in another way though modules that were built
/// elsewhere may call it: functions that the unit's `object` exports, and pointers to functions.
pub(crate) fn refusals(
    unit: &str,
    object: &ObjectName,
    (original, patched): (&[u8], &[u8]),
    symvers: &Symvers,
) -> Result<Vec<Refusal>, FactoryError> {
    if original == patched {
        return Ok(Vec::new());
    }
    let (before, after) = both(unit, original, patched)?;
    let mut refusals = told(unit, before.changed(&after));
    let exporter = |name: &str| symvers.exporter(name).map(|export| &export.module);
    let called = before.called_anew(&after).into_iter();
    let called = called.filter(|change| exporter(&change.name) == Some(object));
    refusals.extend(called.map(|change| Refusal::CalledAnew {
        unit: unit.to_owned(),
        name: change.name,
        how: change.how,
    }));
    let pointers = before.pointers_called_anew(&after).into_iter();
    refusals.extend(pointers.map(|change| change.refusal(unit)));
    Ok(refusals)
}

fn both(unit: &str, original: &[u8], patched: &[u8]) -> Result<(Layouts, Layouts), FactoryError> {
    let read = |bytes: &[u8]| Layouts::of_unit(unit, bytes);
    Ok((read(original)?, read(patched)?))
}

fn told(unit: &str, changed: Vec<Changed>) -> Vec<Refusal> {
    let changed = changed.into_iter();
    changed.map(|change| change.refusal(unit)).collect()
}
