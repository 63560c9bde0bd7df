//! The sections of x86-64 kernels that list places in the code, and what becomes of each.

use crate::entry_sizes::EntrySizes;
use crate::error::DifferError;
use crate::ignore::is_marker;
use crate::object::{Relocation, Section};
use crate::unit::{Range, Unit};

/// A table whose entries begin with the place in the code that they are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Table {
    Altinstructions,
    Bug,
    Exception,
    Jump,
    StaticCall,
    Paravirt,
    /// Lists of bare places: nothing but the code itself decides what is in them.
    Sites(u64),
    /// `.call_sites`: calls that count their depth, where the kernel does that at all.
    Call,
    /// `.orc_unwind_ip`, with one entry of `.orc_unwind` for each of its own.
    OrcIp,
}

/// What a section is to the differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Table(Table),
    /// Goes along with `.orc_unwind_ip`.
    Orc,
    /// Code outside of functions, reached from tables and jumps: `.altinstr_replacement`.
    Fragments,
    /// Says nothing about the running code; ignored and never carried.
    Ignored,
    /// Read at boot or at module load: must not change, is never carried.
    LoadTime,
    /// `__ksymtab` and its relatives.
    Export,
    /// Code, variables, constants.
    Plain,
    Unknown,
}

const IGNORED: &[&str] = &[
    ".discard",
    ".note",
    ".eh_frame",
    ".sframe",
    ".comment",
    ".debug",
    ".llvm",
    ".ibt_endbr_seal",
    ".printk_index",
    "__patchable_function_entries",
    ".orc_header",
    ".export_symbol",
    "__ksymtab_strings",
    "_error_injection_whitelist",
    ".cfi_sites",
    ".GCC.command.line",
    // Of what is built in, which never goes: the linker leaves it out.
    ".exitcall",
];
const LOAD_TIME: &[&str] = &[
    ".initcall",
    ".con_initcall",
    ".init.setup",
    "__param",
    "__modver",
    ".modinfo",
    "__tracepoints",
    "_ftrace_events",
    "_ftrace_eval_map",
    "__bpf_raw_tp_map",
    "__syscalls_metadata",
    ".static_call_tramp_key",
    ".BTF_ids",
    ".apicdrivers",
    ".x86_cpu_dev.init",
    ".iommu_table",
    "__earlycon_table",
    ".pci_fixup",
    ".ctors",
    ".init_array",
];
const EXPORT: &[&str] = &["__ksymtab", "___ksymtab", "__kcrctab", "___kcrctab"];
const PLAIN: &[&str] = &[
    ".text",
    ".data",
    ".bss",
    ".rodata",
    ".init.",
    ".exit.",
    ".ref.",
    ".noinstr.text",
    ".sched.text",
    ".spinlock.text",
    ".irqentry.text",
    ".softirqentry.text",
    ".kprobes.text",
    ".cpuidle.text",
    ".entry.text",
    ".lsm_info",
    ".static_call.text",
    ".head.text",
    "__dyndbg",
    "__verbose",
    ".meminit.",
    ".cpuinit.",
    ".devinit.",
    ".sdata",
];

/// The part that a section's name tells.
pub(crate) fn role(name: &str) -> Role {
    let begins = |list: &[&str]| list.iter().any(|prefix| name.starts_with(prefix));
    match name {
        ".altinstructions" => Role::Table(Table::Altinstructions),
        "__bug_table" => Role::Table(Table::Bug),
        "__ex_table" => Role::Table(Table::Exception),
        "__jump_table" => Role::Table(Table::Jump),
        ".static_call_sites" => Role::Table(Table::StaticCall),
        ".parainstructions" => Role::Table(Table::Paravirt),
        ".smp_locks" | ".retpoline_sites" | ".return_sites" => Role::Table(Table::Sites(4)),
        ".call_sites" => Role::Table(Table::Call),
        "__mcount_loc" | "_kprobe_blacklist" => Role::Table(Table::Sites(8)),
        ".orc_unwind_ip" => Role::Table(Table::OrcIp),
        ".orc_unwind" => Role::Orc,
        ".altinstr_replacement" | ".altinstr_aux" | ".fixup" | ".text..refcount" => Role::Fragments,
        _ if is_marker(name) => Role::Ignored,
        _ if begins(IGNORED) => Role::Ignored,
        _ if begins(LOAD_TIME) => Role::LoadTime,
        _ if begins(EXPORT) => Role::Export,
        _ if begins(PLAIN) || is_scheduling_class(name) => Role::Plain,
        _ => Role::Unknown,
    }
}

