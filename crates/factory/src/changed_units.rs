//! Which of the units that include an edited file can change: what their compilers see, with and
//! without the fix, is compared after all that has no effect.
//!
//! A header may reach thousands of units, and the compiler takes as long to preprocess one as it
//! takes to read hundreds of files. So units are preprocessed here, with the files of the tree
//! taken apart once, and of the unpatched text a hash is kept for the next fix. What our own
//! preprocessor does not handle goes to the compiler. Of every fix's units some are given to both;
//! if their answers differ, all units go to the compiler.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use suture_preprocessor::{
    SourceFile, Unsupported, declared_otherwise, effective, lex, preprocess as preprocess_here,
    same,
};

use crate::command::Log;
use crate::commands::CompileCommand;
use crate::error::{FactoryError, Refusal, Refusals};
use crate::files::{self, sha256_hex};
use crate::headers::{Headers, Preprocessing};
use crate::progress::{Progress, step};
use crate::tree::{Tree, WorkingCopy};
use crate::unit::{Seen, Unit, preprocess};

/// Most units whose code an edited header may change. More is no fix of a hole but a change of
/// the kernel, and a transition would have to catch every task outside of all of them.
const CHANGED_UNITS_LIMIT: usize = 200;

/// Units between two lines of progress.
const ROUND: usize = 400;

/// Units that are given to both preprocessors.
const COMPARED: usize = 8;

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
    let found = AtomicUsize::new(0);
    let mut changed = Vec::new();
    for (round, units) in units.chunks(ROUND).enumerate() {
        let from = round * ROUND;
        let what = format!("preprocessing units {} to {}", from + 1, from + units.len());
        let is_changed = |unit: &&'k CompileCommand| {
            if found.load(Ordering::Relaxed) > CHANGED_UNITS_LIMIT {
                return Ok(None);
            }
            let changes = judge.is_changed(unit)?;
            found.fetch_add(usize::from(changes), Ordering::Relaxed);
            Ok::<_, FactoryError>(changes.then_some(*unit))
        };
        let judged: Vec<_> = step(progress, &what, || {
            units
                .par_iter()
                .map(is_changed)
                .collect::<Result<_, FactoryError>>()
        })?;
        changed.extend(judged.into_iter().flatten());
        if changed.len() > CHANGED_UNITS_LIMIT {
            let files = edited.files.iter().map(|(path, _)| path.as_str());
            let refusal = Refusal::ReachesTooMuch {
                path: files.collect::<Vec<_>>().join(", "),
                limit: CHANGED_UNITS_LIMIT,
                declarations: judge.declared_otherwise(&changed),
            };
            return Err(FactoryError::Refused(Refusals(vec![refusal])));
        }
    }
    if let Some(unit) = changed.iter().find(|unit| !unit.is_c()) {
        let path = unit.source.clone();
        let refusal = Refusal::AssemblerReached { path };
        return Err(FactoryError::Refused(Refusals(vec![refusal])));
    }
    Ok(changed)
}

/// What a unit's text comes to.
struct Text {
    /// Of what has an effect.
    sha256: String,
    /// The files that it is made of.
    files: Vec<String>,
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

struct Judge<'a> {
    edited: &'a Edited<'a>,
    paths: HashSet<&'a str>,
    headers: &'a Headers,
    /// The edited files, taken apart.
    patched: HashMap<String, Arc<SourceFile>>,
    none: HashMap<String, Arc<SourceFile>>,
    preprocessor: Preprocessor,
}

impl<'a> Judge<'a> {
    fn new(edited: &'a Edited<'a>, preprocessor: Preprocessor) -> Self {
        let paths = edited.files.iter().map(|(path, _)| path.as_str());
        Self {
            edited,
            paths: paths.collect(),
            headers: edited.headers,
            patched: edited.headers.edited(edited.files),
            none: HashMap::new(),
            preprocessor,
        }
    }

    /// Goes to the compiler for all units, if for some of them it sees other things.
    fn compared(
        mut self,
        units: &[&CompileCommand],
        progress: &dyn Progress,
    ) -> Result<Self, FactoryError> {
        if self.preprocessor == Preprocessor::Compiler {
            return Ok(self);
        }
        let each = units.len().div_ceil(COMPARED).max(1);
        let some: Vec<_> = units.iter().step_by(each).collect();
        let same = step(progress, "comparing two preprocessors", || {
            let same = some.par_iter().map(|unit| self.compare(unit));
            same.collect::<Result<Vec<_>, FactoryError>>()
        })?;
        if same.contains(&Comparison::Other) {
            self.preprocessor = Preprocessor::Compiler;
        }
        Ok(self)
    }

    /// Whether both preprocessors see the same in a unit, with and without the fix.
    fn compare(&self, command: &CompileCommand) -> Result<Comparison, FactoryError> {
        let mut comparison = Comparison::NotHere;
        let Some(preprocessing) = self.preprocessing(command) else {
            return Ok(comparison);
        };
        let Edited {
            tree, copy, log, ..
        } = self.edited;
        let versions = [(&self.none, tree.path()), (&self.patched, copy.path())];
        for (files, folder) in versions {
            let version = self.headers.version(files, &preprocessing);
            let names = self.headers.names();
            let Ok((tokens, read)) = preprocess_here(&preprocessing.invocation, &version, names)
            else {
                continue;
            };
            let read: Vec<String> = read.iter().map(ToString::to_string).collect();
            copy.complete(tree, &read)?;
            let Ok(by_compiler) = by_compiler(command, tree, folder, log) else {
                continue;
            };
            if !same(&tokens, &by_compiler.0, names) {
                let unit = &command.source;
                log.note(&format!(
                    "{unit}: our preprocessor sees other things than the compiler"
                ));
                return Ok(Comparison::Other);
            }
            comparison = Comparison::Same;
        }
        Ok(comparison)
    }

