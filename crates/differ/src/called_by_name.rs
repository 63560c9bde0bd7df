//! Functions that nothing but calls by their names leads to.

use std::collections::BTreeSet;

use crate::error::DifferError;
use crate::names::stem;
use crate::unit::Unit;
use crate::untraceable::uses;

/// The functions of an object that call or jump to these, and to what the compiler made of them;
/// nothing if another unit may, or if a pointer leads to one.
///
/// # Errors
///
/// An object that can't be read.
pub fn callers_by_name(
    object: &[u8],
    functions: &BTreeSet<String>,
) -> Result<Option<BTreeSet<String>>, DifferError> {
    let unit = Unit::parse(object)?;
    let meant = unit.functions();
    let meant = meant.filter(|&function| functions.contains(stem(unit.name(function))));
    let mut callers = BTreeSet::new();
    for function in meant {
        if !unit.is_private(function) {
            return Ok(None);
        }
        for one in uses(&unit, function) {
            match one.by {
                Some(caller) if one.is_branch => callers.insert(stem(unit.name(caller)).to_owned()),
                _ => return Ok(None),
            };
        }
    }
    Ok(Some(callers))
}
