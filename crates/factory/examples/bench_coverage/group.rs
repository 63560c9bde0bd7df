//! What a file's change needs beside itself.
//!
//! A fix that edits several files came as one commit, but a source package has no commits. So what
//! belongs together is told by what is missing: the compiler and the differ name it, and the parts
//! of the change that have the names are taken too, again and again until nothing is missing. A
//! part is a hunk. Where hunks of a file turn out not to stand alone, all of them are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use suture_factory::{FactoryError, Refusal, Workbench};

use crate::changes::{Changes, Part};

/// How often more is added.
pub const ROUNDS: usize = 16;

/// Words of the language that complaints quote; headers that have them are about anything.
const KEYWORDS: [&str; 13] = [
    "Bool", "bool", "char", "const", "enum", "int", "long", "short", "sizeof", "struct", "union",
    "unsigned", "void",
];

/// Most files that a fix may grow to; more is another change than the file's own.
const FILES: usize = 20;

/// Parts of a change that are tried together.
#[derive(Clone)]
pub struct Group<'a> {
    changes: &'a Changes,
    bench: &'a Workbench<'a>,
    /// By file the hunks that are taken.
    parts: BTreeMap<String, BTreeSet<usize>>,
}

impl<'a> Group<'a> {
    /// All of the files' change.
    pub fn of(files: &[String], changes: &'a Changes, bench: &'a Workbench<'a>) -> Self {
        let mut group = Self {
            changes,
            bench,
            parts: BTreeMap::new(),
        };
        for file in files {
            group.add(changes.all(file));
        }
        group
    }

    pub fn files(&self) -> impl Iterator<Item = &String> {
        self.parts.keys()
    }

    /// With what is missing; nothing if the change has nothing of that, or too much.
    pub fn grown(&self, error: &FactoryError) -> Result<Option<Self>> {
        let FactoryError::Refused(refusals) = error else {
            return Ok(None);
        };
        let mut larger = self.clone();
        for refusal in &refusals.0 {
            larger.add(self.missing(refusal)?);
        }
        let grown = larger.parts != self.parts && larger.parts.len() <= FILES;
        Ok(grown.then_some(larger))
    }

    /// Writes the diffs, one for each file.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for (number, (file, hunks)) in self.parts.iter().enumerate() {
            let path = folder.join(format!("{number}.diff"));
            std::fs::write(&path, self.changes.part(file, hunks))?;
            paths.push(path);
        }
        Ok(paths)
    }

    fn add(&mut self, parts: Vec<Part>) {
        for part in parts {
            self.parts.entry(part.path).or_default().insert(part.hunk);
        }
    }

    /// Parts that could give what a refusal says is missing.
    fn missing(&self, refusal: &Refusal) -> Result<Vec<Part>> {
        let changes = self.changes;
        Ok(match refusal {
            Refusal::LacksDeclarations { unit, missing } => {
                let names: Vec<String> = missing.iter().map(|name| declared_name(name)).collect();
                let visible = self.visible(unit)?;
                self.first_new([
                    changes.adding(unit, &names),
                    changes.changing(unit, &names),
                    changes.headers_with(&names, &visible),
                    changes.headers_about(&names, &visible),
                    changes.headers_pasting(missing, &visible),
                    changes.all(unit),
                ])
            }
            Refusal::DoesNotCompile { unit, message } => self.at_fault(unit, message)?,
            Refusal::Differ {
                why: suture_differ::Refusal::Unresolved { symbol, .. },
                ..
            } => self.first_new([self.compiled(changes.definers_of(symbol))]),
            Refusal::OnlyAdds { .. } => {
                let names = self.new_functions();
                self.first_new([self.compiled(changes.users_of(&names))])
            }
            _ => Vec::new(),
        })
    }

    /// Parts about the place of a compiler's complaint, which tells no missing name.
    fn at_fault(&self, unit: &str, message: &str) -> Result<Vec<Part>> {
        let changes = self.changes;
        let quoted = message.split('\'').skip(1).step_by(2);
        let names = quoted.filter_map(last_name);
        let names: Vec<String> = names.filter(|name| !is_keyword(name)).collect();
        let (place, line) = place(message).unwrap_or((unit, 0));
        let visible = self.visible(unit)?;
        let own = [changes.at(place, line), changes.changing(unit, &names)].concat();
        Ok(self.first_new([
            own,
            self.about_one_of(&names, &visible),
            self.about_one_of(&changes.words_at(place, line), &visible),
            changes.all(place),
            changes.all(unit),
        ]))
    }

    /// Parts of headers about the name that the fewest of them have: others, such as types of
    /// parameters, are in what has nothing to do with the complaint.
    fn about_one_of(&self, names: &[String], visible: &dyn Fn(&str) -> bool) -> Vec<Part> {
        let changes = self.changes;
        let names = names.iter().map(std::slice::from_ref);
        let lists = names.flat_map(|name| {
            [
                changes.headers_with(name, visible),
                changes.headers_about(name, visible),
            ]
        });
        fewest(lists.filter(|parts| self.has_new(parts)))
    }

    /// The first list with anything that is not taken yet.
    fn first_new<const N: usize>(&self, lists: [Vec<Part>; N]) -> Vec<Part> {
        let mut lists = lists.into_iter();
        lists.find(|parts| self.has_new(parts)).unwrap_or_default()
    }

    fn has_new(&self, parts: &[Part]) -> bool {
        let taken = |part: &Part| {
            let hunks = self.parts.get(&part.path);
            hunks.is_some_and(|hunks| hunks.contains(&part.hunk))
        };
        !parts.iter().all(taken)
    }

    /// Those of files that this kernel is compiled from.
    fn compiled(&self, mut parts: Vec<Part>) -> Vec<Part> {
        parts.retain(|part| self.bench.is_compiled(&part.path));
        parts
    }

    /// Tells headers that the unit reads, before the change or with what is taken of it.
    fn visible(&self, unit: &str) -> Result<impl Fn(&str) -> bool> {
        let read = self.bench.files_read(unit)?;
        let taken = self.parts.keys().map(|path| self.taken(path));
        let included: Vec<String> = taken.flat_map(|diff| included(&diff)).collect();
        Ok(move |path: &str| {
            let named = |name: &String| path.ends_with(&format!("/{name}"));
            read.is_empty() || read.contains(path) || included.iter().any(named)
        })
    }

    /// Names of functions that the taken parts begin to define for other units.
    fn new_functions(&self) -> Vec<String> {
        let units = self.parts.keys().filter(|path| path.ends_with(".c"));
        let diffs = units.map(|path| self.taken(path));
        diffs.flat_map(|diff| new_functions(&diff)).collect()
    }

    fn taken(&self, path: &str) -> String {
        let hunks = self.parts.get(path);
        hunks.map_or_else(String::new, |hunks| self.changes.part(path, hunks))
    }
}

