//! What differs between two source packages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use suture_factory::archive::{Archive, Package};
use suture_factory::{Log, default_cache, keep_line_numbers, unified, unpack_tree};

/// Folders of the kernel's own code.
const FOLDERS: [&str; 17] = [
    "arch/x86", "block", "certs", "crypto", "drivers", "fs", "include", "init", "io_uring", "ipc",
    "kernel", "lib", "mm", "net", "security", "sound", "virt",
];

/// Lines over which a declaration may go.
const DECLARATION: usize = 8;

/// What differs.
pub struct Changes {
    /// Each changed file's diff, by path.
    diffs: BTreeMap<String, String>,
    /// The unpacked sources, before and after.
    sources: [PathBuf; 2],
}

impl Changes {
    pub fn between(archive: &Archive, series: &str, from: &str, to: &str) -> Result<Self> {
        let old = unpacked(archive, series, from)?;
        let new = unpacked(archive, series, to)?;
        let mut diffs = BTreeMap::new();
        for folder in FOLDERS {
            compare(&old, &new, Path::new(folder), &mut diffs)?;
        }
        let sources = [old, new];
        Ok(Self { diffs, sources })
    }

    /// The longer words of a line of a file, by the number that it was compiled with: as it was,
    /// and as it is.
    pub fn words_at(&self, path: &str, line: usize) -> Vec<String> {
        let text = |folder: &PathBuf| std::fs::read(folder.join(path)).ok();
        let texts = self.sources.each_ref().map(text);
        let [Some(before), Some(after)] = texts.map(|bytes| {
            let bytes = bytes?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        }) else {
            return Vec::new();
        };
        let after = keep_line_numbers(&before, &after);
        let lines = [&before, &after].map(|text| numbered(text, line));
        let words = lines.into_iter().flatten().flat_map(words);
        let longer = words.filter(|word| word.len() > 3);
        longer.map(str::to_owned).collect()
    }

    /// The changed files that could be units.
    pub fn units(&self) -> impl Iterator<Item = &str> {
        let edited = |(path, diff): (&'_ String, &String)| {
            path.ends_with(".c") && !diff.starts_with("--- /dev/null")
        };
        let edited = self
            .diffs
            .iter()
            .filter(move |(path, diff)| edited((path, diff)));
        edited.map(|(path, _)| path.as_str())
    }

    pub fn diff(&self, path: &str) -> Option<&str> {
        self.diffs.get(path).map(String::as_str)
    }

