//! What speaks against replacing a changed function.

use crate::compare::{Analysis, FunctionStatus};
use crate::refusal::Refusal;
use crate::special::is_init;
use crate::unit::Unit;

/// Bytes from a function's start within which its call to `__fentry__` begins: after `endbr64`.
const FENTRY_LIMIT: u64 = 8;

pub(crate) fn refusals(analysis: &Analysis<'_>) -> Vec<Refusal> {
    let new = analysis.matcher.new;
    let mut refusals = Vec::new();
    for function in new.functions() {
        if analysis.status[&function] == FunctionStatus::Changed && new.parent(function).is_none() {
            let original = analysis.original_function[&function];
            refusals.extend(of_changed(analysis.matcher.old, original, new, function));
        }
    }
    refusals
}

fn of_changed(old: &Unit, original: usize, new: &Unit, patched: usize) -> Option<Refusal> {
    let function = old.name(original).to_owned();
    let (before, after) = (old.section_of(original), new.section_of(patched));
    if is_init(&before.name) {
        return Some(Refusal::InitCode {
            function,
            section: before.name.clone(),
        });
    }
    if code_class(&before.name) != code_class(&after.name) || before.flags != after.flags {
        let (old, new) = (before.name.clone(), after.name.clone());
        return Some(Refusal::Moved {
            symbol: function,
            old,
            new,
        });
    }
    if old.symbol(original).is_weak() {
        return Some(Refusal::WeakFunction { function });
    }
    if old.symbol(original).kind == object::elf::STT_GNU_IFUNC.0 {
        return Some(Refusal::IndirectFunction { function });
    }
    if before.grouped || after.grouped {
        return Some(Refusal::Grouped { symbol: function });
    }
    (!is_traceable(old, original)).then_some(Refusal::NotTraceable { function })
}

/// `.text.foo`, `.text.unlikely.foo` and `.text.hot.foo` are one and the same to the kernel.
pub(crate) fn code_class(section: &str) -> &str {
    if section == ".text" || section.starts_with(".text.") {
        ".text"
    } else {
        section
    }
}

/// Whether ftrace can redirect a function: it calls `__fentry__` first.
pub(crate) fn is_traceable(unit: &Unit, function: usize) -> bool {
    let range = unit.range(function);
    let entry = unit.symbol(function).value;
    unit.section(range.section)
        .relocations_in(entry, entry.saturating_add(FENTRY_LIMIT))
        .iter()
        .any(|relocation| unit.name(relocation.symbol) == "__fentry__")
}
