//! Which units of a kernel a fix reaches, without building the kernel.
//!
//! Edited units are compiled. Units that merely include an edited file are preprocessed with and
//! without the fix, each with its own command, and compiled only if that can change their code.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use suture_kernel::KernelRelease;

use crate::command::Log;
use crate::commands::CompileCommand;
use crate::error::{FactoryError, Refusal, Refusals};
use crate::files;
use crate::fix::{Plan, is_header};
use crate::includes::Includes;
use crate::opened_kernel::OpenedKernel;
use crate::preprocessed;
use crate::progress::{Progress, step};
use crate::servable;
use crate::tree::{Tree, WorkingCopy};
use crate::unit::{Unit, preprocess};

/// Most units whose code an edited header may change. More is no fix of a hole but a change of
/// the kernel, and a transition would have to catch every task outside of all of them.
const CHANGED_UNITS_LIMIT: usize = 200;

/// Units between two lines of progress.
const ROUND: usize = 200;

/// What a fix reaches.
#[derive(Debug, Default)]
pub(crate) struct Reach<'k> {
    /// Units whose own source is edited, or that the author named.
    pub edited: Vec<&'k CompileCommand>,
    /// Units that may include an edited file.
    pub includers: Vec<&'k CompileCommand>,
    /// Edited sources that this kernel is not compiled from.
    not_built: Vec<String>,
    /// All edited files.
    files: Vec<String>,
}

impl<'k> Reach<'k> {
    /// Finds them. Where the author named units, headers are not followed.
    pub fn find(
        kernel: &'k OpenedKernel,
        plan: &Plan,
        named: &[String],
        log: &Log,
    ) -> Result<Self, FactoryError> {
        refuse_rust(plan, &kernel.shipped.configuration()?)?;
        let mut reach = Self::default();
        for source in &plan.units {
            let found: Vec<_> = kernel.commands.units_of(source).collect();
            if found.is_empty() {
                reach.not_built.push(source.clone());
            }
            reach.edited.extend(found);
        }
        let missing = |name: &&String| reach.not_built.contains(name);
        if let Some(source) = named.iter().find(missing) {
            return Err(crate::unit::not_built(source, kernel.tree.release()));
        }
        reach.files = plan.edited.iter().map(|file| file.path.clone()).collect();
        let followed = |path: &&String| named.is_empty() || !is_header(path);
        let followed: Vec<&String> = reach.files.iter().filter(followed).collect();
        let includes = Includes::of(&kernel.tree, &kernel.commands, &followed, log)?;
        let mut includers = BTreeSet::new();
        for path in followed {
            includers.extend(includes.includers(path));
            includers.insert(path.clone());
        }
        let headers = includers.iter().any(|path| path.ends_with(".h"));
        let is_reached = |command: &&CompileCommand| {
            let forced = || {
                command
                    .forced_includes()
                    .any(|file| includers.contains(file))
            };
            includers.contains(&command.source) || headers && forced()
        };
        let edited: HashSet<&str> = reach
            .edited
            .iter()
            .map(|unit| unit.object.as_str())
            .collect();
        let others = kernel.commands.all().iter().filter(is_reached);
        reach.includers = others
            .filter(|unit| !edited.contains(unit.object.as_str()))
            .collect();
        Ok(reach)
    }

    /// Why there is nothing to patch, if nothing that the fix reaches changes.
    pub fn nothing(&self, release: &KernelRelease) -> Vec<Refusal> {
        let release = || release.clone();
        if self.not_built.is_empty() {
            let units = self.files.join(", ");
            return vec![Refusal::NoChange { units }];
        }
        let unit = |unit: &String| Refusal::NotBuilt {
            unit: unit.clone(),
            release: release(),
        };
        self.not_built.iter().map(unit).collect()
    }
}

/// A kernel without Rust lacks nothing if that part of a fix is left out.
fn refuse_rust(plan: &Plan, configuration: &str) -> Result<(), FactoryError> {
    let mut refusals = Vec::new();
    if servable::has_rust(configuration) {
        let rust = plan.rust.iter();
        refusals.extend(rust.map(|path| Refusal::Rust { path: path.clone() }));
    } else if plan.edited.is_empty() && plan.units.is_empty() {
        refusals.push(Refusal::NothingCompiled);
    }
    if refusals.is_empty() {
        return Ok(());
    }
    Err(FactoryError::Refused(Refusals(refusals)))
}

