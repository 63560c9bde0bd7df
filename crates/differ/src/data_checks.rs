//! What speaks against a patch in the data and the tables of a unit.

use std::collections::{BTreeMap, BTreeSet};

use crate::ignore::Ignored;
use crate::left_out::LeftOut;
use crate::matcher::Matcher;
use crate::names::without_digits;
use crate::refusal::Refusal;
use crate::special::{Role, is_init, lists_constants_in_code, role};
use crate::unit::{Target, Unit};

/// Objects with equal content tell which static variables correspond.
pub(crate) fn learn_from_content(matcher: &mut Matcher<'_>) {
    for (old, new) in pairs(matcher) {
        let (same, attempt) = matcher.same_content(old, new);
        if same {
            for (a, b) in attempt.assumed.into_inner() {
                matcher.pair_data(a, b);
            }
        }
    }
}

/// Reasons against a patch, and parts of the fix that a patch goes without.
pub(crate) fn refusals(
    matcher: &Matcher<'_>,
    ignored: &Ignored,
) -> (Vec<Refusal>, BTreeSet<LeftOut>) {
    let covered = |atom: usize| ignored.covers_section(&matcher.new.section_of(atom).name);
    let mut refusals: Vec<Refusal> = pairs(matcher)
        .into_iter()
        .filter(|&(_, new)| !covered(new))
        .filter_map(|(old, new)| of_object(matcher, old, new))
        .collect();
    refusals.extend(of_sections(matcher));
    let (of_tables, left_out) = of_tables(matcher.old, matcher.new, ignored);
    refusals.extend(of_tables);
    (refusals, left_out)
}

fn pairs(matcher: &Matcher<'_>) -> Vec<(usize, usize)> {
    let mut pairs: Vec<(usize, usize)> = matcher
        .data
        .iter()
        .map(|(&old, &new)| (old, new))
        .filter(|&(old, _)| role(&matcher.old.section_of(old).name) == Role::Plain)
        .collect();
    pairs.sort_unstable();
    pairs
}

fn of_object(matcher: &Matcher<'_>, old: usize, new: usize) -> Option<Refusal> {
    let (before, after) = (matcher.old.section_of(old), matcher.new.section_of(new));
    let symbol = matcher.old.name(old).to_owned();
    let (from, to) = (matcher.old.symbol(old).size, matcher.new.symbol(new).size);
    if from != to && is_device_table(matcher, new) {
        return Some(Refusal::DeviceTable { symbol });
    }
    let section = before.name.clone();
    let changed = from != to || !matcher.same_content(old, new).0;
    if changed && is_init(&section) {
        return Some(Refusal::InitData { symbol, section });
    }
    let constant = !before.is_writable() || section.starts_with(".data.rel.ro");
    if from != to && constant {
        return Some(Refusal::ConstantSize {
            symbol,
            old: from,
            new: to,
        });
    }
    if from != to {
        return Some(Refusal::DataSize {
            symbol,
            old: from,
            new: to,
        });
    }
    if before.flags != after.flags || data_class(&before.name) != data_class(&after.name) {
        let (old, new) = (before.name.clone(), after.name.clone());
        return Some(Refusal::Moved { symbol, old, new });
    }
    if !changed {
        return None;
    }
    if before.grouped || after.grouped {
        return Some(Refusal::Grouped { symbol });
    }
    if is_device_table(matcher, new) {
        return Some(Refusal::DeviceTable { symbol });
    }
    Some(if constant {
        Refusal::ConstantChanged { symbol, section }
    } else {
        Refusal::InitialValue { symbol, section }
    })
}

/// Whether the object is one that `MODULE_DEVICE_TABLE` made an alias of, which has another name
/// at the same place (kernel: include/linux/module.h).
fn is_device_table(matcher: &Matcher<'_>, atom: usize) -> bool {
    let symbol = matcher.new.symbol(atom);
    let place = (symbol.home, symbol.value);
    let mut symbols = matcher.new.object.symbols.iter();
    symbols.any(|other| {
        (other.home, other.value) == place
            && other.name.starts_with("__mod_")
            && other.name.ends_with("_device_table")
    })
}

/// Sections with a meaning (`.data..read_mostly`) are their own class; `.data.x` and `.bss.x`
/// are variables alike, and a difference between them is one of the initial value.
fn data_class(section: &str) -> &str {
    for class in [".data.rel.ro", ".data.rel", ".rodata"] {
        if section == class
            || section
                .strip_prefix(class)
                .is_some_and(|rest| rest.starts_with('.'))
        {
            return if class == ".rodata" {
                ".rodata"
            } else {
                ".data"
            };
        }
    }
    let special = section.starts_with(".data..") || section.starts_with(".bss..");
    if !special && (section.starts_with(".data") || section.starts_with(".bss")) {
        return ".data";
    }
    section
}

/// Sections of one name must stay what they are.
fn of_sections(matcher: &Matcher<'_>) -> Vec<Refusal> {
    let kinds = |unit: &Unit| -> BTreeMap<String, BTreeSet<(u64, u64)>> {
        let mut kinds: BTreeMap<String, BTreeSet<(u64, u64)>> = BTreeMap::new();
        for section in unit
            .object
            .sections
            .iter()
            .filter(|section| section.is_alloc())
        {
            kinds
                .entry(section.name.clone())
                .or_default()
                .insert((section.flags, section.entsize));
        }
        kinds
    };
    let after = kinds(matcher.new);
    kinds(matcher.old)
        .into_iter()
        .filter(|(name, kind)| after.get(name).is_some_and(|other| other != kind))
        .map(|(section, _)| Refusal::SectionChanged { section })
        .collect()
}

