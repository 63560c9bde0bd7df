//! Data structures whose objects lie on stacks alone.
//!
//! A fix often gives more to a structure by which a function hands its state to those that it
//! calls. Such an object lives as long as the call of the function that has it, and while that is on
//! a task's stack the kernel lets the task run the old code of all replaced functions. So old code
//! and new never meet one object, and the structure may be laid out anew.
//!
//! That holds where no pointer to an object outlives the call or gets to another task: only the
//! unit's own file knows the structure; it holds numbers and pointers alone; nothing else holds it
//! or points to it; pointers to it are parameters of functions that are called by their names, from
//! functions that have it or were handed it; and the text neither casts to it nor asks for its size.
//! Both compiles have to show it.

use std::collections::{BTreeMap, BTreeSet};

use gimli::{AttributeValue, UnitOffset};

use super::DEPTH_LIMIT;
use crate::comparison::unreadable;
use crate::dwarf::{Dwarf, Entry, Unit, each_child, each_entry, is_in, reference, referred, text};
use crate::error::FactoryError;

/// A unit without the fix and with it.
pub(crate) struct Compiles<'a> {
    pub source: &'a str,
    pub objects: [&'a [u8]; 2],
    /// Of the unit's own file.
    pub texts: [&'a str; 2],
}

const STRUCT: &str = "struct ";

/// Words that may stand last in a type: C's, and the kernel's (include/linux/compiler_types.h).
const QUALIFIERS: [&str; 9] = [
    "const",
    "volatile",
    "restrict",
    "__restrict",
    "__user",
    "__kernel",
    "__iomem",
    "__percpu",
    "__rcu",
];

/// Why an object of a type (`struct x`) may outlive a call; nothing if none can.
pub(crate) fn outlives_calls(
    name: &str,
    compiles: &Compiles<'_>,
) -> Result<Option<String>, FactoryError> {
    let Some(tag) = name.strip_prefix(STRUCT) else {
        return Ok(Some("it is no structure".to_owned()));
    };
    for (object, source) in compiles.objects.into_iter().zip(compiles.texts) {
        if let Some(why) = in_text(tag, source) {
            return Ok(Some(why.to_owned()));
        }
        let uses = uses(tag, compiles.source, object).map_err(|error| FactoryError::Differ {
            what: compiles.source.to_owned(),
            why: format!("its debug information is unreadable: {error}"),
        })?;
        if let Some(why) = uses.objection() {
            return Ok(Some(why.to_owned()));
        }
        let callers = suture_differ::callers_by_name(object, &uses.takers)
            .map_err(|error| unreadable(compiles.source, &error))?;
        let known = callers.is_some_and(|callers| callers.is_subset(&uses.acquainted));
        if !known {
            return Ok(Some(
                "a function may be handed one from elsewhere".to_owned(),
            ));
        }
    }
    Ok(None)
}

/// What speaks against it in the words of the file.
fn in_text(tag: &str, text: &str) -> Option<&'static str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    for (at, _) in text.match_indices("struct") {
        let (before, after) = (&text[..at], &text[at + "struct".len()..]);
        let named = after.trim_start();
        let Some(rest) = named.strip_prefix(tag) else {
            continue;
        };
        if before.ends_with(is_word) || named.len() == after.len() || rest.starts_with(is_word) {
            continue;
        }
        if !declares(rest) {
            return Some("the file casts to it, or asks for its size");
        }
    }
    None
}

/// Whether what follows a structure's name declares something, and is no type by itself: a cast, or
/// the operand of `sizeof`.
fn declares(rest: &str) -> bool {
    let is_of_declarator =
        |c: char| c.is_alphanumeric() || c == '_' || c == '*' || c.is_whitespace();
    let end = rest.find(|c| !is_of_declarator(c)).unwrap_or(rest.len());
    let words = rest[..end].trim_end();
    let last = words.rsplit(|c: char| c == '*' || c.is_whitespace()).next();
    match last {
        None | Some("") => words.is_empty() && rest[end..].starts_with(['{', ';']),
        Some(word) => !QUALIFIERS.contains(&word),
    }
}

/// What a unit's debug information tells of a structure.
#[derive(Debug, Default)]
struct Uses {
    /// Some other file has it, or it has several definitions.
    elsewhere: bool,
    definitions: usize,
    /// It holds more than numbers and pointers.
    nested: bool,
    /// Something in memory holds it or points to it: a member, a variable, what a function gives.
    held: bool,
    /// Variables of functions are it.
    on_stack: bool,
    /// Functions with a parameter that points to it.
    takers: BTreeSet<String>,
    /// These, those that have it on their stack, and those that have such a one inlined.
    acquainted: BTreeSet<String>,
    /// It is handed to an inlined function by one that neither has it nor was handed it.
    handed_on: bool,
}

