//! Whether a fix changes the layout of a data structure, or how a function is called.
//!
//! Objects that the running kernel has made keep the layout that they were made with, and code
//! outside of the patch goes on to make more of them. Code that expects another layout would
//! corrupt them, however many functions are replaced. The compiler's debug information of the
//! unit tells the layouts before and after.

mod on_stacks;
mod prototype;
mod refusals;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::dwarf::{Dwarf, Entry, Unit, each_child, each_entry, number, referred, text};
use crate::error::{FactoryError, Refusal};
pub(crate) use on_stacks::{Compiles, outlives_calls};
use prototype::{Prototype, prototype};
pub(crate) use refusals::{laid_out_anew, refusals};

/// Deepest nesting of types that is followed; C code has a handful.
const DEPTH_LIMIT: usize = 32;

/// What names of enumerations start with.
const ENUM: &str = "enum ";

/// What a unit's debug information tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Layouts {
    /// Sizes and fields by the type's name (`struct sock`, `enum x`).
    types: BTreeMap<String, Vec<Layout>>,
    /// By the function's name, those that other units can call.
    functions: BTreeMap<String, Prototype>,
    /// By the structure's name and the member's, those that modules built elsewhere can call or
    /// fill.
    pointers: BTreeMap<(String, String), Prototype>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Layout {
    size: u64,
    /// Where it is told.
    alignment: Option<i128>,
    members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Member {
    name: String,
    /// In bits from the start; the value, for an enumerator.
    place: i128,
    /// What takes the place, in which all pointers are the same.
    kind: String,
    /// With what pointers point to.
    spelled: String,
}

impl Layout {
    fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }
}

/// A data structure that the fix lays out anew, or a function that it lets be called in another
/// way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Changed {
    /// e.g. `struct sock`, or `sock_init_data`.
    pub name: String,
    /// What is different, e.g. "`x` is new".
    pub how: String,
}

impl Changed {
    pub fn refusal(self, unit: &str) -> Refusal {
        Refusal::Layout {
            units: vec![unit.to_owned()],
            name: self.name,
            how: self.how,
        }
    }
}

/// A structure's member through which functions are called in another way with the fix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangedPointer {
    /// e.g. `struct proto_ops`.
    table: String,
    member: String,
    how: String,
}

impl ChangedPointer {
    pub fn refusal(self, unit: &str) -> Refusal {
        Refusal::PointerCalledAnew {
            units: vec![unit.to_owned()],
            table: self.table,
            member: self.member,
            how: self.how,
        }
    }
}

impl Layouts {
    /// Reads the debug information of a compiled unit.
    pub fn of(bytes: &[u8]) -> Result<Self, String> {
        read(bytes).map_err(|error| format!("its debug information is unreadable: {error}"))
    }

    /// [`Self::of`] the object of a unit, which an error names.
    pub fn of_unit(unit: &str, bytes: &[u8]) -> Result<Self, FactoryError> {
        Self::of(bytes).map_err(|why| FactoryError::Differ {
            what: unit.to_owned(),
            why,
        })
    }

    /// The types of both that are laid out differently.
    pub fn changed(&self, patched: &Self) -> Vec<Changed> {
        let changed = self.types.iter().filter_map(|(name, before)| {
            let after = patched.types.get(name)?;
            // Several types may have one name, in functions of their own.
            let gone = before.iter().filter(|layout| !after.contains(layout));
            let come: Vec<&Layout> = after.iter().filter(|one| !before.contains(one)).collect();
            let mut differences = gone.filter_map(|gone| {
                let differences: Option<Vec<String>> = come
                    .iter()
                    .map(|come| difference(name, gone, come))
                    .collect();
                differences?.into_iter().next()
            });
            let (name, how) = (name.clone(), differences.next()?);
            Some(Changed { name, how })
        });
        changed.collect()
    }