    /// The names of what one of the units declares in another way with the fix.
    fn declared_otherwise(&self, units: &[&CompileCommand]) -> Vec<String> {
        let names = self.headers.names();
        let of_unit = |unit: &&CompileCommand| {
            let preprocessing = self.preprocessing(unit)?;
            let seen = |files| {
                let version = self.headers.version(files, &preprocessing);
                preprocess_here(&preprocessing.invocation, &version, names).ok()
            };
            let ((before, _), (after, _)) = (seen(&self.none)?, seen(&self.patched)?);
            Some(declared_otherwise(&before, &after, names))
        };
        units.iter().find_map(of_unit).unwrap_or_default()
    }

    fn preprocessing(&self, command: &CompileCommand) -> Option<Preprocessing> {
        let own = self.preprocessor == Preprocessor::Own && command.is_c();
        own.then(|| self.headers.preprocessing(command)).flatten()
    }

    fn touched<T: AsRef<str>>(&self, read: &[T]) -> bool {
        read.iter().any(|file| self.paths.contains(file.as_ref()))
    }

    fn is_changed(&self, command: &CompileCommand) -> Result<bool, FactoryError> {
        let unit = Unit::new(self.edited.tree, command).ok();
        if let Some(unit) = &unit {
            let read = unit.dependencies().unwrap_or_default();
            if !read.is_empty() && !self.touched(&read) {
                return Ok(false);
            }
        }
        if let Some(preprocessing) = self.preprocessing(command) {
            match self.is_changed_here(unit.as_ref(), &preprocessing) {
                Ok(changed) => return Ok(changed),
                Err(why) => {
                    let unit = &command.source;
                    let note = format!("{unit}: preprocessed by the compiler, because {why}");
                    self.edited.log.note(&note);
                }
            }
        }
        self.is_changed_by_compiler(command, unit.as_ref())
    }

    fn is_changed_here(
        &self,
        unit: Option<&Unit>,
        preprocessing: &Preprocessing,
    ) -> Result<bool, Unsupported> {
        let before = match unit.and_then(Unit::seen) {
            Some(Seen { sha256, files }) => Text { sha256, files },
            None => {
                let text = self.text(&self.none, preprocessing)?;
                if let Some(unit) = unit {
                    unit.keep_seen(&text.sha256, &text.files);
                }
                text
            }
        };
        if !self.touched(&before.files) {
            return Ok(false);
        }
        let after = self.text(&self.patched, preprocessing)?;
        Ok(before.sha256 != after.sha256)
    }

    fn text(
        &self,
        files: &HashMap<String, Arc<SourceFile>>,
        preprocessing: &Preprocessing,
    ) -> Result<Text, Unsupported> {
        let names = self.headers.names();
        let version = self.headers.version(files, preprocessing);
        let (tokens, read) = preprocess_here(&preprocessing.invocation, &version, names)?;
        Ok(Text {
            sha256: sha256_hex(&effective(&tokens, names)),
            files: read.iter().map(ToString::to_string).collect(),
        })
    }

    fn is_changed_by_compiler(
        &self,
        command: &CompileCommand,
        unit: Option<&Unit>,
    ) -> Result<bool, FactoryError> {
        let Edited {
            tree, copy, log, ..
        } = self.edited;
        let before = match by_compiler(command, tree, tree.path(), log) {
            Ok(before) => before,
            Err(_) => {
                let Some(unit) = unit else { return Ok(true) };
                // It wants a file that Kbuild makes in its folder; the compile lets Kbuild make it.
                unit.plain(tree, log)?;
                self.headers.forget_missing();
                by_compiler(command, tree, tree.path(), log)?
            }
        };
        let (before, read) = before;
        if let Some(unit) = unit {
            unit.keep_dependencies(&read)?;
        }
        if !self.touched(&read) {
            return Ok(false);
        }
        copy.complete(tree, &read)?;
        let Ok((after, _)) = by_compiler(command, tree, copy.path(), log) else {
            // The compiler will say why.
            return Ok(true);
        };
        let names = self.headers.names();
        let effective = |text: &str| effective(&lex(text, names), names);
        Ok(before != after && !(command.is_c() && effective(&before) == effective(&after)))
    }
}

/// What the compiler sees of a unit, and the files that it read.
fn by_compiler(
    command: &CompileCommand,
    tree: &Tree,
    folder: &Path,
    log: &Log,
) -> Result<(String, Vec<String>), FactoryError> {
    let scratch = tempfile::tempdir().map_err(FactoryError::file("make", &std::env::temp_dir()))?;
    let output = scratch.path().join("text");
    let read = preprocess(command, tree, folder, &output, log)?;
    let text = String::from_utf8_lossy(&files::read(&output)?).into_owned();
    Ok((text, read))
}