impl Uses {
    fn objection(&self) -> Option<&'static str> {
        if self.elsewhere || self.definitions != 1 {
            Some("another file may know it")
        } else if self.nested {
            Some("it holds more than numbers and pointers")
        } else if self.held {
            Some("something holds it or points to it that is no parameter")
        } else if !self.on_stack {
            Some("no function has it on its stack")
        } else if self.handed_on {
            Some("a function may be handed one from elsewhere")
        } else {
            None
        }
    }
}

/// How a type leads to the structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leads {
    Is,
    PointsTo,
}

fn uses(tag: &str, source: &str, object: &[u8]) -> Result<Uses, Box<dyn std::error::Error>> {
    let (mut uses, mut functions) = (Uses::default(), Functions::default());
    each_entry(object, |dwarf, unit, entry, depth| {
        functions.enter(dwarf, unit, entry, depth)?;
        if is_definition(tag, dwarf, unit, entry)? {
            uses.definitions += 1;
            uses.elsewhere |= !is_in(source, dwarf, unit, entry)?;
            each_child(unit, entry.offset(), |member| {
                uses.nested |= !is_plain(unit, member)?;
                Ok(())
            })?;
        }
        match (entry.tag(), leads(tag, dwarf, unit, entry)?) {
            (gimli::DW_TAG_subprogram, leads) => {
                let takes = takes(tag, dwarf, unit, entry)?;
                uses.held |= leads.is_some() || takes == Some(Leads::Is);
                if takes.is_some() {
                    uses.takers
                        .extend(text(dwarf, unit, entry, gimli::DW_AT_name)?);
                    functions.takers.insert(entry.offset());
                }
            }
            (gimli::DW_TAG_subroutine_type, leads) => {
                let takes = takes(tag, dwarf, unit, entry)?;
                uses.held |= leads.is_some() || takes.is_some();
            }
            (gimli::DW_TAG_variable, Some(Leads::Is)) => {
                let is_fixed = is_fixed(entry)?;
                uses.held |= is_fixed;
                uses.on_stack |= !is_fixed;
                functions
                    .owners
                    .extend(functions.open.last().map(|open| open.1));
            }
            (gimli::DW_TAG_variable | gimli::DW_TAG_member | gimli::DW_TAG_typedef, Some(_)) => {
                uses.held = true;
            }
            _ => {}
        }
        Ok(())
    })?;
    uses.handed_on = functions.hands_on();
    uses.acquainted = functions.acquainted();
    Ok(uses)
}

/// Functions by where they are told of first, and which of them are inlined where.
#[derive(Debug, Default)]
struct Functions {
    /// Those that an entry lies in, with their depths, the innermost last.
    open: Vec<(isize, UnitOffset)>,
    names: BTreeMap<UnitOffset, String>,
    takers: BTreeSet<UnitOffset>,
    owners: BTreeSet<UnitOffset>,
    /// A function, the one that it is inlined into right away, and the one that has it all.
    inlined: Vec<(UnitOffset, UnitOffset, UnitOffset)>,
}

impl Functions {
    fn enter(
        &mut self,
        dwarf: &Dwarf<'_>,
        unit: &Unit<'_>,
        entry: &Entry<'_, '_>,
        depth: isize,
    ) -> gimli::Result<()> {
        self.open.retain(|open| open.0 < depth);
        let is_inlined = entry.tag() == gimli::DW_TAG_inlined_subroutine;
        if !is_inlined && entry.tag() != gimli::DW_TAG_subprogram {
            return Ok(());
        }
        let origin = reference(entry, gimli::DW_AT_abstract_origin)?;
        let function = origin.unwrap_or(entry.offset());
        if let Some(name) = text(dwarf, unit, entry, gimli::DW_AT_name)? {
            self.names.insert(function, name);
        }
        if is_inlined && let (Some(into), Some(whole)) = (self.open.last(), self.open.first()) {
            self.inlined.push((function, into.1, whole.1));
        }
        self.open.push((depth, function));
        Ok(())
    }

    fn has(&self, function: &UnitOffset) -> bool {
        self.owners.contains(function) || self.takers.contains(function)
    }

    /// Whether one that takes a pointer is inlined into one that has no object to point to.
    fn hands_on(&self) -> bool {
        let mut inlined = self.inlined.iter();
        inlined.any(|(function, into, _)| self.takers.contains(function) && !self.has(into))
    }

