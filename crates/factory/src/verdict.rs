//! Whether a fix can become a live patch, told function by function, without making one.

use std::fmt::{Display, Formatter};

use serde::Serialize;
use suture_differ::{EntrySizes, FunctionStatus, IgnoredThing, LeftOut, Outcome, ReportedRefusal};
use suture_kernel::{KernelRelease, LivepatchAbi, ObjectName};

use crate::error::{FactoryError, Refusal};
use crate::holders::{Calls, Holder, Stay};
use crate::job::CompiledUnit;
use crate::opened_kernel::parse;

/// What a person who has to decide on a fix is told.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    pub outcome: Outcome,
    pub kernel: KernelRelease,
    pub objects: Vec<JudgedObject>,
    pub refusals: Vec<JudgedRefusal>,
    /// What the fix's author answers for.
    pub ignored: Vec<IgnoredThing>,
    /// What a patch goes without.
    pub left_out: Vec<LeftOut>,
    /// Constants that change and go along with the functions that read them.
    pub constants: Vec<String>,
    /// Functions that can't be redirected and become part of their callers.
    pub taken_in: Vec<TakenIn>,
    /// What the verdict can't know.
    pub guesses: &'static str,
}

/// A function of the running kernel that is not traced, and that is part of its callers in the
/// patch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TakenIn {
    pub unit: String,
    pub function: String,
}

/// A part of the kernel that the fix changes.
#[derive(Debug, Clone, Serialize)]
pub struct JudgedObject {
    pub name: ObjectName,
    pub functions: Vec<JudgedFunction>,
}

/// A function that is not as before.
#[derive(Debug, Clone, Serialize)]
pub struct JudgedFunction {
    pub name: String,
    pub unit: String,
    pub status: FunctionStatus,
    /// Bytes before (0 if new) and with the fix (0 if removed).
    pub old_size: u64,
    pub new_size: u64,
    /// Of a changed function: the tasks that could hold the transition open.
    #[serde(flatten)]
    pub stay: Stay,
}

/// A reason against a live patch.
#[derive(Debug, Clone, Serialize)]
pub struct JudgedRefusal {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    pub reason: String,
    /// How to change the fix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

/// Said with every verdict.
const GUESSES: &str = "Calls are followed within a unit only; what a call that leaves it, or one \
    through a pointer, does is told from its name or not at all. User tasks that sleep where a \
    signal wakes them are moved after 15 seconds; kernel threads and uninterruptible sleep are not.";

/// Said of kernels that switch functions without looking at what tasks run.
const NO_TRANSITION: &str = "This kernel has no transition: it switches each function at once. \
    Tasks that are in a changed function, or wait below it, go on in the old code until they leave \
    it, so a fix whose functions only work together with each other is not safe here.";

/// What a kernel does not do for its patches, if anything.
pub(crate) fn warning(abi: LivepatchAbi) -> Option<&'static str> {
    (!abi.has_transitions()).then_some(NO_TRANSITION)
}

impl Verdict {
    /// Says what the kernel's livepatch does not do.
    pub(crate) fn of_kernel(&mut self, abi: LivepatchAbi) {
        if let Some(warning) = warning(abi) {
            self.guesses = warning;
        }
    }

    /// Nothing was found yet.
    pub(crate) fn blank(kernel: &KernelRelease) -> Self {
        Self {
            outcome: Outcome::NoChange,
            kernel: kernel.clone(),
            objects: Vec::new(),
            refusals: Vec::new(),
            ignored: Vec::new(),
            left_out: Vec::new(),
            constants: Vec::new(),
            taken_in: Vec::new(),
            guesses: GUESSES,
        }
    }

    /// Adds the functions of a unit that are not as before.
    pub(crate) fn add(&mut self, unit: &CompiledUnit) -> Result<(), FactoryError> {
        // What the symbols are in the kernel is judged later; here the functions matter.
        let sizes = EntrySizes::default();
        let (original, patched) = (&unit.original, &unit.patched);
        let report = suture_differ::report(original, patched, &unit.object, &sizes);
        let report = report.map_err(|error| FactoryError::Differ {
            what: unit.source.clone(),
            why: error.to_string(),
        })?;
        let calls = Calls::of(&parse(&unit.source, &unit.original)?);
        self.ignored.extend(report.ignored);
        self.left_out.extend(report.left_out);
        self.constants.extend(report.constants);
        for function in &unit.taken_in {
            let (unit, function) = (unit.source.clone(), function.clone());
            let taken_in = TakenIn { unit, function };
            // A unit may be linked into several objects.
            if !self.taken_in.contains(&taken_in) {
                self.taken_in.push(taken_in);
            }
        }
        let changed = report.functions.into_iter();
        let judged = changed
            .filter(|function| function.status != FunctionStatus::Same)
            .map(|function| JudgedFunction {
                stay: match function.status {
                    FunctionStatus::Changed => calls.stay(&function.name),
                    _ => Stay::default(),
                },
                name: function.name,
                unit: unit.source.clone(),
                status: function.status,
                old_size: function.old_size,
                new_size: function.new_size,
            });
        let judged: Vec<_> = judged.collect();
        if judged.is_empty() {
            return Ok(());
        }
        match self
            .objects
            .iter_mut()
            .find(|object| object.name == unit.object)
        {
            Some(object) => object.functions.extend(judged),
            None => self.objects.push(JudgedObject {
                name: unit.object.clone(),
                functions: judged,
            }),
        }
        Ok(())
    }

