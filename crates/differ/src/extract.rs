//! From two objects to the object of a patch.

use std::collections::{BTreeMap, BTreeSet};

use suture_kernel::ObjectName;

use crate::chunk::{ChunkId, Layout};
use crate::code_checks::unknown_section;
use crate::compare::{Analysis, FunctionStatus, Units};
use crate::emit::{Definition, emit};
use crate::entry_sizes::EntrySizes;
use crate::error::DifferError;
use crate::left_out::LeftOut;
use crate::refusal::Refusal;
use crate::resolve::SymbolResolver;
use crate::special::{Entry, Role, Table, is_init, role};
use crate::symbols::Symbols;
use crate::unit::Range;

/// What became of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extraction {
    /// The fix does not change what this unit does.
    NoChange,
    /// It can't become a live patch; all reasons that were found.
    Refused(Vec<Refusal>),
    Patch(Extracted),
}

/// The patch of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// A relocatable object. Symbols of the running kernel are undefined and named
    /// `.klp.sym.<object>.<name>,<position>`; [`crate::post_link`] makes them livepatch symbols.
    pub object: Vec<u8>,
    /// The functions to redirect, in the order of the patched object.
    pub functions: Vec<ExtractedFunction>,
    /// What the patch goes without.
    pub left_out: Vec<LeftOut>,
}

/// One entry for `struct klp_func`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtractedFunction {
    pub old_name: String,
    pub old_sympos: u64,
    /// Global symbol of the new code, unique in the patch: `__suture_<unit>_<index>`.
    pub alias: String,
    pub old_size: u64,
    pub new_size: u64,
}

/// Compares the objects of a unit of `object` and takes what changed.
///
/// `unit` is a short prefix, unique in the patch, for global symbols.
pub fn extract(
    original: &[u8],
    patched: &[u8],
    object: &ObjectName,
    unit: &str,
    resolver: &dyn SymbolResolver,
) -> Result<Extraction, DifferError> {
    extract_with(
        original,
        patched,
        object,
        unit,
        resolver,
        &EntrySizes::default(),
    )
}

/// [`extract`] that also takes the functions of these names, whether they changed or not.
pub fn extract_also(
    original: &[u8],
    patched: &[u8],
    object: &ObjectName,
    unit: &str,
    resolver: &dyn SymbolResolver,
    also: &[&str],
) -> Result<Extraction, DifferError> {
    let units = Units::parse(original, patched, &EntrySizes::default())?;
    let analysis = Analysis::counting(&units, also)?;
    extract_units(&units, &analysis, object, unit, resolver)
}

/// [`extract`] for kernels whose tables have other entries.
pub fn extract_with(
    original: &[u8],
    patched: &[u8],
    object: &ObjectName,
    unit: &str,
    resolver: &dyn SymbolResolver,
    sizes: &EntrySizes,
) -> Result<Extraction, DifferError> {
    let units = Units::parse(original, patched, sizes)?;
    let analysis = Analysis::new(&units)?;
    extract_units(&units, &analysis, object, unit, resolver)
}

/// [`extract`] after the comparison.
pub(crate) fn extract_units(
    units: &Units,
    analysis: &Analysis<'_>,
    object: &ObjectName,
    unit: &str,
    resolver: &dyn SymbolResolver,
) -> Result<Extraction, DifferError> {
    if !analysis.refusals.is_empty() {
        return Ok(Extraction::Refused(analysis.refusals.clone()));
    }
    let mut extractor = Extractor::new(units, analysis, object, resolver);
    extractor.take_roots();
    if extractor.layout.chunks.is_empty() && extractor.refusals.is_empty() {
        let alone: Vec<Refusal> = analysis.left_out.iter().map(LeftOut::refusal).collect();
        return Ok(match alone.is_empty() {
            true => Extraction::NoChange,
            false => Extraction::Refused(alone),
        });
    }
    extractor.close();
    let functions = extractor.functions(unit);
    if !extractor.refusals.is_empty() {
        return Ok(Extraction::Refused(
            extractor.refusals.into_iter().collect(),
        ));
    }
    let definitions = extractor.definitions(&functions);
    let object = emit(&extractor.layout, &definitions)?;
    Ok(Extraction::Patch(Extracted {
        object,
        functions: functions
            .into_iter()
            .map(|(_, function)| function)
            .collect(),
        left_out: analysis.left_out.iter().cloned().collect(),
    }))
}

