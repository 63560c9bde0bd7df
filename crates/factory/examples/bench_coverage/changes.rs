//! What differs between two source packages.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use suture_factory::archive::{Archive, Package};
use suture_factory::{Log, default_cache, unified, unpack_tree};

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

    /// The longer words of a line of a file, as it was and as it is.
    pub fn words_at(&self, path: &str, line: usize) -> Vec<String> {
        let texts = self
            .sources
            .iter()
            .map(|folder| std::fs::read(folder.join(path)));
        let texts = texts
            .flatten()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let lines =
            texts.filter_map(|text| text.lines().nth(line.checked_sub(1)?).map(str::to_owned));
        let is_end = |letter: char| !letter.is_alphanumeric() && letter != '_';
        let words =
            lines.flat_map(|line| line.split(is_end).map(str::to_owned).collect::<Vec<_>>());
        words.filter(|word| word.len() > 3).collect()
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

    /// Parts of changed headers: those hunks that add a line with one of the names as a word, and
    /// all of a header that is itself named.
    pub fn headers_with(&self, names: &[String]) -> Vec<Part> {
        let header = |path: &str| names.iter().any(|name| path.ends_with(&format!("/{name}")));
        let adds = |line: &str| names.iter().any(|name| has_word(line, name));
        self.headers(|path, diff| match header(path) {
            true => Part::all(path, diff),
            false => Part::adding(path, diff, &adds),
        })
    }

    /// Hunks of changed headers with one of the names as a word in or shortly before them: a
    /// declaration may go on to further lines, and only those are changed.
    pub fn headers_about(&self, names: &[String]) -> Vec<Part> {
        let named = |line: &str| names.iter().any(|name| has_word(line, name));
        self.headers(|path, diff| {
            let text = std::fs::read(self.sources[1].join(path)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            let before = |hunk: &str| {
                let skipped = first_line(hunk).saturating_sub(DECLARATION);
                text.lines().skip(skipped).take(DECLARATION).any(named)
            };
            Part::where_hunk(path, diff, &|hunk| before(hunk) || hunk.lines().any(named))
        })
    }

    fn headers(&self, parts: impl Fn(&str, &str) -> Vec<Part>) -> Vec<Part> {
        let headers = self.diffs.iter().filter(|(path, _)| path.ends_with(".h"));
        headers.flat_map(|(path, diff)| parts(path, diff)).collect()
    }

    /// The hunks that begin to define the function or object: it is on an added line at the left
    /// margin.
    pub fn definers_of(&self, name: &str) -> Vec<Part> {
        let defines = |line: &str| {
            let margin = line.starts_with(|first: char| first.is_alphabetic() || first == '_');
            margin && has_word(line, name)
        };
        let code = self.diffs.iter().filter(|(path, _)| path.ends_with(".c"));
        code.flat_map(|(path, diff)| Part::adding(path, diff, &defines))
            .collect()
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

impl Part {
    pub fn all(path: &str, diff: &str) -> Vec<Self> {
        Self::where_hunk(path, diff, &|_| true)
    }

    /// Those with an added line that `adds` finds something in.
    fn adding(path: &str, diff: &str, adds: &dyn Fn(&str) -> bool) -> Vec<Self> {
        Self::where_hunk(path, diff, &|hunk| {
            let mut added = hunk.lines().filter_map(|line| line.strip_prefix('+'));
            added.any(adds)
        })
    }

    fn where_hunk(path: &str, diff: &str, wanted: &dyn Fn(&str) -> bool) -> Vec<Self> {
        let all = hunks_of(diff).map(|(_, hunks)| hunks).unwrap_or_default();
        let chosen = all.iter().enumerate().filter(|(_, hunk)| wanted(hunk));
        let part = |(hunk, _)| Self {
            path: path.to_owned(),
            hunk,
        };
        chosen.map(part).collect()
    }
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

/// The first line of a hunk in the file as it is after it, from `@@ -A,B +C,D @@`.
fn first_line(hunk: &str) -> usize {
    let after = hunk.split('+').nth(1).unwrap_or_default();
    let digits = after.split(|letter: char| !letter.is_ascii_digit()).next();
    digits
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_default()
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
        .any(|found| found == word)
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
