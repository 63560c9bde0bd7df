//! Whether two pieces of the two objects mean the same, given which functions and objects
//! correspond to each other.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use object::elf;

use crate::line_numbers::only_lines_differ;
use crate::names::{base_name, is_copyable, is_numbered};
use crate::object::Relocation;
use crate::special::{Entry, Role, Table, replacement_length, role};
use crate::unit::{Range, Target, Unit};

/// How deep one constant may lead to the next.
const DEPTH_LIMIT: usize = 64;

/// The two units and what is known about their correspondence (original → patched).
pub(crate) struct Matcher<'a> {
    pub old: &'a Unit,
    pub new: &'a Unit,
    pub functions: HashMap<usize, usize>,
    pub data: HashMap<usize, usize>,
    data_back: HashMap<usize, usize>,
    old_entries: ByFunction<'a>,
    new_entries: ByFunction<'a>,
}

/// The entries of tables that say what a function does, by that function.
type ByFunction<'a> = HashMap<usize, Vec<&'a Entry>>;

/// One comparison: the static variables that would have to correspond for it to hold.
#[derive(Default)]
pub(crate) struct Attempt {
    pub assumed: RefCell<Vec<(usize, usize)>>,
    open: RefCell<HashSet<(usize, usize)>>,
}

impl<'a> Matcher<'a> {
    pub fn new(old: (&'a Unit, &'a [Entry]), new: (&'a Unit, &'a [Entry])) -> Self {
        Self {
            old: old.0,
            new: new.0,
            functions: HashMap::new(),
            data: HashMap::new(),
            data_back: HashMap::new(),
            old_entries: by_function(old.0, old.1),
            new_entries: by_function(new.0, new.1),
        }
    }

    /// Records that two objects are the same variable; `false` if that contradicts what is known.
    pub fn pair_data(&mut self, old: usize, new: usize) -> bool {
        match (self.data.get(&old), self.data_back.get(&new)) {
            (None, None) => {
                self.data.insert(old, new);
                self.data_back.insert(new, old);
                true
            }
            (known, _) => known == Some(&new),
        }
    }

    /// Forgets the original of a patched unit's object.
    pub fn part_data(&mut self, new: usize) {
        if let Some(old) = self.data_back.remove(&new) {
            self.data.remove(&old);
        }
    }

    /// The original of a patched unit's variable.
    pub fn original_data(&self, new: usize) -> Option<usize> {
        self.data_back.get(&new).copied()
    }

    /// Whether two functions do the same; the assumptions are only good if it is so.
    pub fn same_function(&self, old: usize, new: usize) -> (bool, Attempt) {
        let attempt = Attempt::default();
        let same = self.same_range(&attempt, self.old.range(old), self.new.range(new), 0)
            && self.same_entries(&attempt, old, new);
        (same && attempt.is_consistent(), attempt)
    }

    /// Whether two objects have the same content.
    pub fn same_content(&self, old: usize, new: usize) -> (bool, Attempt) {
        let attempt = Attempt::default();
        let same = self.same_range(&attempt, self.old.range(old), self.new.range(new), 0);
        (same && attempt.is_consistent(), attempt)
    }

    /// Bytes and references of two ranges.
    fn same_range(&self, attempt: &Attempt, old: Range, new: Range, depth: usize) -> bool {
        let (from, to) = (self.old.section(old.section), self.new.section(new.section));
        if !from.same_bytes((old.start, old.end), to, (new.start, new.end))
            && !only_lines_differ((self.old, old), (self.new, new))
        {
            return false;
        }
        let before = from.relocations_in(old.start, old.end);
        let after = to.relocations_in(new.start, new.end);
        before.len() == after.len()
            && before.iter().zip(after).all(|(a, b)| {
                a.offset - old.start == b.offset - new.start
                    && self.same_reference(attempt, (old.section, a), (new.section, b), depth)
            })
    }

