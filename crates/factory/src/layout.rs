//! Whether a fix changes the layout of a data structure, or how a function is called.
//!
//! Objects that the running kernel has made keep the layout that they were made with, and code
//! outside of the patch goes on to make more of them. Code that expects another layout would
//! corrupt them, however many functions are replaced. The compiler's debug information of the
//! unit tells the layouts before and after.

mod prototype;

use std::collections::{BTreeMap, BTreeSet};

use gimli::{AttributeValue, DwAt, EndianSlice, LittleEndian, Reader as _};
use object::read::RelocationMap;
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _};
use std::borrow::Cow;

use crate::error::{FactoryError, Refusal};
use prototype::{Prototype, prototype};

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
            let how = before.difference(patched.pointers.get(place)?)?;
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
                for (member, prototype) in prototype::pointers(&dwarf, &unit, entry)? {
                    layouts.pointers.insert((name.clone(), member), prototype);
                }
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
    let mut tree = unit.entries_tree(Some(offset))?;
    let mut children = tree.root()?.children();
    while let Some(child) = children.next()? {
        let entry = child.entry();
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
    }
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
    let mut tree = unit.entries_tree(Some(offset))?;
    let mut children = tree.root()?.children();
    while let Some(child) = children.next()? {
        match (child.entry().tag(), referred(child.entry())?) {
            (gimli::DW_TAG_formal_parameter, Some(kind)) => {
                found.push(type_name(dwarf, unit, kind, pointers, depth)?);
            }
            (gimli::DW_TAG_unspecified_parameters, _) => found.push("...".to_owned()),
            _ => {}
        }
    }
    Ok(found)
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
        let source = format!("{declaration}\nint use(struct s *s) {{ return s->last; }}\n");
        compiled_with(&source, &[])
    }

    fn compiled_with(source: &str, flags: &[&str]) -> Layouts {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("x.c"), folder.path().join("x.o"));
        std::fs::write(&input, source).unwrap();
        let gcc = Command::new("gcc")
            .args(["-c", "-g", "-O2"])
            .args(flags)
            .arg("-o")
            .args([&output, &input])
            .status();
        assert!(gcc.unwrap().success());
        Layouts::of(&std::fs::read(output).unwrap()).unwrap()
    }

    #[test]
    fn an_unnamed_type_is_told_without_what_it_holds() {
        let of = |member: &str| format!("struct s {{ {member}; int last; }};");
        assert_eq!(
            changes(
                &of("enum { OFF, ON } state : 8"),
                &of("unsigned char state")
            ),
            ["struct s: `state` becomes `unsigned char` from `enum of 4 bytes of 8 bits`"]
        );
        let told = changes(
            &of("enum { OFF, ON } state"),
            &of("enum { OFF, ON = 5 } state"),
        );
        assert!(told[0].contains("\"ON\", 5"), "{told:?}");
    }

    #[test]
    fn a_pointer_that_is_called_anew_counts_where_modules_may_have_it() {
        let told = |header: &str, text: &str| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(header);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            let source = format!("#include \"{header}\"\nstruct ops ops;\n");
            std::fs::write(folder.path().join("x.c"), source).unwrap();
            let gcc = Command::new("gcc")
                .current_dir(&folder)
                .args(["-c", "-g", "-I.", "-o", "x.o", "x.c"])
                .status();
            assert!(gcc.unwrap().success());
            Layouts::of(&std::fs::read(folder.path().join("x.o")).unwrap()).unwrap()
        };
        let how = |header: &str, before: &str, after: &str| {
            let changed = told(header, before).pointers_called_anew(&told(header, after));
            let told = changed
                .into_iter()
                .map(|one| one.refusal("x.c").to_string());
            told.collect::<Vec<_>>().concat()
        };
        let ops = |get: &str| format!("struct ops {{ int (*{get}; int other; }};\n");
        let named =
            |get: &str| format!("typedef int {get};\nstruct ops {{ get_t *const get; }};\n");
        let (before, after) = (ops("get)(int)"), ops("get)(int, long)"));
        let wanted = "`get` of `struct ops`, as `x.c` sees it, takes 2 arguments where it took 1";
        for header in ["include/net/x.h", "arch/x86/include/asm/x.h"] {
            let told = how(header, &before, &after);
            assert!(told.starts_with(wanted), "{told}");
            let told = how(header, &named("get_t(int)"), &named("get_t(int, long)"));
            assert!(told.starts_with(wanted), "{told}");
            assert_eq!(how(header, &before, &ops("get)(unsigned)")), "");
            assert_eq!(
                how(header, &ops("*get)(int)"), &ops("*get)(int, long)")),
                ""
            );
        }
        for header in ["drivers/x/include/x.h", "net/x.h"] {
            assert_eq!(how(header, &before, &after), "");
        }
    }

    #[test]
    fn types_that_a_unit_has_no_use_for_are_told_where_that_is_wanted() {
        let unused = |member: &str| format!("struct s {{ int a; {member} }};\nint x;\n");
        let (before, after) = (unused(""), unused("int b;"));
        let changed = |flags: &[&str]| {
            let (before, after) = (compiled_with(&before, flags), compiled_with(&after, flags));
            before.changed(&after).len()
        };
        assert_eq!(changed(&[]), 0);
        assert_eq!(changed(&[crate::unit::TYPES_FLAGS]), 1);
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
    fn a_second_name_of_a_member_is_no_change() {
        let with = |union: &str| BEFORE.replace("void *p;", union);
        let typed = BEFORE.replace("void *p;", "struct t *p;");
        let second = |union: &str| changes(&typed, &with(union));
        assert!(second("union { struct t *p; struct t *q; };").is_empty());
        assert!(second("union { struct t *p; struct { struct t *const q; }; };").is_empty());
        for other in [
            "union { struct t *p; struct u *q; };",
            "union { struct t *p; long q; };",
            "union { struct t *p; struct { int x; int q; }; };",
            "union { struct t *p; struct t *q __attribute__((aligned(16))); };",
            "struct t *q;",
        ] {
            let told = second(other);
            assert!(!told.is_empty(), "{other}");
        }
        assert_eq!(
            changes(&typed, &with("union { struct t *p; void (*q)(int); };")),
            ["struct s: `q` is new"]
        );
        let function = |kind: &str| with(&format!("union {{ int (*p)({kind}); int (*q)(int); }};"));
        let before = with("int (*p)(int);");
        assert!(changes(&before, &function("int")).is_empty());
        assert_eq!(
            changes(&before, &function("long")),
            ["struct s: `q` is new"]
        );
    }

    #[test]
    fn a_bit_field_of_another_width_and_another_alignment_are_told() {
        let bits = |width: u32| BEFORE.replace("int a;", &format!("int a:{width}, :0;"));
        assert_eq!(
            changes(&bits(3), &bits(4)),
            ["struct s: `a` becomes `int of 4 bits` from `int of 3 bits`"]
        );
        let aligned = BEFORE.replace("};", "} __attribute__((aligned(8)));");
        let aligned = aligned.replacen("} __attribute__((aligned(8)));", "};", 1);
        let told = changes(BEFORE, &aligned);
        assert_eq!(told, ["struct s: its alignment changes"]);
    }

    #[test]
    fn members_that_only_one_has_are_named() {
        let other =
            |after: &str, name: &str| compiled(BEFORE).other_members(&compiled(after), name);
        let second = BEFORE.replace("void *p;", "union { void *p, *q; };");
        assert_eq!(other(&second, "struct s"), Some(vec!["q".to_owned()]));
        assert_eq!(other(BEFORE, "struct s"), Some(Vec::new()));
        assert_eq!(other(BEFORE, "struct t"), None);
        let counting = |names: &str| compiled(&format!("enum e {{ {names} }}; {BEFORE} enum e e;"));
        assert_eq!(
            counting("A, B, MAX").other_members(&counting("A, B, C, MAX"), "enum e"),
            Some(vec!["C".to_owned(), "MAX".to_owned()])
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
