//! Which units of a kernel a fix reaches, without building the kernel.
//!
//! Edited units are compiled. Those that merely include an edited file are found here, and judged
//! by [`crate::changed_units`].

use std::collections::{BTreeSet, HashSet};

use suture_kernel::KernelRelease;

use crate::command::Log;
use crate::commands::CompileCommand;
use crate::error::{FactoryError, Refusal, Refusals};
use crate::fix::{Plan, is_header};
use crate::includes::Includes;
use crate::opened_kernel::OpenedKernel;
use crate::servable;

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
