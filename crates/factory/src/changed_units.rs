//! Which of the units that include an edited file can change: what their compilers see, with and
//! without the fix, is compared after all that has no effect.
//!
//! A header may reach thousands of units, and the compiler takes as long to preprocess one as it
//! takes to read hundreds of files. So units are preprocessed here, with the files of the tree
//! taken apart once, and of the unpatched text a hash is kept for the next fix. What our own
//! preprocessor does not handle goes to the compiler. Of every fix's units some are given to both;
//! if their answers differ, all units go to the compiler.
//!
//! Where too many differ, it is often by a structure that got a second name for a member: all who
//! see the structure differ, and few use that name. So the types that the fix defines in another
//! way are looked at then, by [`harmless`].

mod harmless;
mod judge;

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use suture_preprocessor::Edit;

use crate::command::Log;
use crate::commands::CompileCommand;
use crate::error::{FactoryError, Refusal, Refusals};
use crate::headers::Headers;
use crate::progress::{Progress, step};
use crate::tree::{Tree, WorkingCopy};

use judge::{Change, Judge};

/// Most units whose code an edited header may change. More is no fix of a hole but a change of
/// the kernel, and a transition would have to catch every task outside of all of them.
const CHANGED_UNITS_LIMIT: usize = 200;

/// Units between two lines of progress.
const ROUND: usize = 400;

/// Who preprocesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preprocessor {
    /// Our own, and the compiler where that can't.
    Own,
    Compiler,
}

/// A fix in its working copy.
pub(crate) struct Edited<'a> {
    pub tree: &'a Tree,
    pub headers: &'a Headers,
    /// Has the fix applied.
    pub copy: &'a WorkingCopy,
    /// Path and text of each edited file.
    pub files: &'a [(String, String)],
    pub log: &'a Log,
}

/// Those of the units whose code the edited files can change.
pub(crate) fn changed<'k>(
    units: &[&'k CompileCommand],
    edited: &Edited<'_>,
    preprocessor: Preprocessor,
    progress: &dyn Progress,
) -> Result<Vec<&'k CompileCommand>, FactoryError> {
    if units.is_empty() {
        return Ok(Vec::new());
    }
    edited.headers.forget_missing();
    let judge = Judge::new(edited, preprocessor);
    let judge = judge.compared(units, progress)?;
    let mut found = Found::of(units, &judge, None, progress)?;
    if found.is_too_wide() {
        found =
            narrower(&found, units, &judge, progress)?.ok_or_else(|| too_wide(&found, &judge))?;
    }
    if let Some(unit) = found.changed.iter().find(|unit| !unit.is_c()) {
        let path = unit.source.clone();
        let refusal = Refusal::AssemblerReached { path };
        return Err(FactoryError::Refused(Refusals(vec![refusal])));
    }
    Ok(found.changed)
}

/// What is left of a wide change without harmless redefinitions, if that is not too wide.
fn narrower<'k>(
    found: &Found<'k>,
    units: &[&'k CompileCommand],
    judge: &Judge<'_>,
    progress: &dyn Progress,
) -> Result<Option<Found<'k>>, FactoryError> {
    let edit = harmless::proven(&found.changed, judge, progress)?;
    if !edit.has_harmless() {
        return Ok(None);
    }
    let narrower = Found::of(&found.open(units), judge, Some(&edit), progress)?;
    let stands = !narrower.is_too_wide() && harmless::holds(&narrower.spared, judge, progress)?;
    Ok(stands.then_some(narrower))
}

fn too_wide(found: &Found<'_>, judge: &Judge<'_>) -> FactoryError {
    let files = judge.edited.files.iter().map(|(path, _)| path.as_str());
    let refusal = Refusal::ReachesTooMuch {
        path: files.collect::<Vec<_>>().join(", "),
        limit: CHANGED_UNITS_LIMIT,
        declarations: judge.declared_otherwise(&found.changed),
    };
    FactoryError::Refused(Refusals(vec![refusal]))
}