    /// Takes what came of making the patch: nothing, refusals, or an error that is no verdict.
    pub(crate) fn conclude(&mut self, made: Result<(), FactoryError>) -> Result<(), FactoryError> {
        match made {
            Ok(()) => self.outcome = Outcome::Patch,
            Err(FactoryError::Refused(refusals)) => {
                let none = |refusal: &Refusal| {
                    matches!(
                        refusal,
                        Refusal::NoChange { .. }
                            | Refusal::OnlyAdds { .. }
                            | Refusal::NothingCompiled
                    )
                };
                self.outcome = if refusals.0.iter().all(none) {
                    Outcome::NoChange
                } else {
                    Outcome::Refused
                };
                self.refusals = refusals.0.iter().map(JudgedRefusal::of).collect();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl JudgedRefusal {
    fn of(refusal: &Refusal) -> Self {
        if let Refusal::Differ { unit, why } = refusal {
            let parts = ReportedRefusal::of(why);
            return Self {
                unit: Some(unit.clone()),
                reason: parts.reason,
                advice: parts.advice,
            };
        }
        Self {
            unit: None,
            reason: refusal.to_string(),
            advice: None,
        }
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} (kernel {})", self.outcome, self.kernel)?;
        for object in &self.objects {
            writeln!(f, "{}", object.name)?;
            for function in &object.functions {
                write!(f, "{function}")?;
            }
        }
        for refusal in &self.refusals {
            let unit = refusal.unit.as_ref();
            let place = unit.map_or(String::new(), |unit| format!(" in `{unit}`"));
            writeln!(f, "refused{place}: {}", refusal.reason)?;
            if let Some(advice) = &refusal.advice {
                writeln!(f, "  instead: {advice}")?;
            }
        }
        suture_differ::write_beside(f, &self.ignored, &self.left_out, &self.constants)?;
        for TakenIn { unit, function } in &self.taken_in {
            writeln!(
                f,
                "taken in: `{function}` in `{unit}` can't be redirected, so those that call it \
                 have it inlined; a task that waits in the old one ends its call there"
            )?;
        }
        if self.objects.is_empty() {
            return Ok(());
        }
        writeln!(f, "note: {}", self.guesses)
    }
}

impl Display for JudgedFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let (name, unit, old, new) = (&self.name, &self.unit, self.old_size, self.new_size);
        match self.status {
            FunctionStatus::Same => writeln!(f, "  same     {name} ({unit})")?,
            FunctionStatus::Changed => {
                writeln!(f, "  changed  {name} ({old} to {new} bytes, {unit})")?;
            }
            FunctionStatus::New => writeln!(f, "  new      {name} ({new} bytes, {unit})")?,
            FunctionStatus::Removed => writeln!(f, "  removed  {name} ({old} bytes, {unit})")?,
        }
        if !self.stay.entries.is_empty() {
            writeln!(f, "           reached from {}", some(&self.stay.entries))?;
        }
        for holder in &self.stay.holders {
            writeln!(f, "           {holder}")?;
        }
        if self.status == FunctionStatus::Changed && self.stay.holders.is_empty() {
            writeln!(f, "           no wait is seen in it")?;
        }
        Ok(())
    }
}

impl Display for Holder {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::KernelThread { sign } => write!(
                f,
                "a kernel thread stays in it ({sign}), so the transition can't end while that \
                 runs; put the change into a function that the thread calls"
            ),
            Self::Wait { primitive, through } if through.is_empty() => {
                write!(f, "tasks may wait in it: it calls `{primitive}`")
            }
            Self::Wait { primitive, through } => write!(
                f,
                "tasks may wait below it: it calls `{primitive}` through {}",
                some(through)
            ),
            Self::Pointers { calls } => write!(
                f,
                "not known: it makes {calls} calls through pointers, which may wait"
            ),
        }
    }
}

/// At most five names.
fn some(names: &[String]) -> String {
    let quoted: Vec<String> = names
        .iter()
        .take(5)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = names.len().saturating_sub(5);
    if more == 0 {
        quoted.join(", ")
    } else {
        format!("{} and {more} more", quoted.join(", "))
    }
}
