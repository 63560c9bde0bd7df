//! Judging one unit: what its compiler would see with the fix and without.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;
use suture_preprocessor::{
    Edit, Names, SourceFile, Token, Unsupported, declared_otherwise, effective, lex,
    preprocess as preprocess_here, same,
};

use super::{Comparison, Edited, Preprocessor};
use crate::command::Log;
use crate::commands::CompileCommand;
use crate::error::FactoryError;
use crate::files::{self, sha256_hex};
use crate::headers::{Headers, Preprocessing};
use crate::progress::{Progress, step};
use crate::tree::Tree;
use crate::unit::{Seen, Unit, preprocess};

/// Units that are given to both preprocessors.
const COMPARED: usize = 8;

/// How a fix changes a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Not at all.
    None,
    /// It sees types in another way and names nothing of what is edited in them; so often it names
    /// the types.
    Harmless {
        mentions: usize,
    },
    Counts,
}

/// What a unit's text comes to.
struct Text {
    /// Of what has an effect.
    sha256: String,
    /// The files that it is made of.
    files: Vec<String>,
}

pub(super) struct Judge<'a> {
    pub edited: &'a Edited<'a>,
    paths: HashSet<&'a str>,
    headers: &'a Headers,
    /// The edited files, taken apart.
    patched: HashMap<String, Arc<SourceFile>>,
    none: HashMap<String, Arc<SourceFile>>,
    preprocessor: Preprocessor,
}

impl<'a> Judge<'a> {
    pub fn new(edited: &'a Edited<'a>, preprocessor: Preprocessor) -> Self {
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
    pub fn compared(
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
    pub fn compare(&self, command: &CompileCommand) -> Result<Comparison, FactoryError> {
        let mut comparison = Comparison::NotHere;
        let Some(preprocessing) = self.preprocessing(command) else {
            return Ok(comparison);
        };
        let Edited {
            tree, copy, log, ..
        } = self.edited;
        let versions = [(&self.none, tree.path()), (&self.patched, copy.path())];
        for (files, folder) in versions {
            let Ok((tokens, read)) = self.tokens(files, &preprocessing) else {
                continue;
            };
            copy.complete(tree, &read)?;
            let Ok(by_compiler) = by_compiler(command, tree, folder, log) else {
                continue;
            };
            if !same(&tokens, &by_compiler.0, self.headers.names()) {
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

    /// How a unit changes with the fix. Of the edit may be known what is harmless.
    pub fn change(
        &self,
        command: &CompileCommand,
        edit: Option<&Edit>,
    ) -> Result<Change, FactoryError> {
        if let Some(edit) = edit.filter(|_| ignores_types(command))
            && !self.is_out_of_reach(command)
            && let Some(preprocessing) = self.preprocessing(command)
        {
            let unit = Unit::new(self.edited.tree, command).ok();
            if let Ok(change) = self.change_here(unit.as_ref(), &preprocessing, edit) {
                return Ok(change);
            }
        }
        Ok(match self.is_changed(command)? {
            true => Change::Counts,
            false => Change::None,
        })
    }

    fn change_here(
        &self,
        unit: Option<&Unit>,
        preprocessing: &Preprocessing,
        edit: &Edit,
    ) -> Result<Change, Unsupported> {
        let before = self.before(unit, preprocessing)?;
        if !self.touched(&before.files) {
            return Ok(Change::None);
        }
        let (after, _) = self.tokens(&self.patched, preprocessing)?;
        let restored = edit.restored(&after, self.headers.names());
        let is_same = sha256_hex(&restored.text) == before.sha256;
        Ok(if !is_same || restored.is_touched {
            Change::Counts
        } else if restored.mentions == 0 {
            // It does not see the types.
            Change::None
        } else {
            let mentions = restored.mentions;
            Change::Harmless { mentions }
        })
    }

    /// What a unit's compiler sees without the fix and with it.
    pub fn texts(&self, command: &CompileCommand) -> Option<(Vec<Token>, Vec<Token>)> {
        let preprocessing = self.preprocessing(command)?;
        let seen = |files| self.tokens(files, &preprocessing).ok();
        let ((before, _), (after, _)) = (seen(&self.none)?, seen(&self.patched)?);
        Some((before, after))
    }

    pub fn names(&self) -> &Names {
        self.headers.names()
    }

    /// The names of what one of the units declares in another way with the fix.
    pub fn declared_otherwise(&self, units: &[&CompileCommand]) -> Vec<String> {
        let of_unit = |unit: &&CompileCommand| {
            let (before, after) = self.texts(unit)?;
            Some(declared_otherwise(&before, &after, self.headers.names()))
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

    /// Whether the unit was compiled before, and the compiler read nothing that is edited.
    fn is_out_of_reach(&self, command: &CompileCommand) -> bool {
        let unit = Unit::new(self.edited.tree, command);
        let read = unit
            .and_then(|unit| unit.dependencies())
            .unwrap_or_default();
        !read.is_empty() && !self.touched(&read)
    }

    fn is_changed(&self, command: &CompileCommand) -> Result<bool, FactoryError> {
        if self.is_out_of_reach(command) {
            return Ok(false);
        }
        let unit = Unit::new(self.edited.tree, command).ok();
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
        let before = self.before(unit, preprocessing)?;
        if !self.touched(&before.files) {
            return Ok(false);
        }
        let after = self.text(&self.patched, preprocessing)?;
        Ok(before.sha256 != after.sha256)
    }

    /// What the unpatched unit comes to, which may be kept.
    fn before(
        &self,
        unit: Option<&Unit>,
        preprocessing: &Preprocessing,
    ) -> Result<Text, Unsupported> {
        if let Some(Seen { sha256, files }) = unit.and_then(Unit::seen) {
            return Ok(Text { sha256, files });
        }
        let text = self.text(&self.none, preprocessing)?;
        if let Some(unit) = unit {
            unit.keep_seen(&text.sha256, &text.files);
        }
        Ok(text)
    }

    fn text(
        &self,
        files: &HashMap<String, Arc<SourceFile>>,
        preprocessing: &Preprocessing,
    ) -> Result<Text, Unsupported> {
        let (tokens, files) = self.tokens(files, preprocessing)?;
        Ok(Text {
            sha256: sha256_hex(&effective(&tokens, self.headers.names())),
            files,
        })
    }

    /// What our own preprocessor sees, and the files that it read.
    fn tokens(
        &self,
        files: &HashMap<String, Arc<SourceFile>>,
        preprocessing: &Preprocessing,
    ) -> Result<(Vec<Token>, Vec<String>), Unsupported> {
        let version = self.headers.version(files, preprocessing);
        let names = self.headers.names();
        let (tokens, read) = preprocess_here(&preprocessing.invocation, &version, names)?;
        Ok((tokens, read.iter().map(ToString::to_string).collect()))
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

/// Whether the compiler was told that any pointer may point to anything, as kernels are compiled:
/// else a second name for a member may change what it knows of others.
fn ignores_types(command: &CompileCommand) -> bool {
    let compile = command.text.split(" ; ").next().unwrap_or_default();
    let mut words = compile.split(' ');
    let is_told = |word: &&str| matches!(*word, "-fno-strict-aliasing" | "-fstrict-aliasing");
    words.rfind(is_told) == Some("-fno-strict-aliasing") && !compile.contains(" -flto")
}