/// A unit that differs by harmless redefinitions only.
struct Spared<'k> {
    unit: &'k CompileCommand,
    /// How often it names what is redefined.
    mentions: usize,
}

/// What judging the units came to. Where too many change, the last of them are not looked at.
#[derive(Default)]
struct Found<'k> {
    changed: Vec<&'k CompileCommand>,
    spared: Vec<Spared<'k>>,
    /// The objects of those that do not change, whatever is known of the edit.
    same: HashSet<&'k str>,
}

impl<'k> Found<'k> {
    fn of(
        units: &[&'k CompileCommand],
        judge: &Judge<'_>,
        edit: Option<&Edit>,
        progress: &dyn Progress,
    ) -> Result<Self, FactoryError> {
        let count = AtomicUsize::new(0);
        let mut found = Self::default();
        for (round, units) in units.chunks(ROUND).enumerate() {
            let from = round * ROUND;
            let what = format!("preprocessing units {} to {}", from + 1, from + units.len());
            let judged = |unit: &&'k CompileCommand| {
                if count.load(Ordering::Relaxed) > CHANGED_UNITS_LIMIT {
                    return Ok((*unit, None));
                }
                let change = judge.change(unit, edit)?;
                count.fetch_add(usize::from(change == Change::Counts), Ordering::Relaxed);
                Ok::<_, FactoryError>((*unit, Some(change)))
            };
            let judged: Vec<_> = step(progress, &what, || {
                let judged = units.par_iter().map(judged);
                judged.collect::<Result<_, FactoryError>>()
            })?;
            for (unit, change) in judged {
                found.add(unit, change);
            }
            if found.is_too_wide() {
                break;
            }
        }
        Ok(found)
    }

    /// Adds a unit and how it changes, if it was looked at.
    fn add(&mut self, unit: &'k CompileCommand, change: Option<Change>) {
        match change {
            None => {}
            Some(Change::None) => drop(self.same.insert(&unit.object)),
            Some(Change::Harmless { mentions }) => self.spared.push(Spared { unit, mentions }),
            Some(Change::Counts) => self.changed.push(unit),
        }
    }

    /// Those of the units that may change.
    fn open(&self, units: &[&'k CompileCommand]) -> Vec<&'k CompileCommand> {
        let units = units.iter().copied();
        let open = units.filter(|unit| !self.same.contains(unit.object.as_str()));
        open.collect()
    }

    fn is_too_wide(&self) -> bool {
        self.changed.len() > CHANGED_UNITS_LIMIT
    }
}

/// What two preprocessors see in one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Same,
    Other,
    /// One of them does not see anything: what our own does not handle, or a file is missing.
    NotHere,
}

/// Compares our own preprocessor with the compiler's.
pub(crate) fn compare(
    units: &[&CompileCommand],
    edited: &Edited<'_>,
) -> Result<Vec<Comparison>, FactoryError> {
    let judge = Judge::new(edited, Preprocessor::Own);
    let compared = units.par_iter().map(|unit| judge.compare(unit));
    compared.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_change_is_not_looked_at_again() {
        let unit = |object: &str| CompileCommand {
            source: "x.c".to_owned(),
            object: object.to_owned(),
            text: String::new(),
            listed_in: Vec::new(),
        };
        let units = ["same.o", "other.o", "spared.o", "left.o"].map(unit);
        let mut found = Found::default();
        let changes = [
            Some(Change::None),
            Some(Change::Counts),
            Some(Change::Harmless { mentions: 1 }),
            None,
        ];
        for (unit, change) in units.iter().zip(changes) {
            found.add(unit, change);
        }
        let units: Vec<&CompileCommand> = units.iter().collect();
        let open = found.open(&units).into_iter();
        let open: Vec<&str> = open.map(|unit| unit.object.as_str()).collect();
        assert_eq!(open, ["other.o", "spared.o", "left.o"]);
    }
}
