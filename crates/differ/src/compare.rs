//! What changed between two objects of one unit.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::Serialize;

use crate::constants::{Constants, take_along};
use crate::correlate::{pair_functions, pair_named_data, pair_statics};
use crate::entry_sizes::EntrySizes;
use crate::error::DifferError;
use crate::ignore::Ignored;
use crate::left_out::LeftOut;
use crate::matcher::Matcher;
use crate::refusal::Refusal;
use crate::report::IgnoredThing;
use crate::special::{Entry, entries, is_init};
use crate::unit::Unit;
use crate::untraceable::Untraceable;
use crate::{code_checks, data_checks};

/// What a patch does to a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FunctionStatus {
    Same,
    Changed,
    /// Only the patched unit has it.
    New,
    /// Only the original unit has it.
    Removed,
}

/// One function before and after. A `.cold` part counts as part of its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionChange {
    /// Its name in the original object, or in the patched one if it is new.
    pub name: String,
    pub status: FunctionStatus,
    /// Bytes in the original object (0 if new).
    pub old_size: u64,
    /// Bytes in the patched object (0 if removed).
    pub new_size: u64,
    /// The section that holds it.
    pub section: String,
}

impl FunctionChange {
    /// Whether it is there when the kernel or the module has started.
    pub fn outlives_start(&self) -> bool {
        !is_init(&self.section)
    }
}

/// All functions of two objects, and what speaks against a live patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// Functions of the patched object in its order, then the removed ones.
    pub functions: Vec<FunctionChange>,
    pub refusals: Vec<Refusal>,
}

impl Comparison {
    /// The functions of one status.
    pub fn with_status(&self, status: FunctionStatus) -> impl Iterator<Item = &FunctionChange> {
        self.functions
            .iter()
            .filter(move |function| function.status == status)
    }
}

/// Compares the objects of a unit before and after a fix.
pub fn compare(original: &[u8], patched: &[u8]) -> Result<Comparison, DifferError> {
    compare_with(original, patched, &EntrySizes::default())
}

/// [`compare`] for kernels whose tables have other entries.
pub fn compare_with(
    original: &[u8],
    patched: &[u8],
    sizes: &EntrySizes,
) -> Result<Comparison, DifferError> {
    let units = Units::parse(original, patched, sizes)?;
    let analysis = Analysis::new(&units)?;
    Ok(Comparison {
        functions: analysis.functions(),
        refusals: analysis.refusals,
    })
}

/// Both objects, read.
pub(crate) struct Units {
    pub old: Unit,
    pub new: Unit,
    old_entries: Vec<Entry>,
    pub new_entries: Vec<Entry>,
}

impl Units {
    pub fn parse(original: &[u8], patched: &[u8], sizes: &EntrySizes) -> Result<Self, DifferError> {
        let (old, new) = (Unit::parse(original)?, Unit::parse(patched)?);
        let (old_entries, new_entries) = (entries(&old, sizes)?, entries(&new, sizes)?);
        Ok(Self {
            old,
            new,
            old_entries,
            new_entries,
        })
    }
}

/// The whole comparison, by symbol index.
pub(crate) struct Analysis<'a> {
    pub matcher: Matcher<'a>,
    /// Status of each function of the patched unit.
    pub status: HashMap<usize, FunctionStatus>,
    /// Original function of each patched one that has one.
    pub original_function: HashMap<usize, usize>,
    /// Static variables of the patched unit that may or may not be one of the original.
    pub doubtful: HashSet<usize>,
    /// What the fix's author answers for.
    pub ignored: Ignored,
    /// Constants that change and go along with the functions that read them.
    pub constants: Vec<String>,
    /// Changed functions that are replaced by way of their callers.
    pub carried: BTreeSet<usize>,
    /// What a patch goes without.
    pub left_out: BTreeSet<LeftOut>,
    /// Functions that changed, or belong to one that did, and are ignored.
    spared: BTreeSet<usize>,
    pub refusals: Vec<Refusal>,
}

impl<'a> Analysis<'a> {
    pub fn new(units: &'a Units) -> Result<Self, DifferError> {
        Self::counting(units, &[])
    }

    /// Counts functions of these names as changed, whether they are or not.
    pub fn counting(units: &'a Units, also: &[&str]) -> Result<Self, DifferError> {
        let (old, new) = (&units.old, &units.new);
        let mut matcher = Matcher::new((old, &units.old_entries), (new, &units.new_entries));
        matcher.functions = pair_functions(old, new);
        pair_named_data(&mut matcher);
        let mut status = statuses(&mut matcher);
        count(&matcher, &mut status, also);
        mark_parents(new, &mut status);
        let ignored = Ignored::of(new)?;
        let spared = spare(new, &ignored, &mut status);
        data_checks::learn_from_content(&mut matcher);
        let doubtful = pair_statics(&mut matcher);
        let original_function = matcher.functions.iter().map(|(&a, &b)| (b, a)).collect();
        let changed = Constants {
            matcher: &matcher,
            entries: &units.new_entries,
            ignored: &ignored,
            original_function: &original_function,
        };
        let taken = changed.taken_along();
        let constants = take_along(&mut matcher, &mut status, taken);
        let untraceable = Untraceable {
            matcher: &matcher,
            ignored: &ignored,
            original_function: &original_function,
        };
        let carried = untraceable.carry(&mut status);
        let mut analysis = Self {
            matcher,
            status,
            original_function,
            doubtful,
            ignored,
            constants,
            carried,
            spared,
            left_out: BTreeSet::new(),
            refusals: Vec::new(),
        };
        let mut refusals = code_checks::refusals(&analysis);
        let (of_data, left_out) = data_checks::refusals(&analysis.matcher, &analysis.ignored);
        refusals.extend(of_data);
        refusals.extend(analysis.bad_markers());
        refusals.sort();
        refusals.dedup();
        (analysis.refusals, analysis.left_out) = (refusals, left_out);
        Ok(analysis)
    }

