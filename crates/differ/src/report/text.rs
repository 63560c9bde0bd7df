//! A report for a person.

use std::fmt::{Display, Formatter, Result};

use super::{IgnoredThing, Outcome, Report, ReportedFunction};
use crate::compare::FunctionStatus;
use crate::left_out::LeftOut;

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "{}", self.outcome)?;
        for function in &self.functions {
            writeln!(f, "  {function}")?;
        }
        for refusal in &self.refusals {
            writeln!(f, "refused ({}): {}", refusal.name, refusal.reason)?;
            if let Some(advice) = &refusal.advice {
                writeln!(f, "  instead: {advice}")?;
            }
        }
        write_beside(f, &self.ignored, &self.left_out, &self.constants)?;
        if self.outcome == Outcome::Patch {
            writeln!(f, "{} livepatch relocations", self.relocations.len())?;
        }
        Ok(())
    }
}

/// A line for each thing that is beside the functions of a patch: what its author ignores, what is
/// left out, and the constants that go along.
pub fn write_beside(
    f: &mut Formatter<'_>,
    ignored: &[IgnoredThing],
    left_out: &[LeftOut],
    constants: &[String],
) -> Result {
    for thing in ignored {
        writeln!(f, "{thing}")?;
    }
    for part in left_out {
        writeln!(f, "left out: {part}")?;
    }
    for constant in constants {
        writeln!(
            f,
            "goes along: the constant `{constant}`, with all functions that read it"
        )?;
    }
    Ok(())
}

impl Display for Outcome {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::Patch => "a live patch can be made",
            Self::Refused => "the change can't become a live patch",
            Self::NoChange => "no functional change",
        })
    }
}

impl Display for ReportedFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (name, old, new) = (&self.name, self.old_size, self.new_size);
        match self.status {
            FunctionStatus::Same => write!(f, "same     {name}"),
            FunctionStatus::Changed => write!(f, "changed  {name} ({old} to {new} bytes)"),
            FunctionStatus::New => write!(f, "new      {name} ({new} bytes)"),
            FunctionStatus::Removed => write!(f, "removed  {name} ({old} bytes)"),
        }
    }
}

impl Display for IgnoredThing {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Function { name, changed } if *changed => {
                write!(f, "ignored at the author's word: `{name}`, which changed")
            }
            Self::Function { name, .. } => write!(f, "marked to be ignored, the same: `{name}`"),
            Self::Section { name } => write!(f, "ignored at the author's word: section `{name}`"),
        }
    }
}