/// The work in progress: everything reachable from the changed functions.
pub(crate) struct Extractor<'a> {
    pub units: &'a Units,
    pub analysis: &'a Analysis<'a>,
    pub symbols: Symbols<'a>,
    pub layout: Layout,
    /// Chunk of each taken function or object.
    pub taken: BTreeMap<usize, ChunkId>,
    pub refusals: BTreeSet<Refusal>,
    /// Chunks whose references are not followed yet.
    next: ChunkId,
    /// Entries of tables that have been decided about.
    pub decided: BTreeSet<Range>,
    /// Relocated fields whose goal a table entry has settled.
    pub settled: BTreeMap<(usize, u64), ChunkId>,
    /// Relocated fields that the kernel fills in only once a module is there.
    pub late: BTreeMap<(usize, u64), String>,
}

impl<'a> Extractor<'a> {
    fn new(
        units: &'a Units,
        analysis: &'a Analysis<'a>,
        object: &'a ObjectName,
        resolver: &'a dyn SymbolResolver,
    ) -> Self {
        Self {
            units,
            analysis,
            symbols: Symbols::new(object, resolver),
            layout: Layout::default(),
            taken: BTreeMap::new(),
            refusals: BTreeSet::new(),
            next: 0,
            decided: BTreeSet::new(),
            settled: BTreeMap::new(),
            late: BTreeMap::new(),
        }
    }

    /// Changed functions, and what is new and visible to other units of the patch.
    fn take_roots(&mut self) {
        let new = &self.units.new;
        for function in new.functions() {
            let global = !new.symbol(function).is_local();
            let wanted = match self.analysis.status[&function] {
                FunctionStatus::Changed => true,
                FunctionStatus::New => global && !is_init(&new.section_of(function).name),
                FunctionStatus::Same | FunctionStatus::Removed => false,
            };
            if wanted && let Err(refusal) = self.take_function(function) {
                self.refusals.insert(refusal);
            }
        }
        for atom in new.atoms() {
            let global = !new.symbol(atom).is_local() && !new.is_function(atom);
            let plain = role(&new.section_of(atom).name) == Role::Plain;
            if !global || !plain || self.analysis.matcher.original_data(atom).is_some() {
                continue;
            }
            let owner = new.name(atom).to_owned();
            if let Err(refusal) = self.take_data(atom, &owner) {
                self.refusals.insert(refusal);
            }
        }
    }

    /// Follows references and collects table entries until nothing is added.
    fn close(&mut self) {
        loop {
            while self.next < self.layout.chunks.len() {
                let chunk = self.next;
                self.next += 1;
                self.follow(chunk);
            }
            if !self.take_entries() {
                break;
            }
        }
        self.check_unknown_sections();
        self.check_unwinding();
    }

    /// Takes a function with its `.cold` part.
    pub fn take_function(&mut self, function: usize) -> Result<ChunkId, Refusal> {
        if let Some(&chunk) = self.taken.get(&function) {
            return Ok(chunk);
        }
        let new = &self.units.new;
        let range = new.range(function);
        let (name, section) = (new.name(function).to_owned(), new.section(range.section));
        let place = section.name.clone();
        if is_init(&place) {
            return Err(Refusal::InitCode {
                function: name,
                section: place,
            });
        }
        if section.grouped {
            return Err(Refusal::Grouped { symbol: name });
        }
        if new.symbol(function).is_weak() {
            return Err(Refusal::WeakFunction { function: name });
        }
        if role(&place) != Role::Plain || place == ".static_call.text" || !section.is_code() {
            return Err(Refusal::NewDataPlace {
                symbol: name,
                section: place,
            });
        }
        let own_section = if new.is_alone(function) {
            place
        } else if self.is_bound_to_neighbours(function) {
            return Err(Refusal::SharedSection {
                function: name,
                section: place,
            });
        } else {
            format!(".text.{name}")
        };
        let chunk = self.layout.add_alone(new, range, &own_section, &name);
        self.taken.insert(function, chunk);
        for part in new
            .functions()
            .filter(|&part| new.parent(part) == Some(function))
        {
            self.take_function(part)?;
        }
        if let Some(parent) = new.parent(function) {
            self.take_function(parent)?;
        }
        Ok(chunk)
    }

    /// Short jumps to other functions, or code that runs into the next one.
    fn is_bound_to_neighbours(&self, function: usize) -> bool {
        let new = &self.units.new;
        let range = new.range(function);
        let section = new.section(range.section);
        let insns = new.insns(range);
        let leaves = insns.iter().filter(|insn| insn.is_branch()).any(|insn| {
            section.relocations_in(insn.start(), insn.end()).is_empty()
                && !(range.start..range.end).contains(&insn.target())
        });
        let runs_on = insns
            .last()
            .is_none_or(|last| last.end() != range.end || !last.ends_flow());
        leaves || runs_on
    }