    fn acquainted(&self) -> BTreeSet<String> {
        let inlined = self
            .inlined
            .iter()
            .filter(|(function, _, _)| self.has(function));
        let with = inlined.map(|(_, _, whole)| whole);
        let all = self.owners.iter().chain(&self.takers).chain(with);
        all.filter_map(|function| self.names.get(function).cloned())
            .collect()
    }
}

fn is_definition(
    tag: &str,
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
) -> gimli::Result<bool> {
    Ok(entry.tag() == gimli::DW_TAG_structure_type
        && entry.attr_value(gimli::DW_AT_byte_size)?.is_some()
        && text(dwarf, unit, entry, gimli::DW_AT_name)?.is_some_and(|name| name == tag))
}

/// How the parameters of a function lead to the structure.
fn takes(
    tag: &str,
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
) -> gimli::Result<Option<Leads>> {
    let mut takes = None;
    each_child(unit, entry.offset(), |child| {
        if child.tag() == gimli::DW_TAG_formal_parameter
            && let Some(found) = leads(tag, dwarf, unit, child)?
            && takes != Some(Leads::Is)
        {
            takes = Some(found);
        }
        Ok(())
    })?;
    Ok(takes)
}

/// Whether an entry's type is the structure, an array of it, or a pointer that leads to it.
fn leads(
    tag: &str,
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
) -> gimli::Result<Option<Leads>> {
    let types = types_behind(unit, entry)?;
    let points = types
        .iter()
        .any(|(kind, _)| *kind == gimli::DW_TAG_pointer_type);
    let leads = if points { Leads::PointsTo } else { Leads::Is };
    match types.last() {
        // So deep nothing is said of it.
        Some(_) if types.len() == DEPTH_LIMIT => Ok(Some(Leads::PointsTo)),
        Some(&(gimli::DW_TAG_structure_type, offset)) => {
            let name = text(dwarf, unit, &unit.entry(offset)?, gimli::DW_AT_name)?;
            Ok((name.as_deref() == Some(tag)).then_some(leads))
        }
        _ => Ok(None),
    }
}

/// Whether a member is a number, a pointer, or an array of those.
fn is_plain(unit: &Unit<'_>, member: &Entry<'_, '_>) -> gimli::Result<bool> {
    let plain = [
        gimli::DW_TAG_base_type,
        gimli::DW_TAG_enumeration_type,
        gimli::DW_TAG_pointer_type,
    ];
    let mut types = types_behind(unit, member)?.into_iter();
    let own = types.find(|(kind, _)| !PASSED.contains(kind));
    Ok(member.tag() == gimli::DW_TAG_member && own.is_some_and(|(kind, _)| plain.contains(&kind)))
}

/// Types that are another one, or many of it.
const PASSED: [gimli::DwTag; 5] = [
    gimli::DW_TAG_typedef,
    gimli::DW_TAG_const_type,
    gimli::DW_TAG_volatile_type,
    gimli::DW_TAG_restrict_type,
    gimli::DW_TAG_array_type,
];

/// An entry's type and, behind pointers and [`PASSED`], those that it leads to.
fn types_behind(
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
) -> gimli::Result<Vec<(gimli::DwTag, UnitOffset)>> {
    let (mut types, mut next) = (Vec::new(), referred(entry)?);
    while let Some(offset) = next.filter(|_| types.len() < DEPTH_LIMIT) {
        let entry = unit.entry(offset)?;
        types.push((entry.tag(), offset));
        let goes_on = entry.tag() == gimli::DW_TAG_pointer_type || PASSED.contains(&entry.tag());
        next = if goes_on { referred(&entry)? } else { None };
    }
    Ok(types)
}

