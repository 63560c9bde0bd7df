//! Source files that are compiled as part of others, as in `#include "control_compat.c"`.
//!
//! A change to such a file reaches every unit that includes it, and often the file is no unit
//! at all.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use crate::command::{Log, run};
use crate::error::{FactoryError, Refusal};
use crate::files;
use crate::tree::Tree;

/// Folders with the code of an amd64 kernel. What only starts it or tests the build is no part
/// of the running kernel.
const FOLDERS: [&str; 17] = [
    "arch/x86", "block", "certs", "crypto", "drivers", "fs", "include", "init", "io_uring", "ipc",
    "kernel", "lib", "mm", "net", "security", "sound", "virt",
];
const NOT_RUNNING: [&str; 4] = [
    "arch/x86/boot/",
    "arch/x86/purgatory/",
    "arch/x86/realmode/",
    "arch/x86/tools/",
];

/// Every inclusion of a `.c` file in a tree.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Inclusions(Vec<Inclusion>);

#[derive(Debug, PartialEq, Eq)]
struct Inclusion {
    by: String,
    /// The included file's path in the tree, as far as the directive tells.
    file: String,
}

/// What to compile for a change of some files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Expanded {
    /// Units that must compile.
    pub units: Vec<String>,
    /// Units that include one of the files, where this kernel's configuration has them.
    pub includers: Vec<String>,
}

impl Inclusions {
    /// Reads the tree once and keeps the answer beside it.
    pub fn of(tree: &Tree, log: &Log) -> Result<Self, FactoryError> {
        let kept = tree.inclusions();
        if !kept.exists() {
            let mut grep = Command::new("grep");
            grep.args(["-rE", "--include=*.c", "--include=*.h"])
                .arg(r#"^[[:space:]]*#[[:space:]]*include[[:space:]]*"[^"]*\.c""#)
                .args(
                    FOLDERS
                        .iter()
                        .filter(|name| tree.path().join(name).exists()),
                )
                .current_dir(tree.path());
            files::write(&kept, &run(&mut grep, "grep", log)?)?;
        }
        Ok(Self::parse(&files::read_text(&kept)?, |path| {
            tree.path().join(path).exists()
        }))
    }

    /// Reads lines of the form `PATH:#include "FILE"`.
    fn parse(lines: &str, exists: impl Fn(&str) -> bool) -> Self {
        let inclusion = |line: &str| {
            let (by, directive) = line.split_once(':')?;
            let file = directive.split('"').nth(1)?;
            let beside = normal(&Path::new(by).parent()?.join(file))?;
            // Else it is found through the compiler's search path.
            let file = if exists(&beside) {
                beside
            } else {
                file.trim_start_matches("../").to_owned()
            };
            let outside = NOT_RUNNING.iter().any(|folder| by.starts_with(folder));
            (by != file && !outside).then(|| Inclusion {
                by: by.to_owned(),
                file,
            })
        };
        Self(lines.lines().filter_map(inclusion).collect())
    }

    /// Adds the units that include one of `units`, and leaves out what is no unit itself.
    /// `is_target` tells whether Kbuild has an object of a file.
    pub fn expand(
        &self,
        units: &[String],
        named: &[String],
        is_target: impl Fn(&str) -> bool,
    ) -> Result<Expanded, Vec<Refusal>> {
        let (mut expanded, mut refusals) = (Expanded::default(), Vec::new());
        for unit in units {
            let includers = self.includers(unit);
            if includers.is_empty() || is_target(unit) {
                expanded.units.push(unit.clone());
            }
            for by in includers {
                if !by.ends_with(".c") && named.is_empty() {
                    let path = unit.clone();
                    refusals.push(Refusal::IncludedByHeader { path, header: by });
                } else if by.ends_with(".c")
                    && is_target(&by)
                    && !units.contains(&by)
                    && !expanded.includers.contains(&by)
                {
                    expanded.includers.push(by);
                }
            }
        }
        if refusals.is_empty() {
            Ok(expanded)
        } else {
            Err(refusals)
        }
    }

    /// The files that include `path`, directly or through others.
    fn includers(&self, path: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let mut open = vec![path.to_owned()];
        while let Some(path) = open.pop() {
            let is_it = |inclusion: &&Inclusion| {
                let before = path.strip_suffix(inclusion.file.as_str());
                before.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
            };
            for inclusion in self.0.iter().filter(is_it) {
                if found.insert(inclusion.by.clone()) {
                    open.push(inclusion.by.clone());
                }
            }
        }
        found.remove(path);
        found
    }
}

/// Whether a Makefile of the file's folder, or of one above it, names the file's object.
pub(crate) fn is_target(tree: &Path, source: &str) -> bool {
    let object = PathBuf::from(source).with_extension("o");
    object.ancestors().skip(1).any(|folder| {
        let Ok(name) = object.strip_prefix(folder) else {
            return false;
        };
        let name = name.to_string_lossy();
        ["Makefile", "Kbuild"].iter().any(|makefile| {
            let text = std::fs::read_to_string(tree.join(folder).join(makefile));
            text.is_ok_and(|text| text.split_whitespace().any(|word| word == name))
        })
    })
}

/// The path without `..`; nothing if it leaves the tree.
fn normal(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name.to_str()?),
            Component::ParentDir => {
                parts.pop()?;
            }
            _ => {}
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "sound/core/control.c:#include \"control_compat.c\"\n\
        fs/compat_binfmt_elf.c:#include \"binfmt_elf.c\"\n\
        lib/zstd/decompress_sources.h:#include \"common/debug.c\"\n\
        kernel/sched/build_utility.c:# include \"stats.c\"\n\
        arch/x86/boot/compressed/string.c:#include \"../string.c\"\n\
        kernel/locking/qspinlock.c:#include \"qspinlock.c\"\n";

