//! One comparison, told in full: for a person who measures the differ or has to decide on a fix.

mod text;

pub use text::write_beside;

use serde::Serialize;
use suture_kernel::ObjectName;

use crate::alone::Alone;
use crate::compare::{Analysis, FunctionStatus, Units};
use crate::entry_sizes::EntrySizes;
use crate::error::DifferError;
use crate::extract::{Extracted, Extraction, extract_units};
use crate::klp::LivepatchSymbol;
use crate::left_out::LeftOut;
use crate::object::{Object, SymbolSection};
use crate::refusal::Refusal;
use crate::unit::Unit;

/// What the comparison came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A live patch can be made.
    Patch,
    /// The change can't become a live patch.
    Refused,
    /// The code does the same as before.
    NoChange,
}

/// The comparison of two objects of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub outcome: Outcome,
    /// Changed and new functions of the patched object, then those that are gone.
    pub functions: Vec<ReportedFunction>,
    /// Livepatch relocations of the extracted object, by section and offset.
    pub relocations: Vec<ReportedRelocation>,
    /// Symbols that the extracted object needs and the unit does not define.
    pub undefined: Vec<String>,
    /// Every reason against a patch.
    pub refusals: Vec<ReportedRefusal>,
    /// What the fix's author answers for.
    pub ignored: Vec<IgnoredThing>,
    /// What a patch goes without.
    pub left_out: Vec<LeftOut>,
    /// Constants that change and go along with the functions that read them.
    pub constants: Vec<String>,
    /// The extracted object, if a patch can be made.
    #[serde(skip)]
    pub object: Option<Vec<u8>>,
}

/// A function that is not the same as before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportedFunction {
    pub name: String,
    pub status: FunctionStatus,
    /// Bytes in the original object (0 if new).
    pub old_size: u64,
    /// Bytes in the patched object (0 if removed).
    pub new_size: u64,
    pub section: String,
    /// Of a changed function that a patch redirects: 0 if it is global, 1 if it is static. The
    /// kernel may have more of its name; only its own symbols tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sympos: Option<u64>,
}

/// One relocation that livepatch applies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ReportedRelocation {
    /// The relocated section of the extracted object.
    pub section: String,
    pub offset: u64,
    /// `R_X86_64_*`.
    #[serde(rename = "type")]
    pub r_type: u32,
    pub addend: i64,
    pub symbol: String,
    /// `vmlinux` or a module.
    pub object: String,
    pub sympos: u64,
}

/// A reason against a patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportedRefusal {
    /// Stable name of the kind of reason, e.g. `init_code`.
    pub name: &'static str,
    /// The function or object that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Where that lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub section: Option<String>,
    pub reason: String,
    /// What the author of the fix can do instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// A function or section that the fix marks to be left alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum IgnoredThing {
    Function {
        name: String,
        /// Whether it had been patched without the marker.
        changed: bool,
    },
    Section {
        name: String,
    },
}

/// Compares the objects of a unit and tells all that was found. No kernel is at hand: symbols of
/// the unit are taken to live in `object`, all others to be exported.
pub fn report(
    original: &[u8],
    patched: &[u8],
    object: &ObjectName,
    sizes: &EntrySizes,
) -> Result<Report, DifferError> {
    let units = Units::parse(original, patched, sizes)?;
    let analysis = Analysis::new(&units)?;
    let alone = Alone::new(&units.old, object);
    let extraction = extract_units(&units, &analysis, object, "u0", &alone)?;
    let mut report = Report {
        outcome: Outcome::NoChange,
        functions: functions(&analysis),
        relocations: Vec::new(),
        undefined: Vec::new(),
        refusals: Vec::new(),
        ignored: analysis.ignored_things(),
        left_out: analysis.left_out.iter().cloned().collect(),
        constants: analysis.constants.clone(),
        object: None,
    };
    match extraction {
        Extraction::NoChange => {}
        Extraction::Refused(refusals) => {
            report.outcome = Outcome::Refused;
            let place = |refusal| ReportedRefusal::placed(refusal, &units);
            report.refusals = refusals.iter().map(place).collect();
        }
        Extraction::Patch(patch) => report.take(patch)?,
    }
    Ok(report)
}

impl Report {
    fn take(&mut self, patch: Extracted) -> Result<(), DifferError> {
        for redirected in &patch.functions {
            let reported = self.functions.iter_mut();
            for function in reported.filter(|function| function.name == redirected.old_name) {
                function.sympos = Some(redirected.old_sympos);
            }
        }
        let object = Object::parse(&patch.object)?;
        self.relocations = relocations(&object);
        let undefined = object.symbols.iter().skip(1).filter(|symbol| {
            symbol.home == SymbolSection::Undefined
                && LivepatchSymbol::parse(&symbol.name).is_none()
        });
        self.undefined = undefined.map(|symbol| symbol.name.clone()).collect();
        self.outcome = Outcome::Patch;
        self.object = Some(patch.object);
        Ok(())
    }
}

impl ReportedRefusal {
    /// The parts of a refusal.
    pub fn of(refusal: &Refusal) -> Self {
        let (reason, advice) = refusal.sentence();
        Self {
            name: refusal.name(),
            symbol: refusal.symbol().map(str::to_owned),
            section: refusal.section().map(str::to_owned),
            reason,
            advice,
        }
    }
}

impl ReportedRefusal {
    /// With the section of what it is about, where the refusal itself names none.
    fn placed(refusal: &Refusal, units: &Units) -> Self {
        let mut reported = Self::of(refusal);
        if let (None, Some(symbol)) = (&reported.section, &reported.symbol) {
            reported.section = home(&units.new, symbol).or_else(|| home(&units.old, symbol));
        }
        reported
    }
}

fn home(unit: &Unit, symbol: &str) -> Option<String> {
    let atom = unit.atoms().find(|&atom| unit.name(atom) == symbol)?;
    Some(unit.section_of(atom).name.clone())
}

fn functions(analysis: &Analysis<'_>) -> Vec<ReportedFunction> {
    analysis
        .functions()
        .into_iter()
        .filter(|function| function.status != FunctionStatus::Same)
        .map(|function| ReportedFunction {
            name: function.name,
            status: function.status,
            old_size: function.old_size,
            new_size: function.new_size,
            section: function.section,
            sympos: None,
        })
        .collect()
}

fn relocations(object: &Object) -> Vec<ReportedRelocation> {
    let mut list = Vec::new();
    for section in &object.sections {
        for relocation in &section.relocations {
            let name = &object.symbols[relocation.symbol as usize].name;
            let Some(symbol) = LivepatchSymbol::parse(name) else {
                continue;
            };
            list.push(ReportedRelocation {
                section: section.name.clone(),
                offset: relocation.offset,
                r_type: relocation.r_type,
                addend: relocation.addend,
                symbol: symbol.name.to_owned(),
                object: symbol.object.to_owned(),
                sympos: symbol.sympos,
            });
        }
    }
    list.sort();
    list
}