/// Each has a constant operations table in a section of its own, which puts them in order (kernel:
/// `SCHED_DATA`).
fn is_scheduling_class(section: &str) -> bool {
    section.starts_with("__") && section.ends_with("_sched_class")
}

/// Lists places in code where the kernel writes the value of a variable while it boots (kernel:
/// arch/x86/include/asm/runtime-const.h, since 6.11).
pub(crate) fn lists_constants_in_code(section: &str) -> bool {
    section.starts_with("runtime_")
}

/// Freed after boot, or never there.
pub(crate) fn is_init(section: &str) -> bool {
    [
        ".init",
        ".exit",
        ".meminit",
        ".cpuinit",
        ".devinit",
        ".head.text",
    ]
    .iter()
    .any(|prefix| section.starts_with(prefix))
}

/// One entry of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub table: Table,
    pub range: Range,
    /// The place in the code that the entry is about.
    pub site: (usize, u64),
    /// The entry of `.orc_unwind` that goes with it.
    pub companion: Option<Range>,
}

/// All entries of all tables, in the order of the file.
pub(crate) fn entries(unit: &Unit, sizes: &EntrySizes) -> Result<Vec<Entry>, DifferError> {
    let mut all = Vec::new();
    for (index, section) in unit.object.sections.iter().enumerate() {
        let Role::Table(table) = role(&section.name) else {
            continue;
        };
        if !section.is_alloc() || section.size == 0 {
            continue;
        }
        let size = entry_size(unit, index, table, sizes)?;
        let companions = companions(unit, index, table)?;
        let count = section.size.div_ceil(size);
        let whole = section.size.is_multiple_of(size);
        // The last entry of `.parainstructions` goes without the padding behind it.
        if !whole && table != Table::Paravirt {
            let what = format!(
                "{} bytes are no multiple of its {size}-byte entries",
                section.size
            );
            return Err(DifferError::damaged(&section.name, what));
        }
        for number in 0..count {
            let start = number * size;
            let range = Range {
                section: index,
                start,
                end: (start + size).min(section.size),
            };
            if let Some(site) = site(unit, range)? {
                let companion = companions.map(|(section, size)| Range {
                    section,
                    start: number * size,
                    end: (number + 1) * size,
                });
                all.push(Entry {
                    table,
                    range,
                    site,
                    companion,
                });
            }
        }
    }
    Ok(all)
}

/// The place that the first field of an entry points to; `None` for a padding entry.
fn site(unit: &Unit, range: Range) -> Result<Option<(usize, u64)>, DifferError> {
    let section = unit.section(range.section);
    let relocations = section.relocations_in(range.start, range.end);
    let Some(first) = relocations.first() else {
        return Ok(None);
    };
    if first.offset != range.start {
        let what = format!(
            "the entry at {:#x} does not begin with its place",
            range.start
        );
        return Err(DifferError::damaged(&section.name, what));
    }
    let place = unit.location(range.section, first);
    match place.and_then(|(home, offset)| Some((home, u64::try_from(offset).ok()?))) {
        Some(place) => Ok(Some(place)),
        None => {
            let what = format!(
                "the entry at {:#x} is about no place in this unit",
                range.start
            );
            Err(DifferError::damaged(&section.name, what))
        }
    }
}