/// Tables that the kernel reads once: nothing may be added to them or changed in them. Exports are
/// left out, and what is for those who read a module's file.
fn of_tables(old: &Unit, new: &Unit, ignored: &Ignored) -> (Vec<Refusal>, BTreeSet<LeftOut>) {
    let before = tables(old);
    let (mut refusals, mut left_out) = (Vec::new(), BTreeSet::new());
    for ((role, name), content) in tables(new) {
        if ignored.covers_section(&name) {
            continue;
        }
        let known = before.get(&(role.clone(), name.clone()));
        let is_added = |(entry, count): &(&Vec<u8>, &usize)| {
            known
                .and_then(|known| known.get(*entry))
                .is_none_or(|known| known < *count)
        };
        let added: Vec<&Vec<u8>> = content
            .iter()
            .filter(is_added)
            .map(|(entry, _)| entry)
            .collect();
        if added.is_empty() {
            continue;
        }
        if name == MODULE_INFORMATION && added.iter().all(|text| is_for_readers(text)) {
            left_out.extend(added.iter().map(|text| LeftOut::ModuleText {
                text: String::from_utf8_lossy(text).into_owned(),
            }));
            continue;
        }
        match role.as_str() {
            "export" => {
                let symbol = name
                    .split_once('+')
                    .map_or(name.as_str(), |(_, symbol)| symbol);
                let symbol = symbol.to_owned();
                left_out.insert(LeftOut::Export { symbol });
            }
            "unknown" if lists_constants_in_code(&name) => {
                refusals.push(Refusal::ConstantInCode { section: name });
            }
            "unknown" => refusals.push(Refusal::UnknownTable { section: name }),
            _ => refusals.push(Refusal::LoadTimeTable { section: name }),
        }
    }
    (refusals, left_out)
}

const MODULE_INFORMATION: &str = ".modinfo";

/// Whether nothing that runs depends on a text `key=text` of a module's information: not on how the
/// module is found, linked, or what parameters it takes (kernel: include/linux/module.h). Of what is
/// built in, the key has the module's name before it.
fn is_for_readers(text: &[u8]) -> bool {
    let key = text.split(|&byte| byte == b'=').next().unwrap_or_default();
    let key = key.rsplit(|&byte| byte == b'.').next().unwrap_or_default();
    let keys = ["author", "description", "firmware", "parm", "version"];
    keys.iter().any(|known| known.as_bytes() == key)
}

type Content = BTreeMap<Vec<u8>, usize>;

/// The tables of a unit by name; the strings of `.modinfo` one by one, the others whole.
fn tables(unit: &Unit) -> BTreeMap<(String, String), Content> {
    let mut tables: BTreeMap<(String, String), Content> = BTreeMap::new();
    for (index, section) in unit.object.sections.iter().enumerate() {
        let kind = match role(&section.name) {
            Role::LoadTime => "load",
            Role::Export => "export",
            Role::Unknown => "unknown",
            _ => continue,
        };
        if !section.is_alloc() || section.size == 0 {
            continue;
        }
        let content = tables
            .entry((kind.to_owned(), section.name.clone()))
            .or_default();
        if section.name == MODULE_INFORMATION {
            for text in section.data.split(|&byte| byte == 0) {
                content.insert(text.to_vec(), 1);
            }
        } else {
            *content.entry(described(unit, index)).or_default() += 1;
        }
    }
    tables
}

/// Bytes, symbols and references of a section, as text that compares between objects. The names
/// of symbols are content where another tool fills in the values (`.BTF_ids`).
fn described(unit: &Unit, index: usize) -> Vec<u8> {
    let section = unit.section(index);
    let mut out = if section.is_nobits() {
        section.size.to_le_bytes().to_vec()
    } else {
        section.data.clone()
    };
    for symbol in unit
        .object
        .symbols
        .iter()
        .filter(|symbol| symbol.section() == Some(index))
    {
        out.extend(format!("\n{:#x} {}", symbol.value, without_digits(&symbol.name)).bytes());
    }
    for relocation in &section.relocations {
        out.extend(format!("\n{:#x} {} ", relocation.offset, relocation.r_type).bytes());
        match unit.target(index, relocation) {
            Target::Outside { symbol, offset } | Target::Atom { symbol, offset } => {
                out.extend(format!("{}{offset:+}", without_digits(unit.name(symbol))).bytes());
            }
            Target::Literal { section, offset } => out.extend(unit.literal(section, offset)),
            Target::Constant { section, offset } => {
                let target = unit.section(section);
                let end = (offset + target.entsize).min(target.size);
                out.extend(target.bytes(offset, end).unwrap_or_default().iter());
            }
            Target::Place { section, offset } => {
                let name = without_digits(&unit.section(section).name);
                out.extend(format!("{name}{offset:+}").bytes());
            }
        }
    }
    out
}
