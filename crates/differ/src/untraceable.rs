//! Changed functions that can't be redirected and that go along with their callers.
//!
//! The kernel's `inline` keeps a function from being traced, and the compiler may leave it out of
//! line all the same. If nothing but calls in functions of its unit leads to it, these are replaced
//! together with it and call its new code; the old one has no way in any more.
//!
//! Whether a task still runs the old code, the kernel sees by the functions that are replaced: one
//! of them has the task's return address. A jump leaves none, so a tail call speaks against this.

use std::collections::{BTreeSet, HashMap};

use crate::code_checks::{is_replaceable, is_untraceable};
use crate::compare::FunctionStatus;
use crate::ignore::Ignored;
use crate::matcher::Matcher;
use crate::object::Relocation;
use crate::special::{Role, is_init, role};
use crate::unit::{Target, Unit};

/// What is known when functions are looked at.
pub(crate) struct Untraceable<'a, 'u> {
    pub matcher: &'a Matcher<'u>,
    pub ignored: &'a Ignored,
    /// Original function of each patched one that has one.
    pub original_function: &'a HashMap<usize, usize>,
}

/// Functions of the patched unit.
#[derive(Debug, Default)]
struct Group {
    carried: BTreeSet<usize>,
    callers: BTreeSet<usize>,
}

impl Untraceable<'_, '_> {
    /// The changed functions that go along, and those of their callers that do; who calls them
    /// counts as changed from now on.
    pub fn carry(&self, status: &mut HashMap<usize, FunctionStatus>) -> BTreeSet<usize> {
        let mut carried = BTreeSet::new();
        for function in self.matcher.new.functions() {
            if status[&function] != FunctionStatus::Changed {
                continue;
            }
            if let Some(group) = self.with_callers(function) {
                for &one in group.carried.union(&group.callers) {
                    status.insert(one, FunctionStatus::Changed);
                }
                carried.extend(group.carried);
            }
        }
        carried
    }

    /// The function with all whose callers can be replaced; nothing if it must be redirected.
    fn with_callers(&self, function: usize) -> Option<Group> {
        let (old, new) = (self.matcher.old, self.matcher.new);
        let (mut group, mut open) = (Group::default(), vec![function]);
        while let Some(next) = open.pop() {
            let original = self.carriable(next)?;
            if !group.carried.insert(next) {
                continue;
            }
            // Of one that is gone no task's stack would be looked at.
            let patched = |caller: usize| self.matcher.functions.get(&caller).copied();
            let before = callers(old, original)?.into_iter().map(patched);
            let before: Option<Vec<usize>> = before.collect();
            for caller in before?.into_iter().chain(callers(new, next)?) {
                match self.original_function.get(&caller) {
                    // It calls what the patch brings.
                    None => {}
                    Some(&original) if self.is_replaceable(caller, original) => {
                        group.callers.insert(caller);
                    }
                    Some(_) => open.push(caller),
                }
            }
        }
        Some(group)
    }

    /// The original of a function that no other unit and no table can lead to, as far as names and
    /// places tell.
    fn carriable(&self, function: usize) -> Option<usize> {
        let (old, new) = (self.matcher.old, self.matcher.new);
        let original = *self.original_function.get(&function)?;
        let one = |unit: &Unit, function: usize| {
            // Calls within a section need no relocation.
            unit.is_alone(function)
                && !is_init(&unit.section_of(function).name)
                && unit.is_private(function)
        };
        let is_own = one(old, original)
            && one(new, function)
            && new.parent(function).is_none()
            && !self.ignored.covers_function(new, function);
        (is_own && is_untraceable(old, original, new.section_of(function))).then_some(original)
    }

    fn is_replaceable(&self, function: usize, original: usize) -> bool {
        is_replaceable(self.matcher, self.ignored, function, Some(original))
    }
}

/// The functions that call one, but for itself; nothing if something does anything else with it, or
/// if nobody calls it.
fn callers(unit: &Unit, function: usize) -> Option<BTreeSet<usize>> {
    let whole = |function| unit.parent(function).unwrap_or(function);
    let mut callers = BTreeSet::new();
    for one in uses(unit, function) {
        callers.insert(whole(one.by.filter(|_| one.is_call)?));
    }
    (!callers.is_empty()).then_some(callers)
}

/// A place that refers to a function.
pub(crate) struct Use {
    /// The function that the place is in, if it is in one.
    pub by: Option<usize>,
    pub is_call: bool,
    /// A call or a jump.
    pub is_branch: bool,
}

/// What refers to a function in its unit, but for itself.
pub(crate) fn uses(unit: &Unit, function: usize) -> Vec<Use> {
    let whole = |function| unit.parent(function).unwrap_or(function);
    let mut uses = Vec::new();
    for (index, section) in unit.object.sections.iter().enumerate() {
        // What tables tell of code is told of places in it.
        let about_code = matches!(
            role(&section.name),
            Role::Ignored | Role::Table(_) | Role::Orc
        );
        if !section.is_alloc() || about_code {
            continue;
        }
        for relocation in &section.relocations {
            let Target::Atom { symbol, .. } = unit.target(index, relocation) else {
                continue;
            };
            if symbol != function || is_way_back(unit, index, relocation, function) {
                continue;
            }
            let place = i64::try_from(relocation.offset).ok();
            let user = place.and_then(|place| unit.atom_at(index, place));
            let by = user.filter(|&user| unit.is_function(user));
            if by.map(whole) != Some(function) {
                uses.push(Use {
                    by,
                    is_call: unit.is_call(index, relocation),
                    is_branch: unit.is_branch(index, relocation),
                });
            }
        }
    }
    uses
}

/// Whether code outside of functions, which belongs to one, leads into the middle of it.
fn is_way_back(unit: &Unit, section: usize, relocation: &Relocation, function: usize) -> bool {
    let range = unit.range(function);
    let start = i64::try_from(range.start)
        .ok()
        .map(|start| (range.section, start));
    role(&unit.section(section).name) == Role::Fragments
        && unit.location(section, relocation) != start
}