    /// Whether two relocations refer to the same thing in the same way.
    pub fn same_reference(
        &self,
        attempt: &Attempt,
        old: (usize, &Relocation),
        new: (usize, &Relocation),
        depth: usize,
    ) -> bool {
        if depth > DEPTH_LIMIT || plain_type(old.1.r_type) != plain_type(new.1.r_type) {
            return false;
        }
        if old.1.r_type == elf::R_X86_64_NONE.0 {
            return true;
        }
        match (self.old.target(old.0, old.1), self.new.target(new.0, new.1)) {
            (
                Target::Outside {
                    symbol: a,
                    offset: from,
                },
                Target::Outside {
                    symbol: b,
                    offset: to,
                },
            ) => {
                let (a, b) = (self.old.symbol(a), self.new.symbol(b));
                from == to && a.name == b.name && a.home == b.home && a.value == b.value
            }
            (
                Target::Atom {
                    symbol: a,
                    offset: from,
                },
                Target::Atom {
                    symbol: b,
                    offset: to,
                },
            ) => from == to && self.same_atom(attempt, a, b, depth),
            (
                Target::Literal {
                    section: a,
                    offset: from,
                },
                Target::Literal {
                    section: b,
                    offset: to,
                },
            ) => self.old.literal(a, from) == self.new.literal(b, to),
            (
                Target::Constant {
                    section: a,
                    offset: from,
                },
                Target::Constant {
                    section: b,
                    offset: to,
                },
            ) => {
                let (size, other) = (self.old.section(a).entsize, self.new.section(b).entsize);
                size == other && from % size == to % size && {
                    let old = Range {
                        section: a,
                        start: from - from % size,
                        end: from - from % size + size,
                    };
                    let new = Range {
                        section: b,
                        start: to - to % size,
                        end: to - to % size + size,
                    };
                    self.same_range(attempt, old, new, depth + 1)
                }
            }
            (
                Target::Place {
                    section: a,
                    offset: from,
                },
                Target::Place {
                    section: b,
                    offset: to,
                },
            ) => self.same_place(attempt, (a, from), (b, to), depth + 1),
            _ => false,
        }
    }

    fn same_atom(&self, attempt: &Attempt, old: usize, new: usize, depth: usize) -> bool {
        if self.old.is_function(old) || self.new.is_function(new) {
            return self.functions.get(&old) == Some(&new);
        }
        let (name, other) = (self.old.name(old), self.new.name(new));
        let same_base = base_name(name) == base_name(other);
        let copyable = is_copyable(name, &self.old.section_of(old).name);
        if copyable && is_copyable(other, &self.new.section_of(new).name) {
            return same_base && self.same_copy(attempt, old, new, depth + 1);
        }
        if let Some(&known) = self.data.get(&old) {
            return known == new;
        }
        let (from, to) = (self.old.symbol(old), self.new.symbol(new));
        let possible = same_base
            && is_numbered(name)
            && from.size == to.size
            && !self.data_back.contains_key(&new)
            && self.old.section_of(old).flags == self.new.section_of(new).flags;
        if possible {
            attempt.assumed.borrow_mut().push((old, new));
        }
        possible
    }

    /// Two objects of which the patch may have its own copy.
    fn same_copy(&self, attempt: &Attempt, old: usize, new: usize, depth: usize) -> bool {
        let (a, b) = (self.old.range(old), self.new.range(new));
        if !attempt.open.borrow_mut().insert((old, new)) {
            return true;
        }
        if self.new.section_of(new).name == "__dyndbg" {
            // The entry holds its line; what it prints is in the references.
            let from = self.old.section(a.section).relocations_in(a.start, a.end);
            let to = self.new.section(b.section).relocations_in(b.start, b.end);
            return from.len() == to.len()
                && from.iter().zip(to).all(|(x, y)| {
                    self.same_reference(attempt, (a.section, x), (b.section, y), depth)
                });
        }
        self.same_range(attempt, a, b, depth)
    }