    /// Takes the table entries about code that is taken; whether there were any.
    fn take_entries(&mut self) -> bool {
        let units = self.units;
        let before = self.layout.chunks.len();
        for entry in &units.new_entries {
            let (section, place) = entry.site;
            let mut site = self.layout.covering(section, place);
            if site.is_none() && entry.table == Table::OrcIp {
                site = self.layout.ending(section, place);
            }
            let Some(site) = site else { continue };
            if self.decided.insert(entry.range) {
                self.take_entry(entry, site);
            }
        }
        self.layout.chunks.len() > before
    }

    /// A function cut out of a shared section must bring its own first unwind entry: objtool
    /// leaves it out where the function before ends in the same state.
    fn check_unwinding(&mut self) {
        let new = &self.units.new;
        let orc = |entry: &&Entry| entry.table == Table::OrcIp;
        let places: BTreeSet<(usize, u64)> = self
            .units
            .new_entries
            .iter()
            .filter(orc)
            .map(|entry| entry.site)
            .collect();
        for &atom in self.taken.keys() {
            let range = new.range(atom);
            let cut = new.is_function(atom) && !new.is_alone(atom);
            if cut && !places.is_empty() && !places.contains(&(range.section, range.start)) {
                let section = new.section(range.section).name.clone();
                let function = new.name(atom).to_owned();
                self.refusals
                    .insert(Refusal::SharedSection { function, section });
            }
        }
    }

    /// Sections of unknown meaning must not be about taken code.
    fn check_unknown_sections(&mut self) {
        let new = &self.units.new;
        for (index, section) in new.object.sections.iter().enumerate() {
            let ignored = self.analysis.ignored.covers_section(&section.name);
            if !section.is_alloc() || role(&section.name) != Role::Unknown || ignored {
                continue;
            }
            for relocation in &section.relocations {
                let function = new
                    .location(index, relocation)
                    .and_then(|(home, offset)| new.atom_at(home, offset))
                    .filter(|atom| new.is_function(*atom) && self.taken.contains_key(atom));
                if let Some(function) = function {
                    let refusal = unknown_section(section, new.name(function));
                    self.refusals.insert(refusal);
                }
            }
        }
    }

    /// The functions to redirect, with their index in the patched object.
    fn functions(&mut self, unit: &str) -> Vec<(usize, ExtractedFunction)> {
        let (old, new) = (&self.units.old, &self.units.new);
        let changed = new.functions().filter(|&function| {
            self.analysis.status[&function] == FunctionStatus::Changed
                && self.taken.contains_key(&function)
                && !self.analysis.carried.contains(&function)
                && new.parent(function).is_none()
        });
        let mut functions = Vec::new();
        for (index, function) in changed.enumerate() {
            let original = self.analysis.original_function[&function];
            let old_name = old.name(original).to_owned();
            if self.symbols.is_inlined(&old_name) {
                continue;
            }
            match self.symbols.function_position(&old_name) {
                Ok(old_sympos) => functions.push((
                    function,
                    ExtractedFunction {
                        old_name,
                        old_sympos,
                        alias: format!("__suture_{unit}_{index}"),
                        old_size: old.symbol(original).size,
                        new_size: new.symbol(function).size,
                    },
                )),
                Err(refusal) => {
                    self.refusals.insert(refusal);
                }
            }
        }
        functions
    }

    /// The symbols of the output that name chunks.
    fn definitions(&self, functions: &[(usize, ExtractedFunction)]) -> Vec<Definition> {
        let new = &self.units.new;
        let mut definitions = Vec::new();
        for (&atom, &chunk) in &self.taken {
            let symbol = new.symbol(atom);
            let existing = self.analysis.original_function.contains_key(&atom);
            let start = self.layout.chunks[chunk].source.start;
            let define = |name: &str, global| Definition {
                name: name.to_owned(),
                chunk,
                offset: symbol.value - start,
                size: symbol.size,
                kind: symbol.kind,
                global,
            };
            // Other units must reach the running kernel's function, not this copy.
            let copied = self.analysis.matcher.original_data(atom).is_some();
            definitions.push(define(
                &symbol.name,
                !symbol.is_local() && !existing && !copied,
            ));
            if let Some((_, function)) = functions.iter().find(|(index, _)| *index == atom) {
                definitions.push(define(&function.alias, true));
            }
        }
        definitions
    }
}
