//! Global symbols that only the patched source has, and where units of the patch find them.
//!
//! A fix may let other units use what was static: the running kernel has that already, and there
//! must not be a second copy of it. And it may move something to another unit, which a live patch
//! can't follow: unchanged code goes on to use the old one.

use std::collections::{BTreeSet, HashMap, HashSet};

use suture_differ::object::{Object, Symbol};
use suture_kernel::ObjectName;

use crate::declared;
use crate::equality::Proof;
use crate::error::{FactoryError, Refusal};
use crate::job::{CompiledUnit, refused};
use crate::opened_kernel::{Facts, OpenedKernel, parse};
use crate::shipped_object::ShippedObject;

/// Sections that the running kernel has freed, or never loads.
const FREED: [&str; 2] = [".init", ".exit"];

/// Where a global symbol is that only the patched source has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Added {
    /// A unit of this object brings it.
    New(ObjectName),
    /// The running kernel's object has it already, as a symbol of one unit.
    WasStatic {
        object: ObjectName,
        /// Its place among the symbols of that name, or why it can't be told.
        sympos: Result<u64, String>,
    },
}

/// Those of all units of a patch, by name.
pub(crate) fn of_units(
    kernel: &OpenedKernel,
    units: &[CompiledUnit],
    facts: &Facts<'_>,
) -> Result<HashMap<String, Added>, FactoryError> {
    let mut added = HashMap::new();
    added.insert(
        declared::PATCH_SYMBOL.to_owned(),
        Added::New(ObjectName::vmlinux()),
    );
    let mut gone = Vec::new();
    for unit in units.iter().filter(|unit| unit.original != unit.patched) {
        let original = parse(&unit.source, &unit.original)?;
        let patched = parse(&unit.source, &unit.patched)?;
        let ours = added_globals(&original, &patched);
        if let Some(symbol) = ours.iter().next().filter(|_| unit.shared) {
            let (unit, symbol) = (unit.source.clone(), symbol.clone());
            return Err(refused(vec![Refusal::SharedUnit { unit, symbol }]));
        }
        let lost = lost(&original, &patched).into_iter();
        gone.extend(lost.map(|symbol| (unit.source.clone(), symbol)));
        let defines = |name: &str| {
            let mut own = original.symbols.iter();
            own.any(|symbol| symbol.name == name && symbol.section().is_some())
        };
        let (known, new): (Vec<_>, Vec<_>) = ours.into_iter().partition(|name| defines(name));
        let home = || Added::New(unit.object.clone());
        added.extend(new.into_iter().map(|name| (name, home())));
        added.extend(were_static(kernel, unit, known, facts)?);
    }
    gone.retain(|(_, symbol)| matches!(added.get(symbol), Some(Added::New(_))));
    if gone.is_empty() {
        return Ok(added);
    }
    let moved = |(unit, symbol)| Refusal::MovedSymbol { unit, symbol };
    Err(refused(gone.into_iter().map(moved).collect()))
}

/// Where the running kernel has symbols of a unit that only the fix makes global.
fn were_static(
    kernel: &OpenedKernel,
    unit: &CompiledUnit,
    names: Vec<String>,
    facts: &Facts<'_>,
) -> Result<Vec<(String, Added)>, FactoryError> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let file = kernel.object_file(&unit.object)?;
    let shipped = facts.shipped_object(&unit.object, &file)?;
    let plain = parse(&unit.source, &unit.plain)?;
    let proof = Proof::establish(&plain, &shipped);
    let found = names.into_iter().map(|name| {
        let object = unit.object.clone();
        let sympos = place_of_static(&name, &plain, &proof, &shipped);
        (name, Added::WasStatic { object, sympos })
    });
    Ok(found.collect())
}

/// Global symbols that a patched unit defines and its original does not.
fn added_globals(original: &Object, patched: &Object) -> BTreeSet<String> {
    let globals = |object: &Object| -> BTreeSet<String> {
        let defined = object.symbols.iter();
        let defined = defined.filter(|symbol| !symbol.is_local() && symbol.section().is_some());
        defined.map(|symbol| symbol.name.clone()).collect()
    };
    let (before, after) = (globals(original), globals(patched));
    after.difference(&before).cloned().collect()
}