    /// The members that a type has in one of both only, or the enumerators with other values; none
    /// if not exactly one type of that name is known of both.
    pub fn other_members(&self, patched: &Self, name: &str) -> Option<Vec<String>> {
        let only = |layouts: &'_ Self| match layouts.types.get(name)?.as_slice() {
            [only] => Some(only.clone()),
            _ => None,
        };
        let (before, after) = (only(self)?, only(patched)?);
        let is_enum = name.starts_with(ENUM);
        let differs = |member: &&Member, other: &Layout| match other.member(&member.name) {
            Some(known) => is_enum && known.place != member.place,
            None => true,
        };
        let of_before = before.members.iter().filter(|one| differs(one, &after));
        let of_after = after.members.iter().filter(|one| differs(one, &before));
        let names = of_before.chain(of_after).map(|member| member.name.clone());
        let names: BTreeSet<String> = names.collect();
        Some(names.into_iter().collect())
    }

    /// The functions of both that are called in another way.
    pub fn called_anew(&self, patched: &Self) -> Vec<Changed> {
        let functions = self.functions.iter().filter_map(|(name, before)| {
            let how = before.difference(patched.functions.get(name)?)?;
            let name = name.clone();
            Some(Changed { name, how })
        });
        functions.collect()
    }

    /// The pointers of both to functions that are called in another way.
    pub fn pointers_called_anew(&self, patched: &Self) -> Vec<ChangedPointer> {
        let pointers = self.pointers.iter().filter_map(|(place, before)| {
            let how = before.either_difference(patched.pointers.get(place)?)?;
            let (table, member) = place.clone();
            Some(ChangedPointer { table, member, how })
        });
        pointers.collect()
    }
}

/// The first difference that matters.
fn difference(name: &str, before: &Layout, after: &Layout) -> Option<String> {
    if name.starts_with(ENUM) {
        return changed_value(before, after);
    }
    let size = if before.size == after.size {
        String::new()
    } else {
        format!(
            ", its size goes from {} to {} bytes",
            before.size, after.size
        )
    };
    for member in &after.members {
        let Member { name, kind, .. } = member;
        match before.member(name) {
            None if is_second_name(member, before, after) => {}
            None => return Some(format!("`{name}` is new{size}")),
            Some(old) if old.place != member.place => {
                return Some(format!("`{name}` moves{size}"));
            }
            Some(old) if old.kind != *kind => {
                let (kind, old) = told_kinds(kind, &old.kind);
                return Some(format!("`{name}` becomes `{kind}` from `{old}`{size}"));
            }
            Some(_) => {}
        }
    }
    let mut gone = before.members.iter();
    let gone = gone.find(|member| after.member(&member.name).is_none());
    if let Some(Member { name, .. }) = gone {
        return Some(format!("`{name}` goes away{size}"));
    }
    if !size.is_empty() {
        return Some(size.trim_start_matches(", ").to_owned());
    }
    (before.alignment != after.alignment).then(|| "its alignment changes".to_owned())
}

/// Two types in words, without what unnamed structures and enumerations hold, if they differ so too.
fn told_kinds(one: &str, other: &str) -> (String, String) {
    let short = |kind: &str| match (kind.find(" [("), kind.rfind(")]")) {
        (Some(from), Some(to)) => format!("{}{}", &kind[..from], &kind[to + 2..]),
        _ => kind.to_owned(),
    };
    match (short(one), short(other)) {
        (one, other) if one != other => (one, other),
        _ => (one.to_owned(), other.to_owned()),
    }
}

/// Whether a new member is another name of one that stays, in a union with it: objects that were
/// made without the new name have the same there.
fn is_second_name(member: &Member, before: &Layout, after: &Layout) -> bool {
    let mut others = before.members.iter();
    others.any(|other| {
        let same = other.place == member.place && other.spelled == member.spelled;
        same && after.member(&other.name) == Some(other)
    })
}

/// An enumerator with another value. Those that only tell how many there are may grow.
fn changed_value(before: &Layout, after: &Layout) -> Option<String> {
    let most = before.members.iter().map(|member| member.place).max()?;
    let counts = |value: i128| value >= most - 1;
    let value = before.members.iter().find_map(|member| {
        let (name, value) = (&member.name, member.place);
        let now = after.member(name)?.place;
        (now != value && !counts(value)).then(|| format!("`{name}` becomes {now} from {value}"))
    });
    value.or_else(|| {
        let signed = |layout: &Layout| layout.members.iter().any(|member| member.place < 0);
        let other = before.size != after.size || signed(before) != signed(after);
        other.then(|| "it becomes another number".to_owned())
    })
}

