//! Whether a fix changes the layout of a data structure, or how a function is called.
//!
//! Objects that the running kernel has made keep the layout that they were made with, and code
//! outside of the patch goes on to make more of them. Code that expects another layout would
//! corrupt them, however many functions are replaced. The compiler's debug information of the
//! unit tells the layouts before and after.

mod prototype;

use std::collections::BTreeMap;

use gimli::{AttributeValue, DwAt, EndianSlice, LittleEndian, Reader as _};
use object::read::RelocationMap;
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _};
use std::borrow::Cow;

use prototype::{Prototype, prototype};

/// Deepest nesting of types that is followed; C code has a handful.
const DEPTH_LIMIT: usize = 32;

/// What a unit's debug information tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Layouts {
    /// Sizes and fields by the type's name (`struct sock`, `enum x`).
    types: BTreeMap<String, Vec<Layout>>,
    /// By the function's name, those that other units can call.
    functions: BTreeMap<String, Prototype>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Layout {
    size: u64,
    /// Name, place in bits from the start (the value, for an enumerator), and type.
    members: Vec<(String, i128, String)>,
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

type Slice<'a> = gimli::RelocateReader<EndianSlice<'a, LittleEndian>, &'a Relocations>;
type Dwarf<'a> = gimli::Dwarf<Slice<'a>>;
type Entry<'a, 'u> = gimli::DebuggingInformationEntry<'u, 'u, Slice<'a>, usize>;
type Unit<'a> = gimli::Unit<Slice<'a>>;

/// A section's relocations, which object files need for their debug information.
#[derive(Debug, Default)]
struct Relocations(RelocationMap);

impl gimli::Relocate for &'_ Relocations {
    fn relocate_address(&self, offset: usize, value: u64) -> gimli::Result<u64> {
        Ok(self.0.relocate(offset as u64, value))
    }

    fn relocate_offset(&self, offset: usize, value: usize) -> gimli::Result<usize> {
        let relocated = self.0.relocate(offset as u64, value as u64);
        usize::try_from(relocated).map_err(|_| gimli::Error::UnsupportedOffset)
    }
}

impl Layouts {
    /// Reads the debug information of a compiled unit.
    pub fn of(bytes: &[u8]) -> Result<Self, String> {
        read(bytes).map_err(|error| format!("its debug information is unreadable: {error}"))
    }

    /// The types of both that are laid out differently.
    pub fn changed(&self, patched: &Self) -> Vec<Changed> {
        let changed = self.types.iter().filter_map(|(name, before)| {
            let after = patched.types.get(name)?;
            // Several types may have one name, in functions of their own.
            let gone = before.iter().find(|layout| !after.contains(layout))?;
            let come = after.iter().find(|layout| !before.contains(layout))?;
            let (name, how) = (name.clone(), difference(name, gone, come)?);
            Some(Changed { name, how })
        });
        changed.collect()
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
}

/// The first difference that matters.
fn difference(name: &str, before: &Layout, after: &Layout) -> Option<String> {
    if name.starts_with("enum ") {
        return changed_value(before, after);
    }
    let find = |layout: &'_ Layout, name: &str| -> Option<(i128, String)> {
        let member = layout.members.iter().find(|(known, _, _)| known == name)?;
        Some((member.1, member.2.clone()))
    };
    let size = if before.size == after.size {
        String::new()
    } else {
        format!(
            ", its size goes from {} to {} bytes",
            before.size, after.size
        )
    };
    for (member, place, kind) in &after.members {
        match find(before, member) {
            None => return Some(format!("`{member}` is new{size}")),
            Some((old, _)) if old != *place => return Some(format!("`{member}` moves{size}")),
            Some((_, old)) if old != *kind => {
                return Some(format!("`{member}` becomes `{kind}` from `{old}`{size}"));
            }
            Some(_) => {}
        }
    }
    let gone = before
        .members
        .iter()
        .find(|(member, _, _)| find(after, member).is_none());
    match gone {
        Some((member, _, _)) => Some(format!("`{member}` goes away{size}")),
        None => (!size.is_empty()).then(|| size.trim_start_matches(", ").to_owned()),
    }
}