/// Whether a variable has one place for all calls.
fn is_fixed(entry: &Entry<'_, '_>) -> gimli::Result<bool> {
    if entry.attr_value(gimli::DW_AT_external)?.is_some() {
        return Ok(true);
    }
    let Some(AttributeValue::Exprloc(place)) = entry.attr_value(gimli::DW_AT_location)? else {
        return Ok(false);
    };
    let mut bytes = place.0;
    Ok(gimli::Reader::read_u8(&mut bytes).ok() == Some(gimli::DW_OP_addr.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn compiled(text: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x.c"), text).unwrap();
        let gcc = Command::new("gcc")
            .current_dir(&folder)
            .args(["-c", "-g", "-O2", "-ffunction-sections", "-o", "x.o", "x.c"])
            .status();
        assert!(gcc.unwrap().success());
        std::fs::read(folder.path().join("x.o")).unwrap()
    }

    const BEFORE: &str = "struct walk { long at; char *end; };";
    const AFTER: &str = "struct walk { long at; char *end; int again; };";
    const USE: &str = "
        extern long look(long *, char *);
        static __attribute__((noinline)) long step(const struct walk *walk)
        {
            long at = walk->at;
            return look(&at, walk->end);
        }
        long walk(char *end)
        {
            struct walk walk = { .at = 1, .end = end };
            return step(&walk) + look(&walk.at, end);
        }";

    fn told(before: &str, after: &str) -> String {
        let objects = [before, after].map(compiled);
        let compiles = Compiles {
            source: "x.c",
            objects: [&objects[0], &objects[1]],
            texts: [before, after],
        };
        let told = outlives_calls("struct walk", &compiles).unwrap();
        told.unwrap_or_else(|| "on stacks alone".to_owned())
    }

    fn told_of(declaration: &str, more: &str) -> String {
        let of = |walk: &str| format!("{declaration}{walk}{USE}\n{more}\n");
        told(&of(BEFORE), &of(AFTER))
    }

    #[test]
    fn what_is_handed_down_lies_on_stacks_alone() {
        assert_eq!(told_of("", ""), "on stacks alone");
    }

    #[test]
    fn what_may_be_kept_does_not() {
        for kept in [
            "struct walk kept;",
            "static struct walk *kept; void keep(void) { kept = 0; look((long *)&kept, 0); }",
            "struct keeper { struct walk *walk; } keeper;",
            "struct keeper { struct walk walk[2]; } keeper;",
            "long own(char *end) { static struct walk walk; walk.end = end; return step(&walk); }",
            "static inline __attribute__((always_inline)) long in(char *end)\n\
             { static struct walk walk; walk.end = end; return step(&walk); }\n\
             long one(char *end) { return in(end) + 1; } long two(char *end) { return in(end); }",
            "struct walk *give(struct walk *walk) { return walk; }",
            "long get(void *data) { struct walk *walk = data; return walk->at + look(0, 0); }",
            "int (*call)(struct walk *walk);",
            "typedef struct walk other; other of;",
        ] {
            let told = told_of("", kept);
            assert!(told.contains("that is no parameter"), "{kept}: {told}");
        }
    }

    #[test]
    fn none_may_be_handed_in_from_elsewhere() {
        for elsewhere in [
            "void *const pointer = (void *)step;",
            "long open(struct walk *walk) { return walk->at; }",
            "long later(void *data) { return step(data); }",
            "static inline long part(struct walk *walk) { return look(&walk->at, walk->end); }\n\
             long later(void *data) { return part(data); }",
        ] {
            let told = told_of("", elsewhere);
            assert!(
                told.contains("handed one from elsewhere"),
                "{elsewhere}: {told}"
            );
        }
        let within = "static inline long part(struct walk *walk) { return step(walk) + 1; }\n\
                      long more(char *end) { struct walk walk = { .end = end }; return part(&walk); }\n\
                      static long inside(char *end) { struct walk on = { .end = end };\n\
                      return step(&on); }\n\
                      long whole(char *end) { return inside(end) + inside(end + 1); }";
        assert_eq!(told_of("", within), "on stacks alone");
    }

    #[test]
    fn neither_casts_nor_sizes_nor_other_files_nor_nested_structures() {
        for cast in [
            "long get(void *data) { return ((struct walk *)data)->at; }",
            "long get(void *data) { return ((const struct walk *const)data)->at; }",
            "long get(void *data) { return ((struct walk const *)data)->at; }",
            "#define __user\nlong get(void *data) { return ((struct walk __user *)data)->at; }",
            "long size(void) { return sizeof(struct walk); }",
            "long size(void) { return sizeof(struct walk const); }",
        ] {
            let told = told_of("", cast);
            assert!(told.starts_with("the file casts"), "{cast}: {told}");
        }
        let nested = |walk: &str| format!("struct list {{ void *next; }};{walk}{USE}");
        let more = |walk: &str| nested(&walk.replace("char *end;", "char *end; struct list on;"));
        assert!(told(&more(BEFORE), &more(AFTER)).contains("numbers and pointers"));
        let elsewhere = |walk: &str| format!("# 1 \"y.h\"\n{walk}\n# 1 \"x.c\"\n{USE}");
        let told = told(&elsewhere(BEFORE), &elsewhere(AFTER));
        assert_eq!(told, "another file may know it");
    }
}
