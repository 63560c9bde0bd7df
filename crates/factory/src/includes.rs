//! Which files of a tree include which others: the way from an edited header to the units.
//!
//! The scan reads `#include` lines and nothing else, so it finds every unit that could include a
//! file, and some that do not; the preprocessor then tells. Where a name can mean several files
//! (`<asm/page.h>` depends on the search path), it stands for all of them.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

use crate::command::{Log, run};
use crate::error::FactoryError;
use crate::files;
use crate::paths::normal;
use crate::tree::Tree;

/// Folders with the code of an amd64 kernel. Generated headers lie in `arch/x86` and `include`,
/// among them those that stand for the generic ones of `include/asm-generic`.
const FOLDERS: [&str; 17] = [
    "arch/x86", "block", "certs", "crypto", "drivers", "fs", "include", "init", "io_uring", "ipc",
    "kernel", "lib", "mm", "net", "security", "sound", "virt",
];

/// First line of the kept list; another one is not read but made anew.
const FORMAT: &str = "suture includes 1";

/// The macro by which a header with trace events includes itself again (kernel:
/// include/trace/define_trace.h), so it leads to no other file.
const INCLUDES_ITSELF: &str = "TRACE_INCLUDE(TRACE_INCLUDE_FILE)";

/// Every inclusion in a tree.
#[derive(Debug, Default)]
pub(crate) struct Includes {
    /// By the last part of the included file's name.
    by_name: HashMap<String, Vec<Inclusion>>,
    /// Files that include one whose name the scan can't tell.
    unknown: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inclusion {
    by: String,
    file: Included,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Included {
    /// A file of the tree.
    File(String),
    /// Any file whose path ends so, because the search path is not known here.
    End(String),
    /// What a macro stands for, and no `#define` tells.
    Anything,
}

impl Includes {
    /// Those that lead to the files. Reads the tree once and keeps the answer beside it.
    pub fn of(tree: &Tree, edited: &[&String], log: &Log) -> Result<Self, FactoryError> {
        let kept = tree.inclusions();
        let is_current = |text: &String| text.starts_with(FORMAT);
        let text = std::fs::read_to_string(&kept).ok().filter(is_current);
        let text = match text {
            Some(text) => text,
            None => {
                // Not while another process makes files in the tree.
                let _lock = tree.lock()?;
                let found = scan(tree, log)?;
                let inclusions = read_directives(&found, |path| tree.path().join(path).exists());
                let lines = inclusions.iter().map(Inclusion::line);
                let text = std::iter::once(format!("{FORMAT}\n"))
                    .chain(lines)
                    .collect();
                files::write(&kept, String::as_bytes(&text))?;
                text
            }
        };
        if edited
            .iter()
            .all(|path| path.ends_with(".c") && !is_included(&text, path))
        {
            // As with most fixes: nothing includes what they edit.
            return Ok(Self::default());
        }
        Ok(Self::new(text.lines().skip(1).filter_map(kept_line)))
    }

    fn new(inclusions: impl Iterator<Item = Inclusion>) -> Self {
        let mut all = Self::default();
        for inclusion in inclusions {
            match &inclusion.file {
                Included::File(path) | Included::End(path) => {
                    let name = path.rsplit('/').next().unwrap_or(path).to_owned();
                    all.by_name.entry(name).or_default().push(inclusion);
                }
                Included::Anything => {
                    all.unknown.insert(inclusion.by);
                }
            }
        }
        all
    }

    /// All files that may include `path`, directly or through others, without itself.
    pub fn includers(&self, path: &str) -> BTreeSet<String> {
        let mut found: BTreeSet<String> = self.unknown.clone();
        let mut open: Vec<String> = std::iter::once(path.to_owned())
            .chain(found.iter().cloned())
            .collect();
        while let Some(path) = open.pop() {
            let name = path.rsplit('/').next().unwrap_or(&path);
            let inclusions = self.by_name.get(name).map_or(&[][..], Vec::as_slice);
            for inclusion in inclusions.iter().filter(|one| one.file.may_be(&path)) {
                if found.insert(inclusion.by.clone()) {
                    open.push(inclusion.by.clone());
                }
            }
        }
        found.remove(path);
        found
    }
}

impl Included {
    fn may_be(&self, path: &str) -> bool {
        match self {
            Self::File(file) => file == path,
            Self::End(end) => path
                .strip_suffix(end.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('/')),
            Self::Anything => true,
        }
    }
}

impl Inclusion {
    fn line(&self) -> String {
        let (kind, file) = match &self.file {
            Included::File(file) => ('=', file.as_str()),
            Included::End(end) => ('~', end.as_str()),
            Included::Anything => ('?', ""),
        };
        format!("{}\t{kind}{file}\n", self.by)
    }
}

/// Whether a kept line ends in the file's name.
fn is_included(text: &str, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ends = |start: char| text.contains(&format!("{start}{name}\n"));
    ['/', '=', '~'].into_iter().any(ends)
}

fn kept_line(line: &str) -> Option<Inclusion> {
    let (by, rest) = line.split_once('\t')?;
    let mut rest = rest.chars();
    let file = match rest.next()? {
        '=' => Included::File(rest.as_str().to_owned()),
        '~' => Included::End(rest.as_str().to_owned()),
        _ => Included::Anything,
    };
    let by = by.to_owned();
    Some(Inclusion { by, file })
}

/// Lines of the form `PATH:DIRECTIVE`: inclusions, and definitions of what could be a file name.
fn scan(tree: &Tree, log: &Log) -> Result<String, FactoryError> {
    let directive = r#"^[[:space:]]*#[[:space:]]*(include[[:space:]<"]|define[[:space:]]+[[:alnum:]_]+[[:space:]]+["<][^">]*\.[ch][">])"#;
    let scratch = tempfile::tempdir().map_err(FactoryError::file("make", &std::env::temp_dir()))?;
    let found = scratch.path().join("found");
    let mut grep = Command::new("sh");
    grep.args(["-c", "exec grep \"$@\" > \"$0\""]).arg(&found);
    grep.args(["-arE", "--include=*.c", "--include=*.h", "--include=*.S"]);
    grep.arg(directive).current_dir(tree.path());
    grep.args(
        FOLDERS
            .iter()
            .filter(|name| tree.path().join(name).exists()),
    );
    run(&mut grep, "grep", log)?;
    Ok(String::from_utf8_lossy(&files::read(&found)?).into_owned())
}

fn read_directives(lines: &str, exists: impl Fn(&str) -> bool) -> Vec<Inclusion> {
    let split = |line: &'_ str| -> Option<(String, String)> {
        let (by, directive) = line.split_once(':')?;
        let directive = directive.trim_start().strip_prefix('#')?.trim_start();
        Some((by.to_owned(), directive.to_owned()))
    };
    let directives: Vec<_> = lines.lines().filter_map(split).collect();
    let mut names: HashMap<&str, Vec<&str>> = HashMap::new();
    for (_, directive) in &directives {
        if let Some((name, value)) = directive
            .strip_prefix("define")
            .and_then(|rest| rest.trim_start().split_once(char::is_whitespace))
        {
            names.entry(name).or_default().push(value.trim());
        }
    }
    let mut inclusions = Vec::new();
    for (by, directive) in &directives {
        let Some(what) = directive.strip_prefix("include").map(str::trim) else {
            continue;
        };
        if what.starts_with(['"', '<']) {
            inclusions.extend(named(by, what, &exists));
        } else if let Some(values) = names.get(what) {
            inclusions.extend(values.iter().filter_map(|value| named(by, value, &exists)));
        } else if !what.starts_with(INCLUDES_ITSELF) {
            let (by, file) = (by.clone(), Included::Anything);
            inclusions.push(Inclusion { by, file });
        }
    }
    inclusions
}

/// The file that `"NAME"` or `<NAME>` in `by` means.
fn named(by: &str, what: &str, exists: impl Fn(&str) -> bool) -> Option<Inclusion> {
    let close = if what.starts_with('<') { '>' } else { '"' };
    let name = what.get(1..)?.split(close).next()?;
    let beside = Path::new(by).parent()?.join(name);
    let beside = normal(&beside).filter(|path| close == '"' && exists(path));
    let file = match beside {
        Some(path) => Included::File(path),
        None => {
            let mut end = name;
            while let Some(rest) = end.strip_prefix("../").or(end.strip_prefix("./")) {
                end = rest;
            }
            Included::End(normal(Path::new(end)).unwrap_or_else(|| end.to_owned()))
        }
    };
    let by = by.to_owned();
    Some(Inclusion { by, file })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "net/ipv4/tcp.c:#include <net/tcp.h>\n\
        include/net/tcp.h:# include <asm/page.h>\n\
        arch/x86/include/generated/asm/page.h:#include <asm-generic/page.h>\n\
        fs/ext4/inode.c:#include \"ext4.h\"\n\
        fs/ext2/inode.c:#include \"ext4.h\"\n\
        drivers/x/far.c:\t#include \"../y/part.c\"\n\
        drivers/b/drbd.c:#include GENL_MAGIC_INCLUDE_FILE\n\
        include/linux/drbd.h:#define GENL_MAGIC_INCLUDE_FILE <linux/genl.h>\n\
        drivers/acpi/t.c:#include CONFIG_ACPI_CUSTOM_DSDT_FILE\n\
        include/trace/define_trace.h:#include TRACE_INCLUDE(TRACE_INCLUDE_FILE)\n";

    fn includers(path: &str) -> Vec<String> {
        let there = ["fs/ext4/ext4.h"];
        let inclusions = read_directives(LINES, |path| there.contains(&path));
        let kept: String = inclusions.iter().map(Inclusion::line).collect();
        let again: Vec<_> = kept.lines().filter_map(kept_line).collect();
        assert_eq!(again, inclusions, "what is kept is read back");
        let mut found = Includes::new(inclusions.into_iter()).includers(path);
        assert!(
            found.remove("drivers/acpi/t.c"),
            "who may include anything includes it"
        );
        found.into_iter().collect()
    }

    #[test]
    fn a_generic_header_is_reached_through_its_generated_wrapper() {
        assert_eq!(
            includers("include/asm-generic/page.h"),
            [
                "arch/x86/include/generated/asm/page.h",
                "include/net/tcp.h",
                "net/ipv4/tcp.c"
            ]
        );
    }

    #[test]
    fn a_file_beside_its_includer_is_that_file_and_else_any_with_that_end() {
        assert_eq!(
            includers("fs/ext4/ext4.h"),
            ["fs/ext2/inode.c", "fs/ext4/inode.c"]
        );
        assert_eq!(includers("fs/ext2/ext4.h"), ["fs/ext2/inode.c"]);
        assert_eq!(includers("drivers/y/part.c"), ["drivers/x/far.c"]);
    }

    #[test]
    fn a_macro_is_what_any_definition_says() {
        assert_eq!(includers("include/linux/genl.h"), ["drivers/b/drbd.c"]);
    }
}
