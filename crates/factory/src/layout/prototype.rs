//! How functions are called: what they take and give back, as it is passed.
//!
//! The fix is compiled with all callers that the kernel's source has. A function that is exported
//! may have others, in modules that were built elsewhere and call it in the old way.

use super::{DEPTH_LIMIT, Dwarf, Entry, Unit, keyword, number, referred, text};

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
    Ok(Some((name, Prototype { takes, gives })))
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
