//! The functions of an object with what they refer to, for a proof that a recompiled unit equals
//! the one that was shipped.

use crate::error::DifferError;
use crate::unit::{Target, Unit};

/// A function of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionBody {
    pub name: String,
    /// Static in its unit (`STB_LOCAL`).
    pub local: bool,
    /// Another unit's definition may be used instead (`STB_WEAK`).
    pub weak: bool,
    pub section: String,
    /// Offset in the section.
    pub start: u64,
    /// As long as the symbol says; relocated fields are as the object has them, mostly zero.
    pub bytes: Vec<u8>,
    /// In the order of their offset. Branches that the assembler resolved within a section of
    /// several functions are among them.
    pub references: Vec<Reference>,
}

/// One relocated field of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// From the start of the function.
    pub offset: u64,
    /// `R_X86_64_*`.
    pub r_type: u32,
    pub target: ReferenceTarget,
    /// What is added to the address of the target; for a PC-relative field this includes the
    /// distance to the end of its instruction (mostly −4).
    pub addend: i64,
}

/// What a field refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferenceTarget {
    /// A function or object, of this unit or another.
    Symbol { name: String, local: bool },
    /// A text, without its NUL.
    Literal(Vec<u8>),
    /// A constant that the linker may merge.
    Constant(Vec<u8>),
    /// A place of a section that no symbol names.
    Place { section: String },
}

/// Reads all functions of an object.
pub fn read_functions(object: &[u8]) -> Result<Vec<FunctionBody>, DifferError> {
    let unit = Unit::parse(object)?;
    Ok(unit
        .functions()
        .map(|function| body(&unit, function))
        .collect())
}

fn body(unit: &Unit, function: usize) -> FunctionBody {
    let symbol = unit.symbol(function);
    let index = unit.range(function).section;
    let section = unit.section(index);
    let (start, end) = (symbol.value, symbol.value.saturating_add(symbol.size));
    let relocations = section.relocations_in(start, end).iter();
    let references = relocations.map(|relocation| {
        let (target, base) = resolve(unit, unit.target(index, relocation));
        let value = unit.symbol(relocation.symbol).value as i64;
        Reference {
            offset: relocation.offset - start,
            r_type: relocation.r_type,
            target,
            addend: relocation.addend.wrapping_add(value).wrapping_sub(base),
        }
    });
    FunctionBody {
        name: symbol.name.clone(),
        local: symbol.is_local(),
        weak: symbol.is_weak(),
        section: section.name.clone(),
        start,
        bytes: section.bytes(start, end).unwrap_or_default().into_owned(),
        references: references.collect(),
    }
}

/// The target and its place in its section, from which addends count.
fn resolve(unit: &Unit, target: Target) -> (ReferenceTarget, i64) {
    match target {
        Target::Outside { symbol, .. } | Target::Atom { symbol, .. } => {
            let symbol = unit.symbol(symbol);
            let (name, local) = (symbol.name.clone(), symbol.is_local());
            (ReferenceTarget::Symbol { name, local }, symbol.value as i64)
        }
        Target::Literal { section, offset } => (
            ReferenceTarget::Literal(unit.literal(section, offset).to_vec()),
            offset as i64,
        ),
        Target::Constant { section, offset } => {
            let constants = unit.section(section);
            let start = offset - offset % constants.entsize;
            let end = (start + constants.entsize).min(constants.size);
            let bytes = constants.bytes(start, end).unwrap_or_default().into_owned();
            (ReferenceTarget::Constant(bytes), start as i64)
        }
        Target::Place { section, .. } => (
            ReferenceTarget::Place {
                section: unit.section(section).name.clone(),
            },
            0,
        ),
    }
}
