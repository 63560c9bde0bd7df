//! How functions are called: what they take and give back, as it is passed.
//!
//! The fix is compiled with all callers that the kernel's source has. A function that is exported
//! may have others, in modules that were built elsewhere and call it in the old way; so may a
//! pointer to a function that lies in a structure of the headers for such modules.

use std::path::{Component, Path, PathBuf};

use super::{DEPTH_LIMIT, keyword};
use crate::dwarf::{Dwarf, Entry, Unit, each_child, number, referred, string, text};

/// What a function gives back that gives back nothing.
const NOTHING: &str = "nothing";

/// How much deeper a function lies than the pointer to it: functions that take functions are followed
/// a few times, as each may take many.
const FUNCTION: usize = DEPTH_LIMIT / 4;

/// The types that a function takes and gives back, in words that tell how each is passed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prototype {
    takes: Vec<String>,
    gives: String,
}

impl Prototype {
    /// What callers that were built for this one would do wrong with another.
    pub fn difference(&self, after: &Self) -> Option<String> {
        // Who expected nothing does not look.
        let matters = self.gives != NOTHING;
        self.taken(after)
            .or_else(|| self.given(after).filter(|_| matters))
    }

    /// What callers or functions that were built for this one would do wrong with another: of a
    /// pointer either may be.
    pub fn either_difference(&self, after: &Self) -> Option<String> {
        self.taken(after).or_else(|| self.given(after))
    }

    fn taken(&self, after: &Self) -> Option<String> {
        let (before, now) = (self.takes.len(), after.takes.len());
        if before != now {
            return Some(format!("takes {now} arguments where it took {before}"));
        }
        let mut pairs = self.takes.iter().zip(&after.takes).zip(1..);
        let ((old, new), number) = pairs.find(|((old, new), _)| old != new)?;
        Some(format!(
            "takes {new} as argument {number} where it took {old}"
        ))
    }

    fn given(&self, after: &Self) -> Option<String> {
        let (old, new) = (&self.gives, &after.gives);
        (old != new).then(|| format!("gives back {new} where it gave {old}"))
    }

    /// The function in words, as who passes a pointer to it sees it.
    fn in_words(&self) -> String {
        let Self { takes, gives } = self;
        let takes = match takes.as_slice() {
            [] => NOTHING.to_owned(),
            takes => takes.join(", "),
        };
        format!("a pointer to a function of {takes} that gives back {gives}")
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
    Ok(Some((name, called(dwarf, unit, entry, 0)?)))
}

/// How an entry with parameters is called.
fn called(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
    depth: usize,
) -> gimli::Result<Prototype> {
    let mut takes = Vec::new();
    each_child(unit, entry.offset(), |child| {
        match child.tag() {
            gimli::DW_TAG_formal_parameter => takes.push(passed(dwarf, unit, child, depth)?),
            gimli::DW_TAG_unspecified_parameters => takes.push("any more".to_owned()),
            _ => {}
        }
        Ok(())
    })?;
    let gives = passed(dwarf, unit, entry, depth)?;
    Ok(Prototype { takes, gives })
}

/// The members of a structure or union that point to functions, those within unnamed ones as
/// `outer.inner`; none unless modules that are built elsewhere can have objects of it.
pub(super) fn pointers(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
) -> gimli::Result<Vec<(String, Prototype)>> {
    let mut found = Vec::new();
    if keyword(entry.tag()).is_some() && is_for_modules(dwarf, unit, entry)? {
        members_pointing(dwarf, unit, entry.offset(), "", 0, &mut found)?;
    }
    Ok(found)
}

/// Adds a type's members that point to functions. `outer` is what the members' names begin with.
fn members_pointing(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    offset: gimli::UnitOffset,
    outer: &str,
    depth: usize,
    found: &mut Vec<(String, Prototype)>,
) -> gimli::Result<()> {
    each_child(unit, offset, |member| {
        if member.tag() != gimli::DW_TAG_member {
            return Ok(());
        }
        let name = text(dwarf, unit, member, gimli::DW_AT_name)?;
        let place = match name {
            Some(name) => format!("{outer}{name}"),
            None => outer.trim_end_matches('.').to_owned(),
        };
        match held(dwarf, unit, member, depth)? {
            Held::Function(prototype) => found.push((place, prototype)),
            Held::Unnamed(inner) if depth < DEPTH_LIMIT => {
                let outer = match place.as_str() {
                    "" => String::new(),
                    place => format!("{place}."),
                };
                members_pointing(dwarf, unit, inner, &outer, depth + 1, found)?;
            }
            Held::Unnamed(_) | Held::Other => {}
        }
        Ok(())
    })
}

/// What a member is, or an array of it has.
enum Held {
    /// A pointer to a function.
    Function(Prototype),
    /// A structure or union without a name.
    Unnamed(gimli::UnitOffset),
    Other,
}

fn held(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
    depth: usize,
) -> gimli::Result<Held> {
    let (mut next, mut is_pointer) = (referred(entry)?, false);
    for _ in 0..DEPTH_LIMIT {
        let Some(offset) = next else {
            break;
        };
        let kind = unit.entry(offset)?;
        match kind.tag() {
            gimli::DW_TAG_typedef | gimli::DW_TAG_const_type | gimli::DW_TAG_volatile_type => {}
            gimli::DW_TAG_subroutine_type if is_pointer => {
                return called(dwarf, unit, &kind, depth + FUNCTION).map(Held::Function);
            }
            _ if is_pointer => break,
            gimli::DW_TAG_pointer_type => is_pointer = true,
            gimli::DW_TAG_array_type => {}
            gimli::DW_TAG_structure_type | gimli::DW_TAG_union_type
                if text(dwarf, unit, &kind, gimli::DW_AT_name)?.is_none() =>
            {
                return Ok(Held::Unnamed(offset));
            }
            _ => break,
        }
        next = referred(&kind)?;
    }
    Ok(Held::Other)
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
            if let Held::Function(function) = held(dwarf, unit, entry, depth)? {
                return Ok(function.in_words());
            }
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
