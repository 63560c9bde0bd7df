//! One fix and what became of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use suture_factory::{FactoryError, Refusal, Trial, Workbench, unified};
use suture_kernel::ObjectName;

use crate::changes::Changes;
use crate::group::{Group, ROUNDS};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// Version of the source package that the fix is for.
    pub from: String,
    pub file: String,
    /// The build of this program that tried it ([`crate::program`]); older results have none.
    #[serde(default)]
    pub program: String,
    /// Number of the attempt, and of the module that it made.
    pub number: usize,
    /// The hole that the fix closes, if it is one of whole fixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cve: Option<String>,
    /// Files that the fix does not compile without.
    pub with: Vec<String>,
    /// Functions that only run at boot, which the fix was told to leave alone. An author has to
    /// answer for that, so it is no fix that was built as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// It was refused, and changes no function that outlives the start: data, tables, or code of
    /// the start alone.
    #[serde(default)]
    pub data_alone: bool,
    pub outcome: Outcome,
    pub seconds: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Built {
        /// Name of the module, and of its file without `.ko`.
        module: String,
        functions: Vec<Function>,
    },
    Refused {
        /// Kinds of refusals, each once.
        kinds: Vec<String>,
        message: String,
    },
    Failed {
        message: String,
    },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Function {
    pub object: ObjectName,
    pub name: String,
    pub position: u64,
}

impl Row {
    /// Whether no code that runs differs: the kernel's configuration leaves nothing of the change,
    /// or it only adds what nothing calls.
    pub fn is_same_code(&self) -> bool {
        match &self.outcome {
            Outcome::Refused { kinds, .. } => kinds == &["NoChange"] || kinds == &["OnlyAdds"],
            _ => false,
        }
    }

    /// Whether another try may end differently: another build of this program made it.
    pub fn is_stale(&self, program: &str) -> bool {
        self.program != program
    }

    /// Whether what it lacks to compile was not found in the change, so that nothing was tried of
    /// what a vendor would.
    pub fn is_incomplete(&self) -> bool {
        let lacks = |kind: &String| kind == "LacksDeclarations" || kind == "DoesNotCompile";
        match &self.outcome {
            Outcome::Refused { kinds, .. } => kinds.iter().any(lacks),
            _ => false,
        }
    }

    /// Whether the fix became a module as it is.
    pub fn is_built(&self) -> bool {
        matches!(self.outcome, Outcome::Built { .. }) && self.left_out.is_empty()
    }

    /// Whether it was refused as it is.
    pub fn is_refused(&self) -> bool {
        let refused = matches!(self.outcome, Outcome::Refused { .. });
        let refused = refused && !self.is_same_code() && !self.is_incomplete();
        refused || !self.left_out.is_empty()
    }

    /// All rows of a results file, of each case the last; none if there is no file.
    pub fn read(path: &Path) -> Result<Vec<Self>> {
        if !path.exists() {
            return Ok(Vec::new());
        }
        let text = std::fs::read_to_string(path)?;
        let rows = text.lines().map(serde_json::from_str);
        let rows: Vec<Self> = rows.collect::<Result<_, _>>()?;
        let mut last = BTreeMap::new();
        for (place, row) in rows.iter().enumerate() {
            last.insert((&row.from, &row.file, &row.cve), place);
        }
        let last: BTreeSet<usize> = last.into_values().collect();
        let numbered = rows.iter().enumerate();
        let kept = numbered.filter(|(place, _)| last.contains(place));
        Ok(kept.map(|(_, row)| row.clone()).collect())
    }

    pub fn append(&self, path: &Path) -> Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        writeln!(file, "{}", serde_json::to_string(self)?)?;
        Ok(())
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:>6.1} s  {}", self.seconds, self.file)?;
        if let Some(cve) = &self.cve {
            write!(formatter, " ({cve})")?;
        }
        if !self.with.is_empty() {
            write!(formatter, " (with {})", self.with.join(", "))?;
        }
        if !self.left_out.is_empty() {
            write!(formatter, " (without {})", self.left_out.join(", "))?;
        }
        match &self.outcome {
            Outcome::Built { functions, .. } => {
                write!(formatter, ": built, {} functions", functions.len())
            }
            Outcome::Refused { message, .. } => write!(formatter, ": refused: {message}"),
            Outcome::Failed { message } => write!(formatter, ": FAILED: {message}"),
        }
    }
}

/// What is tried: one file's change, or all files of the fix of a hole.
#[derive(Debug, Clone)]
pub struct Case {
    pub name: String,
    pub files: Vec<String>,
    /// For a fix of a hole its id.
    pub cve: Option<String>,
}

/// What came of trying a case.
pub enum Tried {
    Done(Box<Row>),
    /// It needs other files, and so many units may include one of those.
    Needs {
        reach: usize,
    },
}

