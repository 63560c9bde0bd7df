//! Changed constants that can go into the patch.
//!
//! A constant of the running kernel stays as it is. If nothing but functions of the unit reads it,
//! and these do nothing else with it ([`only_reads`]), then they are replaced together with it, and
//! nobody can tell that there are two. An operations table is not of that kind: objects hold its
//! address, and others compare it.

use std::collections::{BTreeSet, HashMap};

use crate::address_flow::{Content, only_reads};
use crate::code_checks::is_replaceable;
use crate::compare::FunctionStatus;
use crate::ignore::Ignored;
use crate::matcher::Matcher;
use crate::special::{Entry, Role, role};
use crate::unit::{Target, Unit};

/// What is known when constants are looked at.
pub(crate) struct Constants<'a, 'u> {
    pub matcher: &'a Matcher<'u>,
    /// Entries of the patched unit's tables.
    pub entries: &'a [Entry],
    pub ignored: &'a Ignored,
    /// Original function of each patched one that has one.
    pub original_function: &'a HashMap<usize, usize>,
}

/// Constants of the patched unit that go along, and the functions that are replaced with them.
#[derive(Debug, Default)]
pub(crate) struct TakenAlong {
    pub constants: BTreeSet<usize>,
    pub functions: BTreeSet<usize>,
}

/// Who refers to an object.
#[derive(Debug, Default)]
struct Users {
    functions: BTreeSet<usize>,
    constants: BTreeSet<usize>,
    /// Something does that is neither.
    others: bool,
}

impl Constants<'_, '_> {
    /// All changed constants that can be taken, with those that lead to them.
    pub fn taken_along(&self) -> TakenAlong {
        let pairs = self.matcher.data.iter();
        let changed: Vec<usize> = pairs
            .filter(|&(&old, &new)| self.is_constant(old, new) && self.is_changed(old, new))
            .map(|(_, &new)| new)
            .collect();
        let mut all = TakenAlong::default();
        if changed.is_empty() {
            return all;
        }
        let users = users(self.matcher.new);
        for constant in changed {
            if let Some(taken) = self.with_users(constant, &users) {
                all.constants.extend(taken.constants);
                all.functions.extend(taken.functions);
            }
        }
        all
    }

    fn is_constant(&self, old: usize, new: usize) -> bool {
        let one = |unit: &Unit, atom: usize| {
            let section = unit.section_of(atom);
            !unit.is_function(atom)
                && section.name.starts_with(".rodata")
                && role(&section.name) == Role::Plain
                && !section.is_writable()
                && !section.is_code()
                && !section.grouped
        };
        let place = &self.matcher.new.section_of(new).name;
        let ignored = self.ignored.covers_section(place);
        one(self.matcher.old, old) && one(self.matcher.new, new) && !ignored
    }

    /// Whether no other unit can name the constant.
    fn is_private(&self, old: usize, new: usize) -> bool {
        self.matcher.old.is_private(old) && self.matcher.new.is_private(new)
    }

    fn is_changed(&self, old: usize, new: usize) -> bool {
        let size = |unit: &Unit, atom| unit.symbol(atom).size;
        size(self.matcher.old, old) != size(self.matcher.new, new)
            || !self.matcher.same_content(old, new).0
    }

    /// The constant, the constants that lead to it, and the functions that read any of them, if
    /// those can be replaced and do nothing else.
    fn with_users(&self, constant: usize, users: &HashMap<usize, Users>) -> Option<TakenAlong> {
        let new = self.matcher.new;
        let (mut constants, mut open) = (BTreeSet::from([constant]), vec![constant]);
        let mut readers = BTreeSet::new();
        while let Some(next) = open.pop() {
            let original = self.matcher.original_data(next)?;
            if !self.is_constant(original, next) || !self.is_private(original, next) {
                return None;
            }
            let Some(users) = users.get(&next) else {
                continue;
            };
            if users.others {
                return None;
            }
            readers.extend(&users.functions);
            let more = users.constants.iter();
            open.extend(more.filter(|&&user| constants.insert(user)));
        }
        let content = Content::of(new, &constants);
        let reads = |&function: &usize| {
            let whole = new.parent(function).unwrap_or(function);
            self.is_replaceable(whole)
                && only_reads(new, self.entries, function, &constants, content)
        };
        let functions = readers
            .iter()
            .map(|&function| new.parent(function).unwrap_or(function));
        readers.iter().all(reads).then(|| TakenAlong {
            functions: functions.collect(),
            constants,
        })
    }

    /// Whether the function is new, or can be redirected.
    fn is_replaceable(&self, function: usize) -> bool {
        let original = self.original_function.get(&function).copied();
        is_replaceable(self.matcher, self.ignored, function, original)
    }
}

/// Who refers to each object of a unit.
fn users(unit: &Unit) -> HashMap<usize, Users> {
    let mut all: HashMap<usize, Users> = HashMap::new();
    for (index, section) in unit.object.sections.iter().enumerate() {
        if !section.is_alloc() || role(&section.name) == Role::Ignored {
            continue;
        }
        for relocation in &section.relocations {
            let Target::Atom { symbol, .. } = unit.target(index, relocation) else {
                continue;
            };
            let users = all.entry(symbol).or_default();
            let place = i64::try_from(relocation.offset).ok();
            match place.and_then(|place| unit.atom_at(index, place)) {
                Some(user) if unit.is_function(user) => users.functions.insert(user),
                Some(user) if user == symbol => true,
                Some(user) => users.constants.insert(user),
                None => {
                    users.others = true;
                    true
                }
            };
        }
    }
    all
}

impl Content {
    fn of(unit: &Unit, constants: &BTreeSet<usize>) -> Self {
        let mut content = Self::default();
        for &constant in constants {
            let range = unit.range(constant);
            let section = unit.section(range.section);
            for relocation in section.relocations_in(range.start, range.end) {
                match unit.target(range.section, relocation) {
                    Target::Atom { symbol, .. } => {
                        content.names_functions |= unit.is_function(symbol);
                        content.names_constants |= constants.contains(&symbol);
                    }
                    Target::Outside { .. } | Target::Place { .. } => content.names_functions = true,
                    Target::Literal { .. } | Target::Constant { .. } => {}
                }
            }
        }
        content
    }
}

/// Counts functions that are replaced with their constants as changed, and parts those constants
/// from the running kernel's. Returns their names.
pub(crate) fn take_along(
    matcher: &mut Matcher<'_>,
    status: &mut HashMap<usize, FunctionStatus>,
    taken: TakenAlong,
) -> Vec<String> {
    for function in taken.functions {
        if status.get(&function) == Some(&FunctionStatus::Same) {
            status.insert(function, FunctionStatus::Changed);
        }
    }
    let name = |constant| {
        matcher.part_data(constant);
        matcher.new.name(constant).to_owned()
    };
    taken.constants.into_iter().map(name).collect()
}