    /// Every marker, and what it made a difference to.
    pub fn ignored_things(&self) -> Vec<IgnoredThing> {
        let new = self.matcher.new;
        let marked = self.ignored.functions.iter().copied();
        let functions: BTreeSet<usize> = marked.chain(self.spared.iter().copied()).collect();
        let functions = functions
            .into_iter()
            .map(|function| IgnoredThing::Function {
                name: new.name(function).to_owned(),
                changed: self.spared.contains(&function),
            });
        let sections = self.ignored.sections.iter().cloned();
        functions
            .chain(sections.map(|name| IgnoredThing::Section { name }))
            .collect()
    }

    /// Markers that can't mean what they say.
    fn bad_markers(&self) -> Vec<Refusal> {
        let (old, new) = (self.matcher.old, self.matcher.new);
        let functions = self.ignored.functions.iter();
        let mut refusals: Vec<Refusal> = functions
            .filter(|function| !self.original_function.contains_key(function))
            .map(|&function| Refusal::IgnoredNew {
                function: new.name(function).to_owned(),
            })
            .collect();
        let exists = |name: &str, unit: &Unit| unit.object.sections.iter().any(|s| s.name == name);
        let sections = self.ignored.sections.iter();
        refusals.extend(
            sections
                .filter(|name| !exists(name, old) && !exists(name, new))
                .map(|section| Refusal::IgnoredNothing {
                    section: section.clone(),
                }),
        );
        refusals
    }

    /// The public list.
    pub fn functions(&self) -> Vec<FunctionChange> {
        let (old, new) = (self.matcher.old, self.matcher.new);
        let patched = new
            .functions()
            .filter(|&function| new.parent(function).is_none());
        let mut list: Vec<FunctionChange> = patched
            .map(|function| {
                let original = self.original_function.get(&function).copied();
                FunctionChange {
                    name: original
                        .map_or(new.name(function), |o| old.name(o))
                        .to_owned(),
                    status: self.status[&function],
                    old_size: original.map_or(0, |original| old.symbol(original).size),
                    new_size: new.symbol(function).size,
                    section: new.section_of(function).name.clone(),
                }
            })
            .collect();
        let removed = old.functions().filter(|function| {
            !self.matcher.functions.contains_key(function) && old.parent(*function).is_none()
        });
        list.extend(removed.map(|function| FunctionChange {
            name: old.name(function).to_owned(),
            status: FunctionStatus::Removed,
            old_size: old.symbol(function).size,
            new_size: 0,
            section: old.section_of(function).name.clone(),
        }));
        list
    }
}

/// Compares every pair, and keeps what equal functions say about static variables.
fn statuses(matcher: &mut Matcher<'_>) -> HashMap<usize, FunctionStatus> {
    let new = matcher.new;
    let mut status: HashMap<usize, FunctionStatus> = new
        .functions()
        .map(|function| (function, FunctionStatus::New))
        .collect();
    let mut pairs: Vec<(usize, usize)> = matcher.functions.iter().map(|(&a, &b)| (a, b)).collect();
    pairs.sort_unstable();
    for (a, b) in pairs {
        let (same, attempt) = matcher.same_function(a, b);
        let assumed = attempt.assumed.into_inner();
        let holds = same
            && assumed
                .into_iter()
                .all(|(old, new)| matcher.pair_data(old, new));
        status.insert(
            b,
            if holds {
                FunctionStatus::Same
            } else {
                FunctionStatus::Changed
            },
        );
    }
    status
}

/// Counts the functions of these names in the original unit as changed.
fn count(matcher: &Matcher<'_>, status: &mut HashMap<usize, FunctionStatus>, also: &[&str]) {
    for (&old, &new) in &matcher.functions {
        if also.contains(&matcher.old.name(old)) {
            status.insert(new, FunctionStatus::Changed);
        }
    }
}

/// A function whose `.cold` part changed or came up has changed itself.
fn mark_parents(new: &Unit, status: &mut HashMap<usize, FunctionStatus>) {
    for part in new.functions().collect::<Vec<_>>() {
        if let Some(parent) = new.parent(part)
            && status[&part] != FunctionStatus::Same
            && status[&parent] == FunctionStatus::Same
        {
            status.insert(parent, FunctionStatus::Changed);
        }
    }
}

/// Leaves ignored functions as the running kernel has them; returns those that had changed.
fn spare(
    new: &Unit,
    ignored: &Ignored,
    status: &mut HashMap<usize, FunctionStatus>,
) -> BTreeSet<usize> {
    let mut spared = BTreeSet::new();
    for function in new.functions() {
        let changed = status[&function] == FunctionStatus::Changed;
        if changed && ignored.covers_function(new, function) {
            status.insert(function, FunctionStatus::Same);
            spared.insert(function);
        }
    }
    spared
}