/// Where and when a case is tried.
pub struct Attempt<'a> {
    /// Which build of this program tries it.
    pub program: &'a str,
    pub from: &'a str,
    pub changes: &'a Changes,
    pub bench: &'a Workbench<'a>,
    pub modules: &'a Path,
}

impl Attempt<'_> {
    /// Builds the live patch of a change, with what else it turns out to need as long as no more
    /// than `most` units may include that.
    pub fn run(&self, case: &Case, number: usize, most: usize) -> Result<Tried> {
        let started = Instant::now();
        let folder = tempfile::tempdir()?;
        let mut group = Group::of(&case.files, self.changes, self.bench);
        let version = format!("{number}.1").parse()?;
        let attempt = |group: &Group<'_>, markers: &[(String, String)]| -> Result<_> {
            let mut fixes = group.write(folder.path())?;
            for (number, (_, diff)) in markers.iter().enumerate() {
                let path = folder.path().join(format!("marker-{number}.diff"));
                std::fs::write(&path, diff)?;
                fixes.push(path);
            }
            Ok(self.bench.try_fixes(version, &fixes))
        };
        let mut result = attempt(&group, &[])?;
        for _ in 0..ROUNDS {
            let Err(error) = &result else { break };
            let Some(larger) = group.grown(error)? else {
                break;
            };
            let reach = self.bench.reach(&larger.write(folder.path())?)?;
            if reach > most {
                return Ok(Tried::Needs { reach });
            }
            group = larger;
            result = attempt(&group, &[])?;
        }
        let mut left_out = Vec::new();
        if let Some(markers) = markers(&result, case, self.changes)
            && let Ok(trial) = attempt(&group, &markers)?
        {
            result = Ok(trial);
            left_out.extend(markers.into_iter().map(|(function, _)| function));
        }
        let data_alone = match &result {
            // What does not compile or is refused before tells nothing.
            Err(FactoryError::Refused(_)) => {
                let fixes = group.write(folder.path())?;
                self.bench.changes_running_code(&fixes).is_ok_and(|it| !it)
            }
            _ => false,
        };
        let with = group.files().filter(|path| !case.files.contains(path));
        let with = with.cloned().collect();
        Ok(Tried::Done(Box::new(Row {
            from: self.from.to_owned(),
            file: case.name.clone(),
            program: self.program.to_owned(),
            number,
            cve: case.cve.clone(),
            with,
            left_out,
            data_alone,
            outcome: outcome(result, &version.module_name(), self.modules)?,
            seconds: started.elapsed().as_secs_f64(),
        })))
    }
}

/// If nothing but functions that run at boot stand against a patch: their names, each with the
/// diff that tells the factory to leave it alone.
fn markers(
    result: &Result<Trial, FactoryError>,
    case: &Case,
    changes: &Changes,
) -> Option<Vec<(String, String)>> {
    let Err(FactoryError::Refused(refusals)) = result else {
        return None;
    };
    let mut functions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for refusal in &refusals.0 {
        match refusal {
            Refusal::Differ {
                unit,
                why: suture_differ::Refusal::InitCode { function, .. },
            } if case.files.contains(unit) => functions.entry(unit).or_default().push(function),
            _ => return None,
        }
    }
    let mut markers = Vec::new();
    for (file, functions) in functions {
        let mut text = changes.patched(file)?;
        for function in functions {
            let before = text.clone();
            text.push_str("#include <linux/suture.h>\n");
            text.push_str(&format!("SUTURE_IGNORE_FUNCTION({function});\n"));
            let diff = unified(file, Some(&before), Some(&text));
            markers.push((function.to_owned(), diff));
        }
    }
    Some(markers)
}

fn outcome(result: Result<Trial, FactoryError>, module: &str, modules: &Path) -> Result<Outcome> {
    Ok(match result {
        Ok(trial) => {
            std::fs::write(modules.join(format!("{module}.ko")), &trial.module)?;
            let functions = trial.functions.iter().map(|function| Function {
                object: function.object.clone(),
                name: function.name.clone(),
                position: function.position,
            });
            Outcome::Built {
                module: module.to_owned(),
                functions: functions.collect(),
            }
        }
        Err(FactoryError::Refused(refusals)) => {
            let mut kinds: Vec<String> = refusals.0.iter().map(kind).collect();
            kinds.sort();
            kinds.dedup();
            let message = FactoryError::Refused(refusals).to_string();
            Outcome::Refused { kinds, message }
        }
        Err(error) => Outcome::Failed {
            message: error.to_string(),
        },
    })
}

/// A refusal's name, as the code has it.
fn kind(refusal: &Refusal) -> String {
    let debug = match refusal {
        Refusal::Differ { why, .. } => format!("{why:?}"),
        other => format!("{other:?}"),
    };
    debug
        .split([' ', '(', '{'])
        .next()
        .unwrap_or_default()
        .to_owned()
}
