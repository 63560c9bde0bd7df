//! A fix: a unified diff against the kernel's source, and what it touches.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Log, run};
use crate::error::{FactoryError, Refusal};
use crate::files;
use crate::line_numbers::keep_line_numbers;

/// Largest diff that is read: 16 MiB, several hundred times a large fix.
const MAX_DIFF_BYTES: u64 = 16 << 20;

/// A diff as given, not yet applied.
#[derive(Debug, Clone)]
pub struct Fix {
    pub path: PathBuf,
    pub text: String,
    /// Files that it touches, relative to the kernel tree, in the diff's order.
    pub files: Vec<TouchedFile>,
}

/// What a diff does to one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TouchedFile {
    pub path: String,
    pub change: Change,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Edited,
    Added,
    Removed,
}

/// What a touched file is to the compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Compiled by itself.
    Unit,
    Header,
    Assembler,
    /// Compiled in some kernels.
    Rust,
    BuildSystem,
    /// Not part of the compiled kernel.
    Text,
}

impl Fix {
    /// Reads a diff from a file.
    pub fn read(path: &Path) -> Result<Self, FactoryError> {
        let length = std::fs::metadata(path)
            .map_err(FactoryError::file("read", path))?
            .len();
        let bad = |why: String| FactoryError::BadFix {
            path: path.to_owned(),
            why,
        };
        if length > MAX_DIFF_BYTES {
            return Err(bad(format!(
                "{length} bytes are more than the {MAX_DIFF_BYTES} allowed"
            )));
        }
        let text = files::read_text(path)?;
        let files = touched_files(&text).map_err(bad)?;
        if files.is_empty() {
            return Err(bad(
                "it holds no `--- a/…` and `+++ b/…` lines of a unified diff".into(),
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            text,
            files,
        })
    }
}

/// The files that the compiler sees, or why the fix can't be taken.
pub(crate) struct Plan {
    /// Files to compile, e.g. `kernel/entry/common.c`, each once.
    pub units: Vec<String>,
    /// Files whose content changes.
    pub edited: Vec<TouchedFile>,
    /// Files in Rust, which only some kernels are compiled from.
    pub rust: Vec<String>,
}

/// Decides what to compile. `named_units` are compiled as well.
pub(crate) fn plan(fixes: &[Fix], named_units: &[String]) -> Result<Plan, Vec<Refusal>> {
    let (mut units, mut edited, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    let mut rust = Vec::new();
    for path in named_units {
        if !stays_inside(path) || role(path) != Role::Unit {
            refusals.push(Refusal::NamedUnit { path: path.clone() });
        } else if !units.contains(path) {
            units.push(path.clone());
        }
    }
    for file in fixes.iter().flat_map(|fix| &fix.files) {
        let path = file.path.clone();
        match (role(&path), file.change) {
            (Role::Text, _) => continue,
            (Role::Rust, _) => {
                rust.push(path);
                continue;
            }
            (_, Change::Removed) => refusals.push(Refusal::RemovedFile { path }),
            (Role::Unit, Change::Edited) => {
                if !units.contains(&path) {
                    units.push(path);
                }
            }
            (Role::Unit, Change::Added) => refusals.push(Refusal::NewUnit { path }),
            (Role::Header, _) => {}
            (Role::Assembler, _) => refusals.push(Refusal::Assembler { path }),
            (Role::BuildSystem, _) => refusals.push(Refusal::BuildSystem { path }),
        }
        if !edited.contains(file) {
            edited.push(file.clone());
        }
    }
    if refusals.is_empty() && edited.is_empty() && rust.is_empty() {
        refusals.push(Refusal::NothingCompiled);
    }
    if refusals.is_empty() {
        Ok(Plan {
            units,
            edited,
            rust,
        })
    } else {
        Err(refusals)
    }
}

/// Whether a touched file reaches units only through `#include`.
pub(crate) fn is_header(path: &str) -> bool {
    role(path) == Role::Header
}

fn role(path: &str) -> Role {
    let outside = [
        "Documentation/",
        "tools/",
        "samples/",
        "scripts/",
        "LICENSES/",
        "usr/",
    ];
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    if outside.iter().any(|folder| path.starts_with(folder)) {
        return Role::Text;
    }
    match (name, extension) {
        (_, "c") => Role::Unit,
        (_, "h") => Role::Header,
        (_, "S" | "s") => Role::Assembler,
        (_, "rs") => Role::Rust,
        ("Kbuild" | "Makefile", _) => Role::BuildSystem,
        _ if name.starts_with("Kconfig") || name.starts_with("Makefile") => Role::BuildSystem,
        _ => Role::Text,
    }
}

/// Applies all fixes in order to copies of the files of `tree` and gives the new content of
/// each, with the original line numbers kept (see [`keep_line_numbers`]).
pub(crate) fn apply(
    fixes: &[Fix],
    plan: &Plan,
    tree: &Path,
    scratch: &Path,
    log: &Log,
) -> Result<Vec<(String, String)>, FactoryError> {
    for fix in fixes {
        for file in fix.files.iter().filter(|f| f.change == Change::Added) {
            if tree.join(&file.path).exists() {
                return Err(FactoryError::BadFix {
                    path: fix.path.clone(),
                    why: format!("it adds `{}`, which this kernel's source has", file.path),
                });
            }
        }
    }
    let all_edits = fixes
        .iter()
        .flat_map(|fix| &fix.files)
        .filter(|f| f.change == Change::Edited);
    for file in all_edits {
        let original = tree.join(&file.path);
        if original.exists() {
            files::write(&scratch.join(&file.path), &files::read(&original)?)?;
        }
    }
    for fix in fixes {
        let diff = std::path::absolute(&fix.path).map_err(FactoryError::file("find", &fix.path))?;
        let mut patch = Command::new("patch");
        patch.args([
            "-p1",
            "--unified",
            "--fuzz=0",
            "--forward",
            "--batch",
            "--no-backup-if-mismatch",
        ]);
        patch.arg("-d").arg(scratch).arg("-i").arg(diff);
        run(&mut patch, "patch", log).map_err(|error| match error {
            FactoryError::ProgramFailed { tail, .. } => FactoryError::BadFix {
                path: fix.path.clone(),
                why: format!("it does not apply to this kernel's source:\n{tail}"),
            },
            other => other,
        })?;
    }
    let mut patched = Vec::new();
    for TouchedFile { path, .. } in &plan.edited {
        let after = files::read_text(&scratch.join(path))?;
        let original = tree.join(path);
        let kept = if original.exists() {
            keep_line_numbers(&files::read_text(&original)?, &after)
        } else {
            after
        };
        patched.push((path.clone(), kept));
    }
    Ok(patched)
}

/// What git writes for changes that have no hunks.
const NOT_CONTENT: [&str; 4] = [
    "rename from ",
    "copy from ",
    "GIT binary patch",
    "Binary files ",
];

/// Reads the `---`/`+++` pairs of a unified diff, whose paths carry one leading folder.
pub(crate) fn touched_files(text: &str) -> Result<Vec<TouchedFile>, String> {
    let (mut found, mut lines) = (Vec::new(), text.lines().enumerate());
    let mut old_left = 0_u64;
    let mut new_left = 0_u64;
    while let Some((number, line)) = lines.next() {
        // Inside a hunk every line belongs to it, even one that looks like a header.
        if old_left > 0 || new_left > 0 {
            match line.as_bytes().first() {
                Some(b'-') => old_left = old_left.saturating_sub(1),
                Some(b'+') => new_left = new_left.saturating_sub(1),
                Some(b'\\') => {}
                _ => {
                    old_left = old_left.saturating_sub(1);
                    new_left = new_left.saturating_sub(1);
                }
            }
        } else if let Some(header) = line.strip_prefix("@@ ") {
            (old_left, new_left) = hunk_lengths(header)
                .ok_or_else(|| format!("line {}: `{line}` is no hunk header", number + 1))?;
        } else if NOT_CONTENT.iter().any(|start| line.starts_with(start)) {
            return Err(format!(
                "line {}: `{line}`: only changes of text can be taken",
                number + 1
            ));
        } else if let Some(old) = line.strip_prefix("--- ") {
            let new = lines.next().and_then(|(_, next)| next.strip_prefix("+++ "));
            let new = new.ok_or_else(|| format!("line {}: no `+++` line follows", number + 2))?;
            found
                .push(touched_file(old, new).map_err(|why| format!("line {}: {why}", number + 1))?);
        }
    }
    Ok(found)
}

/// Old and new length of `-1,7 +1,9 @@ …`.
fn hunk_lengths(header: &str) -> Option<(u64, u64)> {
    let mut words = header.split_whitespace();
    let length = |word: &str| match word.split_once(',') {
        Some((_, length)) => length.parse().ok(),
        None => Some(1),
    };
    let old = length(words.next()?.strip_prefix('-')?)?;
    let new = length(words.next()?.strip_prefix('+')?)?;
    Some((old, new))
}

fn touched_file(old: &str, new: &str) -> Result<TouchedFile, String> {
    let name = |text: &str| {
        text.split('\t')
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let (old, new) = (name(old), name(new));
    let (path, change) = match (old.as_str(), new.as_str()) {
        ("/dev/null", _) => (new.clone(), Change::Added),
        (_, "/dev/null") => (old.clone(), Change::Removed),
        _ => (new.clone(), Change::Edited),
    };
    let inside = |path: &str| {
        path.split_once('/')
            .map(|(_, rest)| rest.to_owned())
            .ok_or_else(|| {
                format!("`{path}` lacks the leading folder that `diff -up a b` and git write")
            })
    };
    let path = inside(&path)?;
    if change == Change::Edited && inside(&old)? != path {
        return Err(format!("`{old}` and `{new}` are two files"));
    }
    if stays_inside(&path) {
        Ok(TouchedFile { path, change })
    } else {
        Err(format!("`{path}` leaves the kernel tree"))
    }
}

/// Whether a path is one below the kernel tree, and written in the one way that is compared.
fn stays_inside(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fix(text: &str) -> Fix {
        Fix {
            path: "fix.diff".into(),
            text: text.into(),
            files: touched_files(text).unwrap(),
        }
    }

    fn header(old: &str, new: &str) -> String {
        format!("--- {old}\t2026-01-01\n+++ {new}\n@@ -1 +1,2 @@\n a\n+b\n")
    }

    #[test]
    fn a_removed_line_that_looks_like_a_header_is_none() {
        let text =
            "--- a/kernel/x.c\n+++ b/kernel/x.c\n@@ -1,2 +1,2 @@\n--- a/foo\n+++ b/foo\n y\n";
        let files = touched_files(text).unwrap();
        assert_eq!(
            files,
            [TouchedFile {
                path: "kernel/x.c".into(),
                change: Change::Edited
            }]
        );
    }

    #[test]
    fn a_diff_may_not_leave_the_tree() {
        for bad in ["a/../x.c", "a//etc/passwd", "a/kernel/./x.c", "x.c"] {
            assert!(touched_files(&header(bad, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_diff_that_moves_files_is_none_of_ours() {
        assert!(touched_files(&header("a/kernel/x.c", "b/kernel/y.c")).is_err());
        let moved = "diff --git a/kernel/x.c b/kernel/y.c\nrename from kernel/x.c\n";
        assert!(touched_files(moved).is_err());
    }

    #[test]
    fn a_unit_is_named_once_and_in_one_way() {
        let fix = fix(&header("a/kernel/x.c", "b/kernel/x.c"));
        let named = |units: &[&str]| {
            let units: Vec<String> = units.iter().map(|&unit| unit.to_owned()).collect();
            plan(std::slice::from_ref(&fix), &units).map(|plan| plan.units)
        };
        assert_eq!(
            named(&["mm/y.c", "kernel/x.c", "mm/y.c"]).unwrap(),
            ["mm/y.c", "kernel/x.c"]
        );
        for bad in ["./kernel/x.c", "/kernel/x.c", "../x.c", "kernel/x.o"] {
            assert!(matches!(
                named(&[bad]).unwrap_err()[..],
                [Refusal::NamedUnit { .. }]
            ));
        }
    }

    #[test]
    fn a_file_that_is_there_is_not_added() {
        let (tree, scratch) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(tree.path().join("mm")).unwrap();
        std::fs::write(tree.path().join("mm/x.h"), "int x;\n").unwrap();
        let text = "--- /dev/null\n+++ b/mm/x.h\n@@ -0,0 +1 @@\n+int y;\n";
        let (fix, units) = (fix(text), ["mm/x.c".to_owned()]);
        let plan = plan(std::slice::from_ref(&fix), &units).unwrap();
        let applied = apply(&[fix], &plan, tree.path(), scratch.path(), &Log::none());
        assert!(matches!(applied, Err(FactoryError::BadFix { .. })));
    }

    #[test]
    fn what_can_be_compiled_is_planned_and_the_rest_is_named() {
        let both = header("a/kernel/x.c", "b/kernel/x.c")
            + &header("a/Documentation/y.rst", "b/Documentation/y.rst");
        assert_eq!(plan(&[fix(&both)], &[]).unwrap().units, ["kernel/x.c"]);
        let refused = |old: &str, new: &str| plan(&[fix(&header(old, new))], &[]).err().unwrap();
        let header = fix(&header("a/include/x.h", "b/include/x.h"));
        assert_eq!(plan(&[header], &[]).unwrap().units, [""; 0]);
        assert!(matches!(
            refused("a/mm/Makefile", "b/mm/Makefile")[0],
            Refusal::BuildSystem { .. }
        ));
        assert!(matches!(
            refused("/dev/null", "b/mm/new.c")[0],
            Refusal::NewUnit { .. }
        ));
        assert!(matches!(
            refused("a/mm/old.c", "/dev/null")[0],
            Refusal::RemovedFile { .. }
        ));
        assert!(matches!(
            refused("a/arch/x86/x.S", "b/arch/x86/x.S")[0],
            Refusal::Assembler { .. }
        ));
        assert!(matches!(
            refused("a/MAINTAINERS", "b/MAINTAINERS")[0],
            Refusal::NothingCompiled
        ));
    }
}