/// Those of the units whose code the edited files can change. `copy` has the fix applied.
pub(crate) fn changed<'k>(
    units: &[&'k CompileCommand],
    edited: &HashSet<&str>,
    tree: &Tree,
    copy: &WorkingCopy,
    progress: &dyn Progress,
    log: &Log,
) -> Result<Vec<&'k CompileCommand>, FactoryError> {
    let found = AtomicUsize::new(0);
    let mut changed = Vec::new();
    for (round, units) in units.chunks(ROUND).enumerate() {
        let from = round * ROUND;
        let what = format!("preprocessing units {} to {}", from + 1, from + units.len());
        let judge = |unit: &&'k CompileCommand| {
            if found.load(Ordering::Relaxed) > CHANGED_UNITS_LIMIT {
                return Ok(None);
            }
            let changes = is_changed(unit, edited, tree, copy, log)?;
            found.fetch_add(usize::from(changes), Ordering::Relaxed);
            Ok::<_, FactoryError>(changes.then_some(*unit))
        };
        let judged: Vec<_> = step(progress, &what, || {
            units
                .par_iter()
                .map(judge)
                .collect::<Result<_, FactoryError>>()
        })?;
        changed.extend(judged.into_iter().flatten());
        if changed.len() > CHANGED_UNITS_LIMIT {
            let path = edited.iter().copied().collect::<Vec<_>>().join(", ");
            let limit = CHANGED_UNITS_LIMIT;
            let refusal = Refusal::ReachesTooMuch { path, limit };
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

fn is_changed(
    command: &CompileCommand,
    edited: &HashSet<&str>,
    tree: &Tree,
    copy: &WorkingCopy,
    log: &Log,
) -> Result<bool, FactoryError> {
    let unit = Unit::new(tree, command).ok();
    let known = |unit: &Unit| unit.dependencies().unwrap_or_default();
    let mut read = unit.as_ref().map(known).unwrap_or_default();
    let touched = |read: &[String]| read.iter().any(|file| edited.contains(file.as_str()));
    if !read.is_empty() && !touched(&read) {
        return Ok(false);
    }
    let folder = tempfile::tempdir().map_err(FactoryError::file("make", &std::env::temp_dir()))?;
    let (before, after) = (folder.path().join("before"), folder.path().join("after"));
    if preprocess(command, tree, tree.path(), &before, log).is_err() {
        let Some(unit) = &unit else { return Ok(true) };
        // It wants a file that Kbuild makes in its folder; the compile lets Kbuild make it.
        unit.plain(tree, log)?;
        preprocess(command, tree, tree.path(), &before, log)?;
    }
    if let Some(unit) = &unit {
        read = unit.keep_dependencies(&before)?;
    }
    if !touched(&read) {
        return Ok(false);
    }
    copy.complete(tree, &read)?;
    if preprocess(command, tree, copy.path(), &after, log).is_err() {
        // The compiler will say why.
        return Ok(true);
    }
    let (before, after) = (text(&before)?, text(&after)?);
    Ok(if command.is_c() {
        preprocessed::differ(&before, &after)
    } else {
        before != after
    })
}

fn text(path: &Path) -> Result<String, FactoryError> {
    Ok(String::from_utf8_lossy(&files::read(path)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fix_in_rust_is_refused_where_it_is_compiled() {
        let plan = |edited: &str| {
            let text =
                format!("--- a/{edited}\n+++ b/{edited}\n--- a/rust/x.rs\n+++ b/rust/x.rs\n");
            let files = crate::fix::touched_files(&text).unwrap();
            let fix = crate::fix::Fix {
                path: "fix.diff".into(),
                text,
                files,
            };
            crate::fix::plan(&[fix], &[]).map_err(Refusals).unwrap()
        };
        let refused = |edited: &str, configuration: &str| {
            let refused = refuse_rust(&plan(edited), configuration);
            refused.map_err(|error| error.to_string())
        };
        let why = refused("mm/x.c", "CONFIG_RUST=y\n").unwrap_err();
        assert!(why.contains("`rust/x.rs` is Rust"), "{why}");
        refused("mm/x.c", "").unwrap();
        assert!(refused("MAINTAINERS", "").is_err());
    }
}
