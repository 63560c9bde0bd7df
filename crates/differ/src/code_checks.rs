//! What speaks against replacing a changed function.

use object::elf;

use crate::compare::{Analysis, FunctionStatus};
use crate::ignore::Ignored;
use crate::matcher::Matcher;
use crate::object::{Relocation, Section};
use crate::refusal::Refusal;
use crate::special::{Role, is_init, lists_constants_in_code, role};
use crate::unit::Unit;

/// Bytes from a function's start within which its call to `__fentry__` begins: after `endbr64`.
const FENTRY_LIMIT: u64 = 8;

/// Fields that hold the distance to an entry of the global offset table.
const FROM_GOT: [u32; 3] = [
    elf::R_X86_64_GOTPCREL.0,
    elf::R_X86_64_GOTPCRELX.0,
    elf::R_X86_64_REX_GOTPCRELX.0,
];

pub(crate) fn refusals(analysis: &Analysis<'_>) -> Vec<Refusal> {
    let (old, new) = (analysis.matcher.old, analysis.matcher.new);
    let mut refusals = Vec::new();
    for function in new
        .functions()
        .filter(|&function| new.parent(function).is_none())
    {
        let Some(&original) = analysis.original_function.get(&function) else {
            continue;
        };
        let changed = analysis.status[&function] == FunctionStatus::Changed;
        if changed && is_init(&old.section_of(original).name) {
            refusals.push(Refusal::InitCode {
                function: old.name(original).to_owned(),
                section: old.section_of(original).name.clone(),
            });
            continue;
        }
        if analysis.ignored.covers_function(new, function) {
            continue;
        }
        refusals.extend(moved(old, original, new, function));
        if changed && !analysis.carried.contains(&function) {
            refusals.extend(of_changed(old, original, new.section_of(function)));
        }
    }
    refusals.extend(unknown_sections(analysis));
    refusals
}

/// Tables of unknown meaning must not be about code that changes.
fn unknown_sections(analysis: &Analysis<'_>) -> Vec<Refusal> {
    let new = analysis.matcher.new;
    let mut refusals = Vec::new();
    for (index, section) in new.object.sections.iter().enumerate() {
        let ignored = analysis.ignored.covers_section(&section.name);
        if !section.is_alloc() || role(&section.name) != Role::Unknown || ignored {
            continue;
        }
        let targets = section
            .relocations
            .iter()
            .filter_map(|r| new.location(index, r));
        let functions = targets
            .filter_map(|(home, offset)| new.atom_at(home, offset))
            .filter(|atom| {
                analysis
                    .status
                    .get(atom)
                    .is_some_and(|s| *s != FunctionStatus::Same)
            });
        refusals.extend(functions.map(|function| unknown_section(section, new.name(function))));
    }
    refusals
}

/// What speaks against code that a section of unknown meaning is about.
pub(crate) fn unknown_section(section: &Section, function: &str) -> Refusal {
    let section = section.name.clone();
    if lists_constants_in_code(&section) {
        return Refusal::ConstantInCode { section };
    }
    let function = function.to_owned();
    Refusal::UnknownSection { section, function }
}

/// The kernel treats code by its section: what was freed after boot, or not traced, must stay so.
fn moved(old: &Unit, original: usize, new: &Unit, patched: usize) -> Option<Refusal> {
    let (before, after) = (old.section_of(original), new.section_of(patched));
    let same = code_class(&before.name) == code_class(&after.name) && before.flags == after.flags;
    (!same).then(|| Refusal::Moved {
        symbol: old.name(original).to_owned(),
        old: before.name.clone(),
        new: after.name.clone(),
    })
}

fn of_changed(old: &Unit, original: usize, after: &Section) -> Option<Refusal> {
    let function = old.name(original).to_owned();
    let symbol = old.symbol(original);
    if symbol.is_weak() {
        return Some(Refusal::WeakFunction { function });
    }
    if symbol.kind == elf::STT_GNU_IFUNC.0 {
        return Some(Refusal::IndirectFunction { function });
    }
    if old.section_of(original).grouped || after.grouped {
        return Some(Refusal::Grouped { symbol: function });
    }
    match fentry_call(old, original) {
        None if is_system_call_body(&function) => Some(Refusal::SystemCallBody { function }),
        None => Some(Refusal::NotTraceable { function }),
        Some(call) if FROM_GOT.contains(&call.r_type) => {
            Some(Refusal::FentryThroughGot { function })
        }
        Some(_) => None,
    }
}

/// Whether a function can't be redirected for no other reason than that it isn't traced.
pub(crate) fn is_untraceable(old: &Unit, original: usize, after: &Section) -> bool {
    matches!(
        of_changed(old, original, after),
        Some(Refusal::NotTraceable { .. } | Refusal::SystemCallBody { .. })
    )
}

/// Whether a function of the patched unit can take the place of its original, or is new.
pub(crate) fn is_replaceable(
    matcher: &Matcher<'_>,
    ignored: &Ignored,
    function: usize,
    original: Option<usize>,
) -> bool {
    let section = matcher.new.section_of(function);
    !is_init(&section.name)
        && !section.grouped
        && !ignored.covers_function(matcher.new, function)
        && original.is_none_or(|original| is_redirectable(matcher.old, original))
}

/// Whether nothing speaks against redirecting a function of the running kernel.
fn is_redirectable(old: &Unit, original: usize) -> bool {
    of_changed(old, original, old.section_of(original)).is_none()
}

/// `.text.foo`, `.text.unlikely.foo` and `.text.hot.foo` are one and the same to the kernel.
pub(crate) fn code_class(section: &str) -> &str {
    if section == ".text" || section.starts_with(".text.") {
        ".text"
    } else {
        section
    }
}

/// What `SYSCALL_DEFINEn` makes of the code that follows it (kernel:
/// arch/x86/include/asm/syscall_wrapper.h): an inline function, and those are not traced.
fn is_system_call_body(function: &str) -> bool {
    ["__do_sys_", "__do_compat_sys_"]
        .iter()
        .any(|prefix| function.starts_with(prefix))
}

/// The call of `__fentry__` with which a function begins, by which ftrace can redirect it.
pub(crate) fn fentry_call(unit: &Unit, function: usize) -> Option<&Relocation> {
    let range = unit.range(function);
    let entry = unit.symbol(function).value;
    unit.section(range.section)
        .relocations_in(entry, entry.saturating_add(FENTRY_LIMIT))
        .iter()
        .find(|relocation| unit.name(relocation.symbol as usize) == "__fentry__")
}