    /// Two places without a name: code of a fragment, or a constant in a section of constants.
    fn same_place(
        &self,
        attempt: &Attempt,
        old: (usize, i64),
        new: (usize, i64),
        depth: usize,
    ) -> bool {
        let (from, to) = (self.old.section(old.0), self.new.section(new.0));
        let (Ok(start), Ok(other)) = (u64::try_from(old.1), u64::try_from(new.1)) else {
            return false;
        };
        if from.flags != to.flags || from.is_nobits() != to.is_nobits() {
            return false;
        }
        if from.is_code() {
            let ends = (
                self.old.fragment_end(old.0, start),
                self.new.fragment_end(new.0, other),
            );
            let (Some(end), Some(other_end)) = ends else {
                return false;
            };
            let old = Range {
                section: old.0,
                start,
                end,
            };
            let new = Range {
                section: new.0,
                start: other,
                end: other_end,
            };
            return self.same_range(attempt, old, new, depth);
        }
        if role(&from.name) == Role::Table(Table::Bug) {
            let entries = (
                Self::bug_entry(&self.old_entries, (old.0, start)),
                Self::bug_entry(&self.new_entries, (new.0, other)),
            );
            return match entries {
                (Some(old), Some(new)) => self.same_bug(attempt, old, new),
                _ => false,
            };
        }
        let ubsan = is_ubsan(&from.name) && is_ubsan(&to.name);
        let same_base = base_name(&from.name) == base_name(&to.name);
        let alike = self.old.layout(old.0) == self.new.layout(new.0);
        if start != other || !alike || !(same_base || ubsan) {
            return false;
        }
        let marker = (usize::MAX - old.0, usize::MAX - new.0);
        if !attempt.open.borrow_mut().insert(marker) {
            return true;
        }
        let whole = |section: usize, size| Range {
            section,
            start: 0,
            end: size,
        };
        let (old, new) = (whole(old.0, from.size), whole(new.0, to.size));
        if ubsan && from.name.contains("_data") && to.name.contains("_data") {
            return self.same_ubsan_data(attempt, old, new, depth);
        }
        self.same_range(attempt, old, new, depth)
    }

    /// What the undefined behaviour sanitizer reports: all of it but the line, which stands
    /// behind the pointer to the file's name (kernel: `struct source_location`).
    fn same_ubsan_data(&self, attempt: &Attempt, old: Range, new: Range, depth: usize) -> bool {
        const LINE: std::ops::Range<usize> = 8..12;
        let (from, to) = (self.old.section(old.section), self.new.section(new.section));
        let without_line = |data: &[u8]| {
            let mut data = data.to_vec();
            data.get_mut(LINE).unwrap_or_default().fill(0);
            data
        };
        from.relocations.len() == to.relocations.len()
            && without_line(&from.data) == without_line(&to.data)
            && from.relocations.iter().zip(&to.relocations).all(|(a, b)| {
                a.offset == b.offset
                    && self.same_reference(attempt, (old.section, a), (new.section, b), depth)
            })
    }

