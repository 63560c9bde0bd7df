//! What the author of a fix tells the differ to leave alone.
//!
//! Some changes are known to be harmless and yet can't be patched, or need not be: a function
//! that only runs at boot, a constant that nobody reads again. The fix marks them:
//!
//! ```c
//! static const void *const keep_setup
//!         __attribute__((used, section(".suture.ignore.functions"))) = setup;
//! static const char *const keep_texts
//!         __attribute__((used, section(".suture.ignore.sections"))) = ".rodata.texts";
//! ```
//!
//! The running kernel's version stays in force. Nothing is ignored silently: every marker is in
//! the report, and one that names nothing is refused. The markers of kpatch
//! (`KPATCH_IGNORE_FUNCTION`, `KPATCH_IGNORE_SECTION`) are understood as well.

use std::collections::BTreeSet;

use object::elf;

use crate::error::DifferError;
use crate::object::{Object, Relocation};
use crate::unit::{Target, Unit};

const FUNCTION_MARKERS: &[&str] = &[".suture.ignore.functions", ".kpatch.ignore.functions"];
/// States that the patch keeps beyond its code; no running code reads the section.
const DECLARED_STATES: &str = ".suture.states";
const SECTION_MARKERS: &[&str] = &[".suture.ignore.sections", ".kpatch.ignore.sections"];

/// Whether the author of a fix tells in an object of it what to leave alone.
pub fn has_markers(object: &Object) -> bool {
    let mut sections = object.sections.iter();
    sections.any(|section| {
        let name = section.name.as_str();
        FUNCTION_MARKERS.contains(&name) || SECTION_MARKERS.contains(&name)
    })
}

/// The markers of a unit.
#[derive(Debug, Default)]
pub(crate) struct Ignored {
    /// Functions of the patched unit, by symbol index.
    pub functions: BTreeSet<usize>,
    /// Section names.
    pub sections: BTreeSet<String>,
}

impl Ignored {
    /// Reads the markers of the patched unit.
    pub fn of(unit: &Unit) -> Result<Self, DifferError> {
        let mut ignored = Self::default();
        for (index, section) in unit.object.sections.iter().enumerate() {
            let name = section.name.as_str();
            for relocation in &section.relocations {
                if FUNCTION_MARKERS.contains(&name) {
                    ignored.functions.insert(function(unit, index, relocation)?);
                } else if SECTION_MARKERS.contains(&name) {
                    ignored.sections.insert(text(unit, index, relocation)?);
                }
            }
        }
        Ok(ignored)
    }

    /// Whether the author answers for what is in a section.
    pub fn covers_section(&self, name: &str) -> bool {
        self.sections.contains(name)
    }

    /// Whether the author answers for a function of the patched unit, by its own name or by its
    /// section's.
    pub fn covers_function(&self, unit: &Unit, function: usize) -> bool {
        let whole = unit.parent(function).unwrap_or(function);
        self.functions.contains(&whole) || self.covers_section(&unit.section_of(function).name)
    }
}

/// Whether a section holds markers, or what the fix declares to whoever makes the module.
pub(crate) fn is_marker(section: &str) -> bool {
    section == DECLARED_STATES
        || FUNCTION_MARKERS.contains(&section)
        || SECTION_MARKERS.contains(&section)
}

fn function(unit: &Unit, index: usize, marker: &Relocation) -> Result<usize, DifferError> {
    match unit.target(index, marker) {
        Target::Atom { symbol, offset: 0 }
            if unit.is_function(symbol) && marker.r_type == elf::R_X86_64_64.0 =>
        {
            Ok(symbol)
        }
        _ => Err(DifferError::damaged(
            &unit.section(index).name,
            "a marker does not point to the start of a function of this unit",
        )),
    }
}

fn text(unit: &Unit, index: usize, marker: &Relocation) -> Result<String, DifferError> {
    let name = match unit.target(index, marker) {
        Target::Literal { section, offset } if marker.r_type == elf::R_X86_64_64.0 => {
            std::str::from_utf8(unit.literal(section, offset)).ok()
        }
        _ => None,
    };
    name.map(str::to_owned).ok_or_else(|| {
        let what = "a marker does not point to the name of a section";
        DifferError::damaged(&unit.section(index).name, what)
    })
}
