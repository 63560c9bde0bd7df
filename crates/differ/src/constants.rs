//! Changed constants that can go into the patch.
//!
//! A constant of the running kernel stays as it is. If nothing but functions of the unit reads it,
//! and these do nothing else with it ([`only_reads`]), then they are replaced together with it, and
//! nobody can tell that there are two. An operations table is not of that kind: objects hold its
//! address, and others compare it.

use std::collections::{BTreeSet, HashMap};

use crate::address_flow::only_reads;
use crate::code_checks::is_redirectable;
use crate::compare::FunctionStatus;
use crate::ignore::Ignored;
use crate::matcher::Matcher;
use crate::special::{Entry, Role, is_init, role};
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
struct Users {
    functions: BTreeSet<usize>,
    constants: BTreeSet<usize>,
}

impl Constants<'_, '_> {
    /// All changed constants that can be taken, with those that lead to them.
    pub fn taken_along(&self) -> TakenAlong {
        let mut all = TakenAlong::default();
        for (&old, &new) in &self.matcher.data {
            if self.is_private(old, new)
                && self.is_changed(old, new)
                && let Some(taken) = self.with_users(new)
            {
                all.constants.extend(taken.constants);
                all.functions.extend(taken.functions);
            }
        }
        all
    }

    /// A static constant that no other unit can name.
    fn is_private(&self, old: usize, new: usize) -> bool {
        let one = |unit: &Unit, atom: usize| {
            let section = unit.section_of(atom);
            let symbol = unit.symbol(atom);
            let place = (symbol.home, symbol.value);
            let mut names = unit.object.symbols.iter();
            !unit.is_function(atom)
                && section.name.starts_with(".rodata")
                && role(&section.name) == Role::Plain
                && !section.is_writable()
                && !section.is_code()
                && !section.grouped
                && names.all(|other| (other.home, other.value) != place || other.is_local())
        };
        let ignored = |atom| {
            let section = &self.matcher.new.section_of(atom).name;
            self.ignored.covers_section(section)
        };
        one(self.matcher.old, old) && one(self.matcher.new, new) && !ignored(new)
    }

    fn is_changed(&self, old: usize, new: usize) -> bool {
        let size = |unit: &Unit, atom| unit.symbol(atom).size;
        size(self.matcher.old, old) != size(self.matcher.new, new)
            || !self.matcher.same_content(old, new).0
    }

    /// The constant, the constants that lead to it, and the functions that read any of them, if
    /// those can be replaced and do nothing else.
    fn with_users(&self, constant: usize) -> Option<TakenAlong> {
        let new = self.matcher.new;
        let (mut constants, mut open) = (BTreeSet::from([constant]), vec![constant]);
        let mut readers = BTreeSet::new();
        while let Some(next) = open.pop() {
            let users = self.users(next)?;
            readers.extend(users.functions);
            for user in users.constants {
                let original = self.matcher.original_data(user)?;
                if !self.is_private(original, user) {
                    return None;
                }
                if constants.insert(user) {
                    open.push(user);
                }
            }
        }
        let names_functions = constants.iter().any(|&one| names_functions(new, one));
        let reads = |&function: &usize| {
            let whole = new.parent(function).unwrap_or(function);
            self.is_replaceable(whole)
                && only_reads(new, self.entries, function, &constants, names_functions)
        };
        let functions = readers
            .iter()
            .map(|&function| new.parent(function).unwrap_or(function));
        readers.iter().all(reads).then(|| TakenAlong {
            functions: functions.collect(),
            constants,
        })
    }

    /// Who refers to an object. `None` if something does that is neither function nor constant.
    fn users(&self, object: usize) -> Option<Users> {
        let new = self.matcher.new;
        let mut users = Users {
            functions: BTreeSet::new(),
            constants: BTreeSet::new(),
        };
        for (index, section) in new.object.sections.iter().enumerate() {
            if !section.is_alloc() || role(&section.name) == Role::Ignored {
                continue;
            }
            for relocation in &section.relocations {
                if !matches!(new.target(index, relocation), Target::Atom { symbol, .. } if symbol == object)
                {
                    continue;
                }
                let place = i64::try_from(relocation.offset).ok()?;
                let user = new.atom_at(index, place)?;
                if new.is_function(user) {
                    users.functions.insert(user);
                } else if user != object {
                    users.constants.insert(user);
                }
            }
        }
        Some(users)
    }

    /// Whether the function is new, or can be redirected.
    fn is_replaceable(&self, function: usize) -> bool {
        let new = self.matcher.new;
        let section = new.section_of(function);
        let usable = !is_init(&section.name)
            && !section.grouped
            && !self.ignored.covers_function(new, function);
        let original = self.original_function.get(&function);
        usable && original.is_none_or(|&original| is_redirectable(self.matcher.old, original))
    }
}

fn names_functions(unit: &Unit, constant: usize) -> bool {
    let range = unit.range(constant);
    let section = unit.section(range.section);
    let mut references = section.relocations_in(range.start, range.end).iter();
    references.any(|relocation| match unit.target(range.section, relocation) {
        Target::Atom { symbol, .. } => unit.is_function(symbol),
        Target::Outside { .. } | Target::Place { .. } => true,
        Target::Literal { .. } | Target::Constant { .. } => false,
    })
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