    /// What the kernel's tables say about two functions.
    fn same_entries(&self, attempt: &Attempt, old: usize, new: usize) -> bool {
        let list = |map: &ByFunction<'a>, function| {
            let mut entries = map.get(function).cloned().unwrap_or_default();
            entries.sort_by_key(|entry| (entry.table, entry.site, entry.range));
            entries
        };
        let (before, after) = (list(&self.old_entries, &old), list(&self.new_entries, &new));
        before.len() == after.len()
            && before
                .iter()
                .zip(&after)
                .all(|(a, b)| a.table == b.table && self.same_entry(attempt, a, b))
    }

    fn same_entry(&self, attempt: &Attempt, old: &Entry, new: &Entry) -> bool {
        match old.table {
            Table::Bug => self.same_bug(attempt, old, new),
            Table::Altinstructions => self.same_alternative(attempt, old, new),
            _ => self.same_range(attempt, old.range, new.range, 0),
        }
    }

    /// `__bug_table`: the place, the format (where there is one) and the flags count, file and
    /// line don't.
    fn same_bug(&self, attempt: &Attempt, old: &Entry, new: &Entry) -> bool {
        let (a, b) = (old.range, new.range);
        let (from, to) = (self.old.section(a.section), self.new.section(b.section));
        let flags = |range: Range| (range.end - 2, range.end);
        let before = from.relocations_in(a.start, a.end);
        let after = to.relocations_in(b.start, b.end);
        let same = |(x, y)| self.same_reference(attempt, (a.section, x), (b.section, y), 0);
        // The last of them is the file.
        let counting = before.len().saturating_sub(1).max(1);
        !before.is_empty()
            && before.len() == after.len()
            && from.same_bytes(flags(a), to, flags(b))
            && before.iter().zip(after).take(counting).all(same)
    }

    /// The entry of `__bug_table` that code hands over with what its format takes.
    fn bug_entry<'e>(entries: &ByFunction<'e>, place: (usize, u64)) -> Option<&'e Entry> {
        let begins = |entry: &&'e Entry| {
            entry.table == Table::Bug && (entry.range.section, entry.range.start) == place
        };
        entries.values().flatten().copied().find(begins)
    }

    /// `.altinstructions`: the entry and the code that it would put in place.
    fn same_alternative(&self, attempt: &Attempt, old: &Entry, new: &Entry) -> bool {
        let (a, b) = (old.range, new.range);
        let (from, to) = (self.old.section(a.section), self.new.section(b.section));
        if !from.same_bytes((a.start, a.end), to, (b.start, b.end)) {
            return false;
        }
        let before = from.relocations_in(a.start, a.end);
        let after = to.relocations_in(b.start, b.end);
        let (Some(x), Some(y)) = (before.first(), after.first()) else {
            return false;
        };
        if !self.same_reference(attempt, (a.section, x), (b.section, y), 0) {
            return false;
        }
        // Without replacement (older `static_cpu_has`), or with one of another unit (retpolines
        // of 5.14), there is no code here.
        let (p, q) = match (before, after) {
            ([_], [_]) => return true,
            ([_, p], [_, q]) => (p, q),
            _ => return false,
        };
        if let Target::Outside { .. } = self.old.target(a.section, p) {
            return self.same_reference(attempt, (a.section, p), (b.section, q), 0);
        }
        let code = |unit: &Unit, section, relocation: &Relocation, length| {
            let (home, offset) = unit.location(section, relocation)?;
            let start = u64::try_from(offset).ok()?;
            Some(Range {
                section: home,
                start,
                end: start.checked_add(length)?,
            })
        };
        let old_code = code(self.old, a.section, p, replacement_length(self.old, a));
        let new_code = code(self.new, b.section, q, replacement_length(self.new, b));
        match (old_code, new_code) {
            (Some(old), Some(new)) => self.same_range(attempt, old, new, 0),
            _ => false,
        }
    }
}

impl Attempt {
    /// No variable stands for two others.
    fn is_consistent(&self) -> bool {
        let assumed = self.assumed.borrow();
        let mut forth = HashMap::new();
        let mut back = HashMap::new();
        assumed.iter().all(|&(old, new)| {
            *forth.entry(old).or_insert(new) == new && *back.entry(new).or_insert(old) == old
        })
    }
}

/// Numbered sections of the undefined behaviour sanitizer.
fn is_ubsan(section: &str) -> bool {
    section.starts_with(".data..Lubsan_")
}

/// `PLT32` to a local symbol is `PC32`.
fn plain_type(r_type: u32) -> u32 {
    if r_type == elf::R_X86_64_PLT32.0 {
        elf::R_X86_64_PC32.0
    } else {
        r_type
    }
}

/// The entries about each function.
fn by_function<'a>(unit: &Unit, entries: &'a [Entry]) -> ByFunction<'a> {
    let mut map = ByFunction::new();
    let says_more = |entry: &&Entry| {
        // The code itself decides what is in the others.
        !matches!(entry.table, Table::Sites(_) | Table::Call | Table::OrcIp)
    };
    for entry in entries.iter().filter(says_more) {
        if let Some(function) = unit.atom_at(entry.site.0, entry.site.1 as i64) {
            map.entry(function).or_default().push(entry);
        }
    }
    map
}