/// An enumerator with another value. Those that only tell how many there are may grow.
fn changed_value(before: &Layout, after: &Layout) -> Option<String> {
    let most = before.members.iter().map(|(_, value, _)| *value).max()?;
    let counts = |value: i128| value >= most - 1;
    before.members.iter().find_map(|(name, value, _)| {
        let (_, now, _) = after.members.iter().find(|(known, _, _)| known == name)?;
        (now != value && !counts(*value)).then(|| format!("`{name}` becomes {now} from {value}"))
    })
}

fn read(bytes: &[u8]) -> Result<Layouts, Box<dyn std::error::Error>> {
    let file: ElfFile64<'_> = ElfFile64::parse(bytes)?;
    let load = |id: gimli::SectionId| -> Result<(Cow<'_, [u8]>, Relocations), object::Error> {
        match file.section_by_name(id.name()) {
            Some(section) => {
                let relocations = Relocations(section.relocation_map()?);
                Ok((Cow::Borrowed(section.data()?), relocations))
            }
            None => Ok((Cow::Borrowed(&[]), Relocations::default())),
        }
    };
    let sections = gimli::DwarfSections::load(load)?;
    let dwarf: Dwarf<'_> = sections.borrow(|(data, relocations)| {
        gimli::RelocateReader::new(EndianSlice::new(data, LittleEndian), relocations)
    });
    let mut layouts = Layouts::default();
    let mut headers = dwarf.units();
    while let Some(header) = headers.next()? {
        let unit = dwarf.unit(header)?;
        let mut entries = unit.entries();
        while let Some((_, entry)) = entries.next_dfs()? {
            if let Some((name, layout)) = layout(&dwarf, &unit, entry)? {
                layouts.types.entry(name).or_default().push(layout);
            } else if let Some((name, prototype)) = prototype(&dwarf, &unit, entry)? {
                layouts.functions.insert(name, prototype);
            }
        }
    }
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
    let members = members(dwarf, unit, entry.offset(), 0)?;
    let size = u64::try_from(size).unwrap_or_default();
    Ok(Some((
        format!("{keyword} {name}"),
        Layout { size, members },
    )))
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
) -> gimli::Result<Vec<(String, i128, String)>> {
    let mut found = Vec::new();
    let mut tree = unit.entries_tree(Some(offset))?;
    let mut children = tree.root()?.children();
    while let Some(child) = children.next()? {
        let entry = child.entry();
        let name = text(dwarf, unit, entry, gimli::DW_AT_name)?;
        if entry.tag() == gimli::DW_TAG_enumerator {
            let value = number(entry, gimli::DW_AT_const_value)?.unwrap_or_default();
            found.push((name.unwrap_or_default(), value, String::new()));
        } else if entry.tag() == gimli::DW_TAG_member {
            let place = place(entry)?;
            match (name, referred(entry)?) {
                (Some(name), kind) => {
                    let kind = kind.map_or(Ok(String::new()), |kind| {
                        type_name(dwarf, unit, kind, depth)
                    })?;
                    found.push((name, place, kind));
                }
                (None, Some(kind)) if depth < DEPTH_LIMIT => {
                    let inner = members(dwarf, unit, kind, depth + 1)?.into_iter();
                    found.extend(inner.map(|(name, at, kind)| (name, place + at, kind)));
                }
                (None, _) => found.push((String::new(), place, String::new())),
            }
        }
    }
    Ok(found)
}

/// A member's place in bits. A bit field carries its own; the rest a place in bytes.
fn place(entry: &Entry<'_, '_>) -> gimli::Result<i128> {
    if let Some(bits) = number(entry, gimli::DW_AT_data_bit_offset)? {
        return Ok(bits);
    }
    let bytes = number(entry, gimli::DW_AT_data_member_location)?.unwrap_or_default();
    Ok(bytes * 8)
}

