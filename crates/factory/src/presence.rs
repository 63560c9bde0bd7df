//! Which of a kernel's source files became part of it, and of which object.

use std::collections::BTreeSet;

use suture_kernel::ObjectName;

use crate::archive::Archive;
use crate::command::Log;
use crate::commands::Commands;
use crate::error::FactoryError;
use crate::includes::Includes;
use crate::progress::{Progress, step};
use crate::shipped::ShippedKernel;
use crate::tree::Tree;

/// Code that is compiled and never runs in the started kernel, or in no unit of its own: what
/// Kbuild says of units tells nothing about it.
const NOT_TOLD: [&str; 2] = ["arch/x86/", "drivers/firmware/efi/libstub/"];

/// Answers for the source files of one kernel.
pub struct Presence {
    tree: Tree,
    commands: Commands,
    includes: Includes,
    /// Files that include others by names that can't be told: they would include every file.
    includes_anything: BTreeSet<String>,
}

impl Presence {
    /// Prepares the kernel's tree and asks Kbuild, or takes both from the cache.
    pub fn open(
        shipped: &ShippedKernel,
        archive: &Archive,
        log: &Log,
        progress: &dyn Progress,
    ) -> Result<Self, FactoryError> {
        let tree = step(progress, "preparing the kernel's source", || {
            Tree::prepare(shipped, archive, log)
        })?;
        let commands = step(progress, "asking Kbuild how it compiles each unit", || {
            Commands::of(&tree, || shipped.module_names(), log)
        })?;
        // Any file may be asked about, so all inclusions are wanted, as for an edited header.
        let any_header = "include/linux/types.h".to_owned();
        let includes = step(progress, "reading which files include which", || {
            Includes::of(&tree, &commands, &[&any_header], log)
        })?;
        let includes_anything = includes.includers("");
        Ok(Self {
            tree,
            commands,
            includes,
            includes_anything,
        })
    }

    /// The objects whose code can come from a file (relative to the tree): of its own unit, and
    /// of units that include it. None of them: this kernel has no code of it. No answer: this
    /// kernel's source lacks the file, or it can't be told.
    pub fn objects_of(&self, file: &str) -> Option<BTreeSet<ObjectName>> {
        let inside = file.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !inside || !self.tree.path().join(file).is_file() {
            return None;
        }
        let includers = self.includes.includers(file);
        let includers: Vec<&str> = includers
            .difference(&self.includes_anything)
            .map(String::as_str)
            .collect();
        let sources = includers.iter().copied().chain([file]);
        let units = sources.flat_map(|source| self.commands.units_of(source));
        let objects: BTreeSet<ObjectName> = units.flat_map(|unit| unit.linked_into()).collect();
        let settled = !objects.is_empty() || is_settled(file, includers.is_empty());
        settled.then_some(objects)
    }
}

/// Whether no unit means no code.
fn is_settled(file: &str, never_included: bool) -> bool {
    let of_another_architecture = file.starts_with("arch/") && !file.starts_with("arch/x86/");
    let told = !NOT_TOLD.iter().any(|folder| file.starts_with(folder));
    // A header that nothing seems to include is included in some way that is not seen here.
    let unseen = never_included && !file.ends_with(".c") && !file.ends_with(".S");
    of_another_architecture || (told && !unseen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_unit_means_no_code_only_where_units_tell() {
        assert!(is_settled("drivers/net/wireless/x.c", true));
        assert!(is_settled("arch/arm64/kvm/x.h", true));
        assert!(is_settled("drivers/net/x.h", false));
        for open in ["drivers/net/x.h", "drivers/net/Kconfig"] {
            assert!(!is_settled(open, true), "{open}");
        }
        assert!(!is_settled("arch/x86/boot/main.c", true));
    }
}