fn read(bytes: &[u8]) -> Result<Layouts, Box<dyn std::error::Error>> {
    let mut layouts = Layouts::default();
    each_entry(bytes, |dwarf, unit, entry, _| {
        if let Some((name, layout)) = layout(dwarf, unit, entry)? {
            for (member, prototype) in prototype::pointers(dwarf, unit, entry)? {
                layouts.pointers.insert((name.clone(), member), prototype);
            }
            layouts.types.entry(name).or_default().push(layout);
        } else if let Some((name, prototype)) = prototype(dwarf, unit, entry)? {
            layouts.functions.insert(name, prototype);
        }
        Ok(())
    })?;
    for variants in layouts.types.values_mut() {
        variants.sort();
        variants.dedup();
    }
    Ok(layouts)
}

/// The name and layout of a type's definition; nothing for other entries, for mere declarations,
/// and for types without a name, which show as the types of members.
fn layout(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
) -> gimli::Result<Option<(String, Layout)>> {
    let Some(keyword) = keyword(entry.tag()) else {
        return Ok(None);
    };
    let (Some(name), Some(size)) = (
        text(dwarf, unit, entry, gimli::DW_AT_name)?,
        number(entry, gimli::DW_AT_byte_size)?,
    ) else {
        return Ok(None);
    };
    let layout = Layout {
        size: u64::try_from(size).unwrap_or_default(),
        alignment: number(entry, gimli::DW_AT_alignment)?,
        members: members(dwarf, unit, entry.offset(), 0)?,
    };
    Ok(Some((format!("{keyword} {name}"), layout)))
}

fn keyword(tag: gimli::DwTag) -> Option<&'static str> {
    match tag {
        gimli::DW_TAG_structure_type => Some("struct"),
        gimli::DW_TAG_union_type => Some("union"),
        gimli::DW_TAG_enumeration_type => Some("enum"),
        _ => None,
    }
}

