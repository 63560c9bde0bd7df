//! How functions are called: what they take and give back, as it is passed.
//!
//! The fix is compiled with all callers that the kernel's source has. A function that is exported
//! may have others, in modules that were built elsewhere and call it in the old way; so may a
//! pointer to a function that lies in a structure of the headers for such modules.

use std::path::{Component, Path, PathBuf};

use super::{DEPTH_LIMIT, Dwarf, Entry, Unit, keyword, number, referred, string, text};

/// What a function gives back that gives back nothing.
const NOTHING: &str = "nothing";

/// The types that a function takes and gives back, in words that tell how each is passed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prototype {
    takes: Vec<String>,
    gives: String,
}

impl Prototype {
    /// What callers that were built for this one would do wrong with another.
    pub fn difference(&self, after: &Self) -> Option<String> {
        let (before, now) = (self.takes.len(), after.takes.len());
        if before != now {
            return Some(format!("takes {now} arguments where it took {before}"));
        }
        let mut pairs = self.takes.iter().zip(&after.takes).zip(1..);
        if let Some(((old, new), number)) = pairs.find(|((old, new), _)| old != new) {
            let how = format!("takes {new} as argument {number} where it took {old}");
            return Some(how);
        }
        let (old, new) = (&self.gives, &after.gives);
        // Who expected nothing does not look.
        let matters = old != new && old != NOTHING;
        matters.then(|| format!("gives back {new} where it gave {old}"))
    }
}

/// The name and prototype of a function that other units can call; nothing for other entries, and
/// for mere declarations.
pub(super) fn prototype(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
) -> gimli::Result<Option<(String, Prototype)>> {
    let is = |attribute| entry.attr(attribute).map(|found| found.is_some());
    let global = entry.tag() == gimli::DW_TAG_subprogram
        && is(gimli::DW_AT_external)?
        && !is(gimli::DW_AT_declaration)?;
    let name = text(dwarf, unit, entry, gimli::DW_AT_name)?;
    let Some(name) = name.filter(|_| global) else {
        return Ok(None);
    };
    Ok(Some((name, called(dwarf, unit, entry)?)))
}

/// How an entry with parameters is called.
fn called(dwarf: &Dwarf<'_>, unit: &Unit<'_>, entry: &Entry<'_, '_>) -> gimli::Result<Prototype> {
    let mut takes = Vec::new();
    let mut tree = unit.entries_tree(Some(entry.offset()))?;
    let mut children = tree.root()?.children();
    while let Some(child) = children.next()? {
        match child.entry().tag() {
            gimli::DW_TAG_formal_parameter => takes.push(passed(dwarf, unit, child.entry(), 0)?),
            gimli::DW_TAG_unspecified_parameters => takes.push("any more".to_owned()),
            _ => {}
        }
    }
    let gives = passed(dwarf, unit, entry, 0)?;
    Ok(Prototype { takes, gives })
}

/// The members of a structure that point to functions; none unless modules that are built elsewhere
/// can have objects of it.
pub(super) fn pointers(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
) -> gimli::Result<Vec<(String, Prototype)>> {
    let mut found = Vec::new();
    if entry.tag() != gimli::DW_TAG_structure_type || !is_for_modules(dwarf, unit, entry)? {
        return Ok(found);
    }
    let mut tree = unit.entries_tree(Some(entry.offset()))?;
    let mut children = tree.root()?.children();
    while let Some(child) = children.next()? {
        let member = child.entry();
        if member.tag() == gimli::DW_TAG_member
            && let Some(name) = text(dwarf, unit, member, gimli::DW_AT_name)?
            && let Some(prototype) = pointed(dwarf, unit, member)?
        {
            found.push((name, prototype));
        }
    }
    Ok(found)
}

/// How the function is called to which a member points, if it points to one.
fn pointed(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    member: &Entry<'_, '_>,
) -> gimli::Result<Option<Prototype>> {
    let (mut next, mut is_pointer) = (referred(member)?, false);
    for _ in 0..DEPTH_LIMIT {
        let Some(offset) = next else {
            break;
        };
        let kind = unit.entry(offset)?;
        match kind.tag() {
            gimli::DW_TAG_pointer_type if is_pointer => break,
            gimli::DW_TAG_pointer_type => is_pointer = true,
            gimli::DW_TAG_typedef | gimli::DW_TAG_const_type | gimli::DW_TAG_volatile_type => {}
            gimli::DW_TAG_subroutine_type if is_pointer => {
                return called(dwarf, unit, &kind).map(Some);
            }
            _ => break,
        }
        next = referred(&kind)?;
    }
    Ok(None)
}

/// Whether a type is declared in a header that distributions ship for modules built elsewhere.
fn is_for_modules(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
) -> gimli::Result<bool> {
    let (Some(number), Some(lines)) = (
        number(entry, gimli::DW_AT_decl_file)?,
        unit.line_program.as_ref(),
    ) else {
        return Ok(false);
    };
    let lines = lines.header();
    let Some(file) = lines.file(u64::try_from(number).unwrap_or(u64::MAX)) else {
        return Ok(false);
    };
    let folder = file.directory(lines);
    let folder = folder
        .map(|folder| string(dwarf, unit, folder))
        .transpose()?;
    let name = string(dwarf, unit, file.path_name())?;
    Ok(is_shipped(
        &PathBuf::from(folder.unwrap_or_default()).join(name),
    ))
}

/// Of a path in a kernel's source: `include/…` and `arch/x86/include/…` are; of a whole path, what
/// lies anywhere below an `include` may be.
fn is_shipped(path: &Path) -> bool {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let names: Vec<_> = names.collect();
    let Some(place) = names.iter().position(|name| *name == "include") else {
        return false;
    };
    path.is_absolute() || place == 0 || place == 2 && names[0] == "arch"
}

/// The type of an entry, as far as it matters to who passes it: numbers of one size are the same.
fn passed(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
    depth: usize,
) -> gimli::Result<String> {
    let Some(offset) = referred(entry)?.filter(|_| depth < DEPTH_LIMIT) else {
        return Ok(NOTHING.to_owned());
    };
    let kind = unit.entry(offset)?;
    let name = text(dwarf, unit, &kind, gimli::DW_AT_name)?;
    match (kind.tag(), name) {
        (gimli::DW_TAG_pointer_type, _) => {
            let to = passed(dwarf, unit, &kind, depth + 1)?;
            let named = ["struct ", "union "]
                .iter()
                .any(|word| to.starts_with(word));
            Ok(if named {
                format!("{to} *")
            } else {
                "a pointer".to_owned()
            })
        }
        (gimli::DW_TAG_base_type | gimli::DW_TAG_enumeration_type, _) => {
            let size = number(&kind, gimli::DW_AT_byte_size)?.unwrap_or_default();
            Ok(format!("a number of {size} bytes"))
        }
        (tag, Some(name)) if keyword(tag).is_some() => {
            Ok(format!("{} {name}", keyword(tag).unwrap_or_default()))
        }
        // A typedef, a qualifier, or something without a name of its own.
        _ => passed(dwarf, unit, &kind, depth + 1),
    }
}