/// The place, among the running kernel's symbols of that name, of one that only its unit could use.
fn place_of_static(
    name: &str,
    plain: &Object,
    proof: &Proof,
    shipped: &ShippedObject<'_>,
) -> Result<u64, String> {
    let mut own = plain.symbols.iter().filter(|symbol| symbol.name == name);
    let section = own.find_map(|symbol| plain.sections.get(symbol.section()?));
    let is_freed = |name: &str| FREED.iter().any(|start| name.starts_with(start));
    if section.is_some_and(|section| is_freed(&section.name)) {
        return Err("the running kernel has freed it after its start".to_owned());
    }
    let location = proof.location(plain, shipped, name);
    let sympos = location.and_then(|location| shipped.sympos(name, location));
    sympos.ok_or_else(|| {
        "it was static, and its place in the shipped kernel could not be proven".to_owned()
    })
}

/// Symbols that a patched unit no longer defines, and that others may still use in the running
/// kernel: its global functions, and data, of which there must not be a second copy.
fn lost(original: &Object, patched: &Object) -> BTreeSet<String> {
    let is_shared = |symbol: &&Symbol| {
        let section = symbol
            .section()
            .and_then(|index| original.sections.get(index));
        let is_section = symbol.kind == object::elf::STT_SECTION.0;
        let is_data = section.is_some_and(|section| section.is_writable()) && !is_section;
        is_data || section.is_some() && symbol.is_function() && !symbol.is_local()
    };
    let before = original.symbols.iter().filter(is_shared);
    let kept: HashSet<&str> = patched
        .symbols
        .iter()
        .filter(|symbol| symbol.section().is_some())
        .map(|symbol| symbol.name.as_str())
        .collect();
    let lost = before.filter(|symbol| !kept.contains(symbol.name.as_str()));
    lost.map(|symbol| symbol.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "extern int outside(int number);\n\
        static int counter;\n\
        static const int limit = 7;\n\
        static __attribute__((noinline)) int helper(int number) { return counter += number; }\n\
        int shown(int number) { return helper(number) + outside(limit); }\n";

    fn compile(source: &str) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("unit.c"), folder.path().join("unit.o"));
        std::fs::write(&input, source).unwrap();
        let flags = ["-c", "-O2", "-fno-pie", "-mcmodel=kernel"];
        let mut gcc = std::process::Command::new("gcc-12");
        gcc.args(flags).arg("-o").args([&output, &input]);
        assert!(gcc.status().unwrap().success());
        std::fs::read(&output).unwrap()
    }

    fn object(source: &str) -> Object {
        Object::parse(&compile(source)).unwrap()
    }

    fn names(found: BTreeSet<String>) -> Vec<String> {
        found.into_iter().collect()
    }

    #[test]
    fn what_was_static_is_found_where_the_kernel_has_it() {
        let after = BEFORE
            .replace("static int counter", "int counter")
            .replace("static __attribute__", "__attribute__");
        let (before, after) = (object(BEFORE), object(&after));
        assert_eq!(names(added_globals(&before, &after)), ["counter", "helper"]);
        assert_eq!(names(lost(&before, &after)), [""; 0]);
        let bytes = compile(BEFORE);
        let shipped = ShippedObject::module(&bytes).unwrap();
        let proof = Proof::establish(&before, &shipped);
        for name in ["counter", "helper"] {
            assert_eq!(place_of_static(name, &before, &proof, &shipped), Ok(0));
        }
        let why = place_of_static("outside", &before, &proof, &shipped).unwrap_err();
        assert!(why.contains("could not be proven"), "{why}");
    }

    #[test]
    fn what_is_freed_after_the_start_is_not_to_be_used() {
        let source = BEFORE.replace("noinline", "noinline, section(\".init.text\")");
        let (plain, bytes) = (object(&source), compile(&source));
        let shipped = ShippedObject::module(&bytes).unwrap();
        let proof = Proof::establish(&plain, &shipped);
        let why = place_of_static("helper", &plain, &proof, &shipped).unwrap_err();
        assert!(why.contains("freed"), "{why}");
    }

    #[test]
    fn functions_of_others_and_data_are_lost_but_no_constants() {
        let after = object("int more(void) { return 1; }");
        let before = object(BEFORE);
        assert_eq!(names(lost(&before, &after)), ["counter", "shown"]);
        assert_eq!(names(added_globals(&before, &after)), ["more"]);
    }
}