/// A type in words that tell its size: `const struct sock *`, `u8 [16]`. Qualifiers that change
/// nothing in memory are left out; a named structure shows its own changes by itself.
fn type_name(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    offset: gimli::UnitOffset,
    depth: usize,
) -> gimli::Result<String> {
    if depth >= DEPTH_LIMIT {
        return Ok("…".to_owned());
    }
    let entry = unit.entry(offset)?;
    let name = text(dwarf, unit, &entry, gimli::DW_AT_name)?;
    let inner = || match referred(&entry)? {
        Some(inner) => type_name(dwarf, unit, inner, depth + 1),
        None => Ok("void".to_owned()),
    };
    match entry.tag() {
        // What a pointer points to does not matter for the layout.
        gimli::DW_TAG_pointer_type => Ok("a pointer".to_owned()),
        gimli::DW_TAG_const_type
        | gimli::DW_TAG_volatile_type
        | gimli::DW_TAG_restrict_type
        | gimli::DW_TAG_atomic_type
        | gimli::DW_TAG_typedef => inner(),
        gimli::DW_TAG_array_type => Ok(format!("{} {:?}", inner()?, bounds(unit, offset)?)),
        tag => match (keyword(tag), name) {
            (Some(keyword), Some(name)) => Ok(format!("{keyword} {name}")),
            (None, Some(name)) => Ok(name),
            (Some(keyword), None) => {
                let members = members(dwarf, unit, offset, depth + 1)?;
                let size = number(&entry, gimli::DW_AT_byte_size)?.unwrap_or_default();
                Ok(format!("{keyword} of {size} bytes {members:?}"))
            }
            (None, None) => Ok(String::new()),
        },
    }
}

fn bounds(unit: &Unit<'_>, offset: gimli::UnitOffset) -> gimli::Result<Vec<i128>> {
    let mut found = Vec::new();
    let mut tree = unit.entries_tree(Some(offset))?;
    let mut children = tree.root()?.children();
    while let Some(child) = children.next()? {
        let entry = child.entry();
        let last = number(entry, gimli::DW_AT_upper_bound)?;
        let count = number(entry, gimli::DW_AT_count)?;
        found.push(count.or(last.map(|last| last + 1)).unwrap_or_default());
    }
    Ok(found)
}

fn referred(entry: &Entry<'_, '_>) -> gimli::Result<Option<gimli::UnitOffset>> {
    Ok(match entry.attr_value(gimli::DW_AT_type)? {
        Some(AttributeValue::UnitRef(offset)) => Some(offset),
        _ => None,
    })
}

fn number(entry: &Entry<'_, '_>, name: DwAt) -> gimli::Result<Option<i128>> {
    // A constant of one byte has no sign of its own: what the compiler means as negative it writes
    // in a signed form.
    Ok(entry.attr(name)?.and_then(|attribute| {
        let unsigned = attribute.udata_value().map(i128::from);
        unsigned.or(attribute.sdata_value().map(i128::from))
    }))
}