fn is_keyword(name: &str) -> bool {
    KEYWORDS.contains(&name.trim_start_matches('_'))
}

/// The list that is about the fewest files.
fn fewest(lists: impl Iterator<Item = Vec<Part>>) -> Vec<Part> {
    lists.min_by_key(|parts| files(parts)).unwrap_or_default()
}

/// Of how many files the parts are.
fn files(parts: &[Part]) -> usize {
    let paths: BTreeSet<&str> = parts.iter().map(|part| part.path.as_str()).collect();
    paths.len()
}

/// `PATH` and `LINE` of `PATH:LINE:COLUMN: error: …`.
fn place(message: &str) -> Option<(&str, usize)> {
    let mut parts = message.split(':');
    let path = parts.next()?.trim_start_matches("./");
    Some((path, parts.next()?.parse().ok()?))
}

/// The name that a header would have of what a compiler misses.
fn declared_name(missing: &str) -> String {
    let name = missing.rsplit([' ', '/']).next().unwrap_or(missing);
    guarded(name).to_owned()
}

/// `snd_hda_power` of `class_snd_hda_power_t`, which a macro makes of it (kernel:
/// include/linux/cleanup.h).
fn guarded(name: &str) -> &str {
    let ends = ["_t", "_constructor", "_destructor"];
    let class = name.strip_prefix("class_");
    let guarded = class.and_then(|name| ends.iter().find_map(|end| name.strip_suffix(end)));
    guarded.unwrap_or(name)
}

/// `syn_recv_sock` of `smc->ori_af_ops->syn_recv_sock`: what a compiler quotes may be an expression.
fn last_name(quoted: &str) -> Option<String> {
    let is_end = |character: char| !character.is_alphanumeric() && character != '_';
    let mut names = quoted.rsplit(is_end).filter(|name| !name.is_empty());
    names.next().map(str::to_owned)
}

/// Names of the headers that a diff begins to include.
fn included(diff: &str) -> Vec<String> {
    let added = diff.lines().filter_map(|line| line.strip_prefix('+'));
    let named = added.filter_map(|line| line.trim_start().strip_prefix("#include"));
    let names = named.map(|name| name.trim().trim_matches(['<', '>', '"']));
    names
        .map(|name| name.trim_start_matches("../").to_owned())
        .collect()
}

/// Names before a parenthesis on added lines at the left margin.
fn new_functions(diff: &str) -> Vec<String> {
    let added = diff.lines().filter_map(|line| line.strip_prefix('+'));
    let margin = added.filter(|line| {
        line.starts_with(|first: char| first.is_alphabetic()) && !line.starts_with("static ")
    });
    let names = margin.filter_map(|line| last_name(line.split_once('(')?.0));
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_fewest_headers_have_is_meant() {
        let part = |path: &str, hunk| Part {
            path: path.to_owned(),
            hunk,
        };
        let common = vec![
            part("include/net/ip.h", 0),
            part("include/rdma/restrack.h", 1),
        ];
        let own = vec![
            part("include/rdma/restrack.h", 0),
            part("include/rdma/restrack.h", 1),
        ];
        assert_eq!(fewest([common, own.clone()].into_iter()), own);
        assert_eq!(fewest(std::iter::empty()), []);
    }

    #[test]
    fn what_a_complaint_quotes_of_the_language_is_no_name() {
        let told = |quoted| last_name(quoted).filter(|name| !is_keyword(name));
        assert_eq!(told("sizeof"), None);
        assert_eq!(told("enum kind,  bool"), None);
        assert_eq!(told("struct sock *sk").as_deref(), Some("sk"));
    }

    #[test]
    fn a_complaint_about_a_macro_has_the_place_of_the_code() {
        let message =
            "net/x.c:3:6: error: 'sizeof' applied to a bit-field, in what `READ` stands for";
        assert_eq!(place(message), Some(("net/x.c", 3)));
    }
}