fn entry_size(
    unit: &Unit,
    index: usize,
    table: Table,
    sizes: &EntrySizes,
) -> Result<u64, DifferError> {
    let section = unit.section(index);
    let measured = |relocations: usize| {
        let second = section.relocations.get(relocations);
        let second = second.map_or(section.size, |relocation| relocation.offset);
        second - section.relocations.first().map_or(0, |r| r.offset)
    };
    let believed = |told: Option<u64>, relocations| match told {
        Some(size) if begins_each_entry(section, size) => size,
        _ => measured(relocations),
    };
    let size = match table {
        Table::Altinstructions => believed(sizes.altinstructions, 2),
        Table::Jump => believed(sizes.jump_table, 3),
        Table::Bug => match sizes.bug_table {
            Some(size) if begins_each_entry(section, size) => size,
            _ => between_places(unit, index),
        },
        Table::Exception => sizes
            .ex_table
            .unwrap_or_else(|| exception_size(unit, index)),
        Table::Paravirt => sizes.parainstructions,
        Table::StaticCall => 8,
        Table::OrcIp | Table::Call => 4,
        Table::Sites(size) => size,
    };
    let sound = match table {
        Table::Altinstructions => (12..=14).contains(&size),
        Table::Jump => size == 16 || size == 24,
        Table::Bug => (8..=24).contains(&size),
        _ => size >= 4,
    };
    if sound {
        Ok(size)
    } else {
        let what = format!("its entries seem to have {size} bytes, which no kernel uses");
        Err(DifferError::damaged(&unit.section(index).name, what))
    }
}

/// Whether entries of this size fill the section and each begins with its place.
fn begins_each_entry(section: &Section, size: u64) -> bool {
    let begins = |start: u64| {
        section
            .relocations
            .binary_search_by_key(&start, |relocation| relocation.offset)
            .is_ok()
    };
    size > 0
        && section.size.is_multiple_of(size)
        && (0..section.size / size).all(|number| begins(number * size))
}

/// From the first place in the code that a section names to the second, or to its end: the size
/// of entries that name one place each.
fn between_places(unit: &Unit, index: usize) -> u64 {
    let section = unit.section(index);
    let is_place = |relocation: &&Relocation| {
        let place = unit.location(index, relocation);
        place.is_some_and(|(home, _)| unit.section(home).is_code())
    };
    let mut places = section.relocations.iter().filter(is_place);
    let first = places.next().map_or(0, |relocation| relocation.offset);
    places.next().map_or(section.size, |second| second.offset) - first
}

/// An entry is two places in the code (8 bytes), to which 4.6 added a handler and later kernels a
/// type. So what follows the second place tells: in the short form, the place of the next entry.
fn exception_size(unit: &Unit, index: usize) -> u64 {
    let section = unit.section(index);
    let place = |relocation: &Relocation| {
        let place = unit.location(index, relocation);
        place.is_some_and(|(home, _)| unit.section(home).is_code())
    };
    let short = section.size.is_multiple_of(8)
        && match section.relocations.get(2) {
            None => section.size == 8,
            Some(third) => third.offset == 8 && place(third),
        };
    if short { 8 } else { 12 }
}

fn companions(
    unit: &Unit,
    index: usize,
    table: Table,
) -> Result<Option<(usize, u64)>, DifferError> {
    if table != Table::OrcIp {
        return Ok(None);
    }
    let ips = unit.section(index);
    let found = unit
        .object
        .sections
        .iter()
        .position(|section| section.name == ".orc_unwind");
    let orc = found.ok_or_else(|| DifferError::damaged(&ips.name, "`.orc_unwind` is missing"))?;
    let count = ips.size / 4;
    let size = unit.section(orc).size;
    if count == 0 || !size.is_multiple_of(count) {
        return Err(DifferError::damaged(
            &ips.name,
            "`.orc_unwind` has another number of entries",
        ));
    }
    Ok(Some((orc, size / count)))
}

/// Bytes of the replacement that an `.altinstructions` entry names
/// (kernel: `struct alt_instr.replacementlen`, 6.3 and later have wider flags before it).
pub(crate) fn replacement_length(unit: &Unit, entry: Range) -> u64 {
    let at = if entry.end - entry.start == 14 {
        13
    } else {
        11
    };
    byte(unit, entry, at)
}

/// Bytes of the original code that an `.altinstructions` entry replaces.
pub(crate) fn original_length(unit: &Unit, entry: Range) -> u64 {
    let at = if entry.end - entry.start == 14 {
        12
    } else {
        10
    };
    byte(unit, entry, at)
}

/// Bytes of the call that a `.parainstructions` entry is about, behind its place and its type
/// (kernel: `struct paravirt_patch_site.len`).
pub(crate) fn paravirt_length(unit: &Unit, entry: Range) -> u64 {
    byte(unit, entry, 9)
}

fn byte(unit: &Unit, entry: Range, at: u64) -> u64 {
    let data = &unit.section(entry.section).data;
    data.get((entry.start + at) as usize)
        .map_or(0, |&byte| u64::from(byte))
}
