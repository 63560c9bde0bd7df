//! Whole fixes of holes, several files each, from a list of them.

use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::changes::Changes;
use crate::row::Case;

/// One hole, as the list has it.
#[derive(Debug, Deserialize)]
pub struct Hole {
    cve: String,
    /// Files of the fix in the newest kernel; older ones may have the code elsewhere.
    program_files: Vec<String>,
    /// Version of the source package that brought the fix.
    debian_fixed_in: String,
}

pub fn read(path: &Path) -> Result<Vec<Hole>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    Ok(serde_json::from_str(&text)?)
}

/// The fixes that came with a version, as far as their files differ. Tells of those that left no
/// trace in their files.
pub fn cases(holes: &[Hole], to: &str, changes: &Changes) -> Vec<Case> {
    let mut cases = Vec::new();
    for hole in holes.iter().filter(|hole| hole.debian_fixed_in == to) {
        let files = hole.program_files.iter();
        let files: Vec<String> = files
            .filter(|file| changes.diff(file).is_some())
            .cloned()
            .collect();
        if files.is_empty() {
            let named = hole.program_files.join(", ");
            println!("     {}: {named} did not change in this series", hole.cve);
            continue;
        }
        cases.push(Case {
            name: files.join(" "),
            files,
            cve: Some(hole.cve.clone()),
        });
    }
    cases
}
