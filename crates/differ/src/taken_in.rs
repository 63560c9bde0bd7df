//! Functions that can't be redirected, and a compile of the fix that puts them into their callers.
//!
//! The kernel's `inline` keeps a function from being traced, and the compiler may leave it out of
//! line all the same. Where the callers can't bring it along, because they jump to it, a compile
//! of the fix that inlines it has nothing of it left: its callers have changed, and are replaced.
//!
//! A task that waits inside the old code and came by a jump has none of the replaced functions on
//! its stack, so the kernel counts it as patched and lets it go on. That does no harm where the old
//! code does not lead to anything else that is replaced: it ends as the call that it is, which began
//! before the patch.

use std::collections::{BTreeSet, HashSet};

use crate::code_checks::fentry_call;
use crate::compare::{Analysis, FunctionStatus, Units};
use crate::entry_sizes::EntrySizes;
use crate::error::DifferError;
use crate::refusal::Refusal;
use crate::special::is_init;
use crate::unit::{Target, Unit};
use crate::untraceable::{Use, uses};

/// The changed functions that can't be redirected because they are not traced.
pub fn untraceable(original: &[u8], patched: &[u8]) -> Result<Vec<String>, DifferError> {
    let units = Units::parse(original, patched, &EntrySizes::default())?;
    let analysis = Analysis::new(&units)?;
    Ok(untraceable_of(&analysis).map(str::to_owned).collect())
}

fn untraceable_of<'a>(analysis: &'a Analysis<'_>) -> impl Iterator<Item = &'a str> {
    let refusals = analysis.refusals.iter();
    refusals.filter_map(|refusal| match refusal {
        Refusal::NotTraceable { function } | Refusal::SystemCallBody { function } => {
            Some(function.as_str())
        }
        _ => None,
    })
}

/// What speaks against a patch from an object in which these functions of the original are part of
/// their callers.
///
/// # Errors
///
/// An object that can't be read.
pub fn taken_in_wrongly(
    original: &[u8],
    patched: &[u8],
    functions: &[String],
) -> Result<Option<String>, DifferError> {
    let units = Units::parse(original, patched, &EntrySizes::default())?;
    let analysis = Analysis::new(&units)?;
    let old = &units.old;
    if let Some(one) = untraceable_of(&analysis).next() {
        let why = match functions.iter().any(|function| function == one) {
            true => "is still on its own",
            false => "would have to be replaced and is not traced either",
        };
        return Ok(Some(format!("`{one}` {why}")));
    }
    let replaced = replaced(&analysis);
    let objections = old
        .functions()
        .filter(|&function| functions.iter().any(|name| name == old.name(function)))
        .map(|function| objection(old, &analysis, &replaced, function));
    Ok(objections.flatten().next())
}

/// What old code leads to that the kernel does not see tasks in: a function that is replaced. Such
/// code is not traced, is jumped to, and is no function of its own with the fix.
///
/// # Errors
///
/// An object that can't be read.
pub fn unseen_code(original: &[u8], patched: &[u8]) -> Result<Option<String>, DifferError> {
    let units = Units::parse(original, patched, &EntrySizes::default())?;
    let analysis = Analysis::new(&units)?;
    let (old, replaced) = (&units.old, replaced(&analysis));
    let is_gone = |function: &usize| {
        !analysis.matcher.functions.contains_key(function)
            && old.parent(*function).is_none()
            && !is_init(&old.section_of(*function).name)
            && fentry_call(old, *function).is_none()
    };
    let mut gone = old.functions().filter(is_gone);
    Ok(gone.find_map(|function| meets(old, &replaced, function, &uses(old, function))))
}

/// The functions of the original that are replaced.
fn replaced(analysis: &Analysis<'_>) -> HashSet<usize> {
    let pairs = analysis.original_function.iter();
    pairs
        .filter(|(new, _)| analysis.status.get(new) == Some(&FunctionStatus::Changed))
        .map(|(_, &original)| original)
        .collect()
}

fn objection(
    old: &Unit,
    analysis: &Analysis<'_>,
    replaced: &HashSet<usize>,
    function: usize,
) -> Option<String> {
    let name = old.name(function);
    if analysis.matcher.functions.contains_key(&function) {
        return Some(format!("`{name}` is still on its own"));
    }
    let uses = uses(old, function);
    for one in &uses {
        match one.by.map(|user| old.parent(user).unwrap_or(user)) {
            Some(user) if replaced.contains(&user) => {}
            Some(user) => {
                return Some(format!("`{}` leads to the old `{name}`", old.name(user)));
            }
            None => return Some(format!("a pointer leads to the old `{name}`")),
        }
    }
    meets(old, replaced, function, &uses)
}

/// What a task would meet that came to a function by a jump and waits inside it.
fn meets(old: &Unit, replaced: &HashSet<usize>, function: usize, uses: &[Use]) -> Option<String> {
    if uses.iter().all(|one| one.is_call) {
        return None;
    }
    let mut reached = reached(old, function).into_iter();
    let met = reached.find(|atom| replaced.contains(atom))?;
    let (name, met) = (old.name(function), old.name(met));
    Some(format!(
        "a task that waits inside the old `{name}` counts as patched, and would go on to the new \
         `{met}`"
    ))
}

/// Everything of the unit to which a function leads.
fn reached(unit: &Unit, function: usize) -> BTreeSet<usize> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![function]);
    while let Some(atom) = open.pop() {
        let range = unit.range(atom);
        let relocations = unit
            .section(range.section)
            .relocations_in(range.start, range.end);
        for relocation in relocations {
            let Target::Atom { symbol, .. } = unit.target(range.section, relocation) else {
                continue;
            };
            let whole = unit.parent(symbol).unwrap_or(symbol);
            for next in [symbol, whole] {
                if next != function && reached.insert(next) {
                    open.push(next);
                }
            }
        }
    }
    reached
}