    fn expand(unit: &str, named: &[String]) -> Result<Expanded, Vec<Refusal>> {
        let no_units = ["sound/core/control_compat.c", "kernel/sched/stats.c"];
        Inclusions::parse(LINES, |_| true)
            .expand(&[unit.to_owned()], named, |path| !no_units.contains(&path))
    }

    fn compiled(unit: &str) -> Vec<String> {
        let expanded = expand(unit, &[]).unwrap();
        [expanded.units, expanded.includers].concat()
    }

    #[test]
    fn what_includes_a_file_is_compiled_for_it() {
        assert_eq!(
            compiled("sound/core/control_compat.c"),
            ["sound/core/control.c"]
        );
        assert_eq!(
            compiled("fs/binfmt_elf.c"),
            ["fs/binfmt_elf.c", "fs/compat_binfmt_elf.c"]
        );
        for alone in [
            "kernel/fork.c",
            "kernel/locking/qspinlock.c",
            "fs/proc/stats.c",
        ] {
            assert_eq!(compiled(alone), [alone]);
        }
    }

    #[test]
    fn a_header_that_includes_code_wants_its_units_named() {
        let unit = "lib/zstd/common/debug.c";
        assert!(matches!(
            expand(unit, &[]).unwrap_err()[..],
            [Refusal::IncludedByHeader { .. }]
        ));
        assert!(expand(unit, &["lib/decompress_unzstd.c".to_owned()]).is_ok());
    }

    #[test]
    fn a_file_that_is_not_beside_its_includer_is_known_by_its_end() {
        let lines = "net/a/x.c:#include \"../b/part.c\"\n";
        let known = Inclusions::parse(lines, |_| false);
        assert_eq!(known.includers("net/b/part.c").len(), 1);
        assert!(known.includers("net/c/part.c").is_empty());
    }

    #[test]
    fn a_makefile_names_its_objects() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("net/a")).unwrap();
        std::fs::write(tree.path().join("net/Makefile"), "obj-y += a/x.o z.o\n").unwrap();
        assert!(is_target(tree.path(), "net/a/x.c"));
        assert!(is_target(tree.path(), "net/z.c"));
        assert!(!is_target(tree.path(), "net/a/z.c"));
    }
}