fn text(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
    name: DwAt,
) -> gimli::Result<Option<String>> {
    let Some(value) = entry.attr_value(name)? else {
        return Ok(None);
    };
    let string = dwarf.attr_string(unit, value)?;
    Ok(Some(string.to_string_lossy()?.into_owned()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn compiled(declaration: &str) -> Layouts {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("x.c"), folder.path().join("x.o"));
        let source = format!("{declaration}\nint use(struct s *s) {{ return s->last; }}\n");
        std::fs::write(&input, source).unwrap();
        let gcc = Command::new("gcc")
            .args(["-c", "-g", "-O2", "-o"])
            .args([&output, &input])
            .status();
        assert!(gcc.unwrap().success());
        Layouts::of(&std::fs::read(output).unwrap()).unwrap()
    }

    fn changes(before: &str, after: &str) -> Vec<String> {
        let changed = compiled(before).changed(&compiled(after));
        changed
            .iter()
            .map(|one| format!("{}: {}", one.name, one.how))
            .collect()
    }

    const BEFORE: &str = "struct s { int a; struct { short b; }; void *p; int last; };";

    #[test]
    fn a_new_field_and_a_moved_one_are_told() {
        assert_eq!(
            changes(BEFORE, &BEFORE.replace("void *p;", "void *p; long more;")),
            ["struct s: `more` is new, its size goes from 24 to 32 bytes"]
        );
        let in_a_hole = changes(BEFORE, &BEFORE.replace("short b;", "short b, c;"));
        assert_eq!(in_a_hole, ["struct s: `c` is new"]);
        let wider = changes(BEFORE, &BEFORE.replace("int last", "unsigned char last"));
        assert_eq!(
            wider,
            ["struct s: `last` becomes `unsigned char` from `int`"]
        );
        assert_eq!(changes(BEFORE, &BEFORE.replace("int a;", "")).len(), 1);
    }

    #[test]
    fn sizes_that_fill_a_byte_are_told() {
        let with = |last: &str| BEFORE.replace("void *p;", &format!("void *p[20]; {last}"));
        assert_eq!(
            changes(&with(""), &with("long more;")),
            ["struct s: `more` is new, its size goes from 176 to 184 bytes"]
        );
    }

    #[test]
    fn what_takes_the_same_place_is_no_change() {
        assert!(changes(BEFORE, BEFORE).is_empty());
        assert!(changes(BEFORE, &BEFORE.replace("void *p", "const char *p")).is_empty());
        assert!(changes(BEFORE, &format!("struct t {{ int x; }}; {BEFORE}")).is_empty());
    }

    #[test]
    fn an_enumerator_with_another_value_is_told_and_a_count_may_grow() {
        let with =
            |names: &str| format!("enum e {{ {names} }}; struct s {{ enum e e; int last; }};");
        let before = with("A, B, C, MAX");
        assert_eq!(
            changes(&before, &with("A, NEW, B, C, MAX")),
            ["enum e: `B` becomes 2 from 1"]
        );
        assert!(changes(&before, &with("A, B, C, NEW, MAX")).is_empty());
    }

    #[test]
    fn types_of_one_name_are_told_apart() {
        let two = |second: &str| {
            let first = "int f(int x) { struct t { char c; } t = { x }; return t.c; }";
            format!(
                "{first} int g(int x) {{ struct t {{ {second} }} t = {{ x }}; return t.a; }} {BEFORE}"
            )
        };
        let changed = changes(&two("int a;"), &two("int a; long b;"));
        assert_eq!(
            changed,
            ["struct t: `b` is new, its size goes from 4 to 16 bytes"]
        );
    }

    #[test]
    fn a_function_that_is_called_in_another_way_is_told() {
        let before = "typedef unsigned long u64; enum e { A }; struct t; \
            int call(struct s *s, u64 n, int k) { return k; } void done(enum e e) {}";
        let with = |from: &str, to: &str| {
            let after = before.replacen(from, to, 1);
            assert_ne!(after, before);
            let unit = |text: &str| compiled(&format!("{BEFORE} {text}"));
            let changed = unit(before).called_anew(&unit(&after));
            let told = changed
                .iter()
                .map(|one| format!("{} {}", one.name, one.how));
            told.collect::<Vec<_>>().join(", ")
        };
        assert_eq!(
            with("int k)", "int k, int more)"),
            "call takes 4 arguments where it took 3"
        );
        assert_eq!(
            with("struct s *s", "struct t *s"),
            "call takes struct t * as argument 1 where it took struct s *"
        );
        assert_eq!(
            with("u64 n", "int n"),
            "call takes a number of 4 bytes as argument 2 where it took a number of 8 bytes"
        );
        assert_eq!(
            with("int call", "long call"),
            "call gives back a number of 8 bytes where it gave a number of 4 bytes"
        );
        assert_eq!(
            with("int k)", "int k, ...)"),
            "call takes 4 arguments where it took 3"
        );
        for same in ["unsigned", "enum e"] {
            assert_eq!(with("int k", &format!("{same} k")), "");
        }
        assert_eq!(with("u64 n", "const u64 n"), "");
        assert_eq!(
            with("void done(enum e e) {}", "int done(int e) { return e; }"),
            ""
        );
        assert_eq!(with("int call", "static int call"), "");
    }

    #[test]
    fn bytes_that_are_no_object_are_an_error() {
        assert!(Layouts::of(b"no object").is_err());
    }
}