/// Members of a structure and enumerators of an enumeration. Those of an unnamed member count as
/// the structure's own, as in C.
fn members(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    offset: gimli::UnitOffset,
    depth: usize,
) -> gimli::Result<Vec<Member>> {
    let mut found = Vec::new();
    each_child(unit, offset, |entry| {
        let name = text(dwarf, unit, entry, gimli::DW_AT_name)?;
        if entry.tag() == gimli::DW_TAG_enumerator {
            found.push(Member {
                name: name.unwrap_or_default(),
                place: number(entry, gimli::DW_AT_const_value)?.unwrap_or_default(),
                kind: String::new(),
                spelled: String::new(),
            });
        } else if entry.tag() == gimli::DW_TAG_member {
            let place = place(entry)?;
            match (name, referred(entry)?) {
                (None, Some(kind)) if depth < DEPTH_LIMIT => {
                    let inner = members(dwarf, unit, kind, depth + 1)?.into_iter();
                    found.extend(inner.map(|inner| Member {
                        place: place + inner.place,
                        ..inner
                    }));
                }
                (name, kind) => {
                    let word = |pointers| member_type(dwarf, unit, entry, kind, pointers, depth);
                    found.push(Member {
                        name: name.unwrap_or_default(),
                        place,
                        kind: word(Pointers::Alike)?,
                        spelled: word(Pointers::Spelled)?,
                    });
                }
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// A member's type, with how many bits of it the member has and where it must lie, if that is told.
fn member_type(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
    kind: Option<gimli::UnitOffset>,
    pointers: Pointers,
    depth: usize,
) -> gimli::Result<String> {
    let mut words = match kind {
        Some(kind) => type_name(dwarf, unit, kind, pointers, depth)?,
        None => String::new(),
    };
    if let Some(bits) = number(entry, gimli::DW_AT_bit_size)? {
        words.push_str(&format!(" of {bits} bits"));
    }
    if let Some(bytes) = number(entry, gimli::DW_AT_alignment)? {
        words.push_str(&format!(" at a multiple of {bytes} bytes"));
    }
    Ok(words)
}

/// A member's place in bits. A bit field carries its own; the rest a place in bytes.
fn place(entry: &Entry<'_, '_>) -> gimli::Result<i128> {
    if let Some(bits) = number(entry, gimli::DW_AT_data_bit_offset)? {
        return Ok(bits);
    }
    let bytes = number(entry, gimli::DW_AT_data_member_location)?.unwrap_or_default();
    Ok(bytes * 8)
}

/// How pointers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pointers {
    /// What a pointer points to does not matter for the layout.
    Alike,
    Spelled,
}

/// A type in words that tell its size: `const struct sock *`, `u8 [16]`. Qualifiers that change
/// nothing in memory are left out; a named structure shows its own changes by itself.
fn type_name(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    offset: gimli::UnitOffset,
    pointers: Pointers,
    depth: usize,
) -> gimli::Result<String> {
    if depth >= DEPTH_LIMIT {
        return Ok("…".to_owned());
    }
    let entry = unit.entry(offset)?;
    let name = text(dwarf, unit, &entry, gimli::DW_AT_name)?;
    let inner = || match referred(&entry)? {
        Some(inner) => type_name(dwarf, unit, inner, pointers, depth + 1),
        None => Ok("void".to_owned()),
    };
    match entry.tag() {
        gimli::DW_TAG_pointer_type if pointers == Pointers::Alike => Ok("a pointer".to_owned()),
        gimli::DW_TAG_pointer_type => Ok(format!("{} *", inner()?)),
        gimli::DW_TAG_subroutine_type => {
            let takes = parameters(dwarf, unit, offset, pointers, depth + 1)?;
            Ok(format!("{} ({})", inner()?, takes.join(", ")))
        }
        gimli::DW_TAG_typedef => match number(&entry, gimli::DW_AT_alignment)? {
            Some(bytes) => Ok(format!("{} at a multiple of {bytes} bytes", inner()?)),
            None => inner(),
        },
        gimli::DW_TAG_const_type
        | gimli::DW_TAG_volatile_type
        | gimli::DW_TAG_restrict_type
        | gimli::DW_TAG_atomic_type => inner(),
        gimli::DW_TAG_array_type => Ok(format!("{} {:?}", inner()?, bounds(unit, offset)?)),
        tag => match (keyword(tag), name) {
            (Some(keyword), Some(name)) => Ok(format!("{keyword} {name}")),
            (None, Some(name)) => Ok(name),
            (Some(keyword), None) => {
                let members = members(dwarf, unit, offset, depth + 1)?;
                let size = number(&entry, gimli::DW_AT_byte_size)?.unwrap_or_default();
                let told = members.iter().map(|member| {
                    let kind = match pointers {
                        Pointers::Alike => &member.kind,
                        Pointers::Spelled => &member.spelled,
                    };
                    (&member.name, member.place, kind)
                });
                let told: Vec<_> = told.collect();
                Ok(format!("{keyword} of {size} bytes {told:?}"))
            }
            (None, None) => Ok(String::new()),
        },
    }
}

fn parameters(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    offset: gimli::UnitOffset,
    pointers: Pointers,
    depth: usize,
) -> gimli::Result<Vec<String>> {
    let mut found = Vec::new();
    each_child(unit, offset, |entry| {
        match (entry.tag(), referred(entry)?) {
            (gimli::DW_TAG_formal_parameter, Some(kind)) => {
                found.push(type_name(dwarf, unit, kind, pointers, depth)?);
            }
            (gimli::DW_TAG_unspecified_parameters, _) => found.push("...".to_owned()),
            _ => {}
        }
        Ok(())
    })?;
    Ok(found)
}

fn bounds(unit: &Unit<'_>, offset: gimli::UnitOffset) -> gimli::Result<Vec<i128>> {
    let mut found = Vec::new();
    each_child(unit, offset, |entry| {
        let last = number(entry, gimli::DW_AT_upper_bound)?;
        let count = number(entry, gimli::DW_AT_count)?;
        found.push(count.or(last.map(|last| last + 1)).unwrap_or_default());
        Ok(())
    })?;
    Ok(found)
}
