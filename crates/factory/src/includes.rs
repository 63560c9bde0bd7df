//! Which files of a tree include which others: the way from an edited header to the units.
//!
//! The scan reads `#include` lines and nothing else, so it finds every unit that could include a
//! file, and some that do not; the preprocessor then tells. A name is looked for where compilers
//! look: beside the file that includes it, if it is quoted, and in the folders of the commands'
//! `-I`. Where it can mean several files (`<asm/page.h>` depends on their order), it stands for
//! all of them.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::process::Command;

use memchr::memmem;

use crate::command::{Log, run};
use crate::commands::Commands;
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
const FORMAT: &str = "suture includes 2";

/// The macro by which a header with trace events includes itself again (kernel:
/// include/trace/define_trace.h), so it leads to no other file.
const INCLUDES_ITSELF: &str = "TRACE_INCLUDE(TRACE_INCLUDE_FILE)";

/// Every inclusion in a tree.
#[derive(Debug, Default)]
pub(crate) struct Includes {
    /// By the last part of the included file's name.
    by_name: HashMap<String, Vec<Inclusion>>,
    /// Folders in which some unit's compiler looks for what is included.
    folders: BTreeSet<String>,
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
    /// A file of the tree, which lies beside the one that includes it.
    File(String),
    /// `"NAME"`, which no file beside is: one in a folder that is searched, or one that Kbuild or
    /// a fix puts beside.
    Quoted(String),
    /// `<NAME>`: a file in a folder that is searched.
    Searched(String),
    /// What a macro stands for, and no `#define` tells.
    Anything,
}

impl Includes {
    /// Those that lead to the files, by units with these commands. Reads the tree once and keeps
    /// the answer beside it.
    pub fn of(
        tree: &Tree,
        commands: &Commands,
        edited: &[&String],
        log: &Log,
    ) -> Result<Self, FactoryError> {
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
        let inclusions = text.lines().skip(1).filter_map(kept_line);
        Ok(Self::new(inclusions, commands.searched_folders()))
    }