    /// A file as it is after the change.
    pub fn patched(&self, path: &str) -> Option<String> {
        let bytes = std::fs::read(self.sources[1].join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// All hunks of a file; none if it does not change.
    pub fn all(&self, path: &str) -> Vec<Part> {
        self.hunks(path, &|_| true)
    }

    /// Hunks of a file that add a line with one of the names as a word.
    pub fn adding(&self, path: &str, names: &[String]) -> Vec<Part> {
        self.hunks(path, &|hunk| marked(hunk, "+", names))
    }

    /// Hunks of a file that add or remove a line with one of the names as a word.
    pub fn changing(&self, path: &str, names: &[String]) -> Vec<Part> {
        self.hunks(path, &|hunk| {
            marked(hunk, "+", names) || marked(hunk, "-", names)
        })
    }

    /// Hunks of a file about a line of it as it was.
    pub fn at(&self, path: &str, line: usize) -> Vec<Part> {
        self.hunks(path, &|hunk| {
            let (first, count) = numbers(hunk, '-');
            (first..first + count).contains(&line)
        })
    }

    /// Parts of changed headers: those hunks that add a line with one of the names as a word, and
    /// all of a header that is itself named.
    pub fn headers_with(&self, names: &[String], visible: &dyn Fn(&str) -> bool) -> Vec<Part> {
        let is_named = |path: &str| names.iter().any(|name| path.ends_with(&format!("/{name}")));
        let visible = |path: &str| is_named(path) || visible(path);
        self.headers(&visible, |path, hunk| {
            is_named(path) || marked(hunk, "+", names)
        })
    }

    /// Hunks of changed headers with one of the names as a word in or shortly before them: a
    /// declaration may go on to further lines, and only those are changed.
    pub fn headers_about(&self, names: &[String], visible: &dyn Fn(&str) -> bool) -> Vec<Part> {
        let named = |line: &str| names.iter().any(|name| has_word(line, name));
        self.headers(visible, |path, hunk| {
            let text = self.patched(path).unwrap_or_default();
            let skipped = numbers(hunk, '+').0.saturating_sub(DECLARATION);
            let before = text.lines().skip(skipped).take(DECLARATION).any(named);
            before || hunk.lines().any(named)
        })
    }

    /// Hunks of changed headers that add a line with a word of which a macro could make one of the
    /// names: `clear_hlt` of `__SCK__kvm_x86_clear_hlt`.
    pub fn headers_pasting(&self, names: &[String], visible: &dyn Fn(&str) -> bool) -> Vec<Part> {
        self.headers(visible, |_, hunk| {
            let mut added = lines(hunk, "+").filter(|line| line.ends_with(')'));
            added.any(|line| words(line).any(|word| is_pasted(word, names)))
        })
    }

    fn headers(
        &self,
        visible: &dyn Fn(&str) -> bool,
        wanted: impl Fn(&str, &str) -> bool,
    ) -> Vec<Part> {
        let headers = self.diffs.keys().filter(|path| path.ends_with(".h"));
        let headers = headers.filter(|path| visible(path));
        headers
            .flat_map(|path| self.hunks(path, &|hunk| wanted(path, hunk)))
            .collect()
    }

    /// The hunks that begin to define the function or object: it is on an added line at the left
    /// margin.
    pub fn definers_of(&self, name: &str) -> Vec<Part> {
        let defines = |line: &str| {
            let margin = line.starts_with(|first: char| first.is_alphabetic() || first == '_');
            margin && has_word(line, name)
        };
        self.code(&|hunk| lines(hunk, "+").any(defines))
    }

    /// The hunks of code that begin to use one of the names.
    pub fn users_of(&self, names: &[String]) -> Vec<Part> {
        self.code(&|hunk| marked(hunk, "+", names))
    }

    fn code(&self, wanted: &dyn Fn(&str) -> bool) -> Vec<Part> {
        let code = self.diffs.keys().filter(|path| path.ends_with(".c"));
        code.flat_map(|path| self.hunks(path, wanted)).collect()
    }

    fn hunks(&self, path: &str, wanted: &dyn Fn(&str) -> bool) -> Vec<Part> {
        let hunks = self.diffs.get(path).and_then(|diff| hunks_of(diff));
        let all = hunks.map(|(_, hunks)| hunks).unwrap_or_default();
        let chosen = all.iter().enumerate().filter(|(_, hunk)| wanted(hunk));
        let part = |(hunk, _)| Part {
            path: path.to_owned(),
            hunk,
        };
        chosen.map(part).collect()
    }

    /// The diff of a file's hunks.
    pub fn part(&self, path: &str, hunks: &BTreeSet<usize>) -> String {
        let Some((header, all)) = self.diffs.get(path).and_then(|diff| hunks_of(diff)) else {
            return String::new();
        };
        let chosen = all
            .iter()
            .enumerate()
            .filter(|(index, _)| hunks.contains(index));
        let chosen: String = chosen.map(|(_, hunk)| *hunk).collect();
        format!("{header}{chosen}")
    }
}

/// One hunk of a file's diff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub path: String,
    pub hunk: usize,
}

/// The two lines that name the file, and the hunks.
fn hunks_of(diff: &str) -> Option<(&str, Vec<&str>)> {
    let first = diff.find("\n@@ ")? + 1;
    let (header, mut rest) = diff.split_at(first);
    let mut hunks = Vec::new();
    while let Some(next) = rest.get(1..).and_then(|rest| rest.find("\n@@ ")) {
        let (hunk, after) = rest.split_at(next + 2);
        hunks.push(hunk);
        rest = after;
    }
    hunks.push(rest);
    Some((header, hunks))
}

/// Lines of a hunk that start with a mark, without it.
fn lines<'h>(hunk: &'h str, mark: &'static str) -> impl Iterator<Item = &'h str> {
    hunk.lines().filter_map(move |line| line.strip_prefix(mark))
}

/// Whether a hunk has one of the names as a word in a line with that mark.
fn marked(hunk: &str, mark: &'static str, names: &[String]) -> bool {
    lines(hunk, mark).any(|line| names.iter().any(|name| has_word(line, name)))
}

/// The first line and how many there are, of `-A,B` or `+C,D` of a hunk's `@@ -A,B +C,D @@`.
fn numbers(hunk: &str, sign: char) -> (usize, usize) {
    let mut words = hunk.split_whitespace();
    let word = words.find_map(|word| word.strip_prefix(sign));
    let (first, count) = word
        .map(|word| word.split_once(',').unwrap_or((word, "1")))
        .unwrap_or_default();
    (
        first.parse().unwrap_or_default(),
        count.parse().unwrap_or_default(),
    )
}

fn has_word(line: &str, word: &str) -> bool {
    words(line).any(|found| found == word)
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    let words = line.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    words.filter(|word| !word.is_empty())
}

/// Whether one of the names could be made by a macro from the word and what stands before it.
fn is_pasted(word: &str, names: &[String]) -> bool {
    let is_end = |name: &String| {
        let start = name.strip_suffix(word);
        start.is_some_and(|start| start.ends_with('_'))
    };
    word.len() > 3 && names.iter().any(is_end)
}

/// The line that a compiler gives this number.
fn numbered(text: &str, wanted: usize) -> Option<&str> {
    let mut number = 1;
    for line in text.lines() {
        if let Some(set) = line.strip_prefix("#line ") {
            number = set.trim().parse().ok()?;
        } else if number == wanted {
            return Some(line);
        } else {
            number += 1;
        }
    }
    None
}

fn unpacked(archive: &Archive, series: &str, version: &str) -> Result<PathBuf> {
    let folder = default_cache().join("sources").join(version);
    if !folder.exists() {
        let package = Package {
            name: format!("linux-source-{series}"),
            version: version.to_owned(),
        };
        let scratch = default_cache()
            .join("sources")
            .join(format!("{version}.unpacking"));
        if scratch.exists() {
            std::fs::remove_dir_all(&scratch)?;
        }
        unpack_tree(archive, &package, &scratch, &Log::none())?;
        std::fs::rename(&scratch, &folder)?;
    }
    Ok(folder)
}

/// Adds the diffs of a folder's sources and headers, and of those below it.
fn compare(
    old: &Path,
    new: &Path,
    folder: &Path,
    changes: &mut BTreeMap<String, String>,
) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(new.join(folder)) else {
        return Ok(());
    };
    for entry in entries {
        let entry = entry?;
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            compare(old, new, &path, changes)?;
        } else if path.extension().is_some_and(|end| end == "c" || end == "h") {
            let after = std::fs::read(entry.path())?;
            let before = std::fs::read(old.join(&path)).ok();
            if before.as_ref() != Some(&after) {
                let before = before.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                let after = String::from_utf8_lossy(&after);
                let name = path.to_string_lossy().into_owned();
                let diff = unified(&name, before.as_deref(), Some(&after));
                changes.insert(name, diff);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_counts_lines_from_directives() {
        let text = "int a;\nint b;\n#line 2\nint c;\nint d;\n";
        assert_eq!(numbered(text, 1), Some("int a;"));
        assert_eq!(numbered(text, 3), Some("int d;"));
        assert_eq!(numbered(text, 4), None);
    }

    #[test]
    fn a_macro_makes_names_from_the_end_of_them() {
        let names = ["__SCK__kvm_x86_clear_hlt".to_owned()];
        assert!(is_pasted("clear_hlt", &names));
        for other in ["lear_hlt", "hlt", "clear", "OPTIONAL"] {
            assert!(!is_pasted(other, &names), "{other}");
        }
    }
}