    fn new(inclusions: impl Iterator<Item = Inclusion>, folders: BTreeSet<String>) -> Self {
        let mut all = Self {
            folders,
            ..Self::default()
        };
        for inclusion in inclusions {
            match &inclusion.file {
                Included::File(path) | Included::Quoted(path) | Included::Searched(path) => {
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
            for inclusion in inclusions.iter().filter(|one| self.may_be(one, &path)) {
                if found.insert(inclusion.by.clone()) {
                    open.push(inclusion.by.clone());
                }
            }
        }
        found.remove(path);
        found
    }

    fn may_be(&self, inclusion: &Inclusion, path: &str) -> bool {
        match &inclusion.file {
            Included::File(file) => file == path,
            Included::Searched(name) => self.is_found(name, path),
            Included::Quoted(name) => {
                self.is_found(name, path) || beside(&inclusion.by, name).as_deref() == Some(path)
            }
            Included::Anything => true,
        }
    }

    /// Whether a name is the path in one of the folders.
    fn is_found(&self, name: &str, path: &str) -> bool {
        if name.starts_with('.') {
            let is_path = |folder: &String| {
                normal(&Path::new(folder).join(name)).is_some_and(|found| found == path)
            };
            return self.folders.iter().any(is_path);
        }
        let folder = path.strip_suffix(name).unwrap_or_default();
        let folder = match folder.strip_suffix('/') {
            Some(folder) => folder,
            None => return path == name && self.folders.contains(""),
        };
        self.folders.contains(folder)
    }
}

impl Inclusion {
    fn line(&self) -> String {
        let (kind, file) = match &self.file {
            Included::File(file) => ('=', file.as_str()),
            Included::Quoted(name) => ('"', name.as_str()),
            Included::Searched(name) => ('<', name.as_str()),
            Included::Anything => ('?', ""),
        };
        format!("{}\t{kind}{file}\n", self.by)
    }
}

/// Whether a kept line is about this file, or may be.
fn is_included(text: &str, path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let end = format!("{name}\n");
    let mut ends = memmem::find_iter(text.as_bytes(), end.as_bytes());
    ends.any(|at| {
        let line = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let inclusion = kept_line(&text[line..at + name.len()]);
        inclusion.is_some_and(|inclusion| match inclusion.file {
            Included::File(file) => file == path,
            // The last part of the name alone tells.
            Included::Quoted(file) | Included::Searched(file) => {
                file.rsplit('/').next() == Some(name)
            }
            Included::Anything => false,
        })
    })
}

fn kept_line(line: &str) -> Option<Inclusion> {
    let (by, rest) = line.split_once('\t')?;
    let mut rest = rest.chars();
    let file = match rest.next()? {
        '=' => Included::File(rest.as_str().to_owned()),
        '"' => Included::Quoted(rest.as_str().to_owned()),
        '<' => Included::Searched(rest.as_str().to_owned()),
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
    let file = match beside(by, name).filter(|path| exists(path)) {
        _ if close == '>' => Included::Searched(searched(name)),
        Some(path) => Included::File(path),
        None => Included::Quoted(searched(name)),
    };
    let by = by.to_owned();
    Some(Inclusion { by, file })
}

/// The path of a name beside a file; none if it is outside of the tree.
fn beside(by: &str, name: &str) -> Option<String> {
    normal(&Path::new(by).parent()?.join(name))
}

/// A name in one way, as far as that does not depend on the folder.
fn searched(name: &str) -> String {
    normal(Path::new(name)).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "net/ipv4/tcp.c:#include <net/tcp.h>\n\
        include/net/tcp.h:# include <asm/page.h>\n\
        arch/x86/include/generated/asm/page.h:#include <asm-generic/page.h>\n\
        fs/ext4/inode.c:#include \"ext4.h\"\n\
        fs/ext2/inode.c:#include \"ext4.h\"\n\
        fs/xfs/super.c:#include \"ext4.h\"\n\
        net/core/sock.c:#include <ext4.h>\n\
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
        let folders = ["include", "arch/x86/include/generated", "fs/xfs"];
        let folders = folders.map(str::to_owned).into();
        let mut found = Includes::new(inclusions.into_iter(), folders).includers(path);
        assert!(
            found.remove("drivers/acpi/t.c"),
            "who may include anything includes it"
        );
        found.into_iter().collect()
    }

    #[test]
    fn a_source_is_included_by_its_whole_path_where_that_is_known() {
        let kept = "suture includes 2\n\
            arch/x86/boot/compressed/cmdline.c\t=arch/x86/boot/cmdline.c\n\
            drivers/x/far.c\t\"../y/part.c\n\
            drivers/x/near.c\t<other/whole.c\n\
            drivers/acpi/t.c\t?\n";
        for path in ["arch/x86/boot/cmdline.c", "net/y/part.c", "lib/whole.c"] {
            assert!(is_included(kept, path), "{path}");
        }
        for path in ["fs/proc/cmdline.c", "net/y/art.c", "lib/near.c"] {
            assert!(!is_included(kept, path), "{path}");
        }
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
    fn a_quoted_name_is_a_file_beside_its_includer() {
        assert_eq!(includers("fs/ext4/ext4.h"), ["fs/ext4/inode.c"]);
        assert_eq!(includers("drivers/y/part.c"), ["drivers/x/far.c"]);
        let made_later = includers("fs/ext2/ext4.h");
        assert_eq!(made_later, ["fs/ext2/inode.c"]);
    }

    #[test]
    fn a_name_is_looked_for_in_the_folders_of_the_commands() {
        let all = ["fs/ext2/inode.c", "fs/xfs/super.c", "net/core/sock.c"];
        assert_eq!(includers("fs/xfs/ext4.h"), all);
        assert_eq!(includers("security/other/ext4.h"), [""; 0]);
        assert_eq!(includers("security/net/tcp.h"), [""; 0]);
    }

    #[test]
    fn a_name_that_leaves_its_folder_is_found_from_a_folder_too() {
        let lines = "fs/ext2/inode.c:#include \"../shared/part.h\"\n";
        let inclusions = read_directives(lines, |_| false).into_iter();
        let folders = BTreeSet::from(["fs/xfs/deep".to_owned()]);
        let includes = Includes::new(inclusions, folders);
        let by = |path| includes.includers(path).into_iter().collect::<Vec<_>>();
        assert_eq!(by("fs/xfs/shared/part.h"), ["fs/ext2/inode.c"]);
        assert_eq!(by("fs/shared/part.h"), ["fs/ext2/inode.c"]);
        assert_eq!(by("net/shared/part.h"), [""; 0]);
    }

    #[test]
    fn a_macro_is_what_any_definition_says() {
        assert_eq!(includers("include/linux/genl.h"), ["drivers/b/drbd.c"]);
    }
}
