//! The sum over all rows.

use std::collections::BTreeMap;

use crate::row::{Outcome, Row};

pub fn print(rows: &[Row]) {
    let (holes, files): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.cve.is_some());
    let (with, alone): (Vec<&Row>, Vec<&Row>) = files.iter().partition(|row| !row.with.is_empty());
    println!(
        "\n{:<30}{:>6}{:>15}{:>15}{:>15}{:>15}{:>8}",
        "", "fixes", "built", "refused", "failed", "same code", "s each"
    );
    line("one file", &alone);
    line("one file and what it needs", &with);
    line("files, together", &files);
    line("whole fixes of holes", &holes);
    reasons(rows);
    for row in rows {
        if let Outcome::Failed { message } = &row.outcome {
            println!("failed: {}: {message}", row.file);
        }
    }
}

fn line(name: &str, rows: &[&Row]) {
    if rows.is_empty() {
        return;
    }
    let count = |wanted: fn(&Row) -> bool| rows.iter().filter(|row| wanted(row)).count();
    let share = |count: usize| {
        format!(
            "{count} ({:.1} %)",
            100.0 * count as f64 / rows.len() as f64
        )
    };
    let seconds: f64 = rows.iter().map(|row| row.seconds).sum();
    println!(
        "{name:<30}{:>6}{:>15}{:>15}{:>15}{:>15}{:>8.1}",
        rows.len(),
        share(count(|row| matches!(row.outcome, Outcome::Built { .. }))),
        share(count(
            |row| matches!(row.outcome, Outcome::Refused { .. }) && !row.is_same_code()
        )),
        share(count(|row| matches!(row.outcome, Outcome::Failed { .. }))),
        share(count(Row::is_same_code)),
        seconds / rows.len() as f64
    );
}

/// Why fixes were refused; one may have several reasons. Not counted is what changes no code.
fn reasons(rows: &[Row]) {
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in rows.iter().filter(|row| !row.is_same_code()) {
        if let Outcome::Refused { kinds: named, .. } = &row.outcome {
            for kind in named {
                kinds.entry(kind).or_default().push(&row.file);
            }
        }
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, files)| std::cmp::Reverse(files.len()));
    println!("\nrefused because of");
    for (kind, files) in kinds {
        let share = 100.0 * files.len() as f64 / rows.len() as f64;
        println!(
            "{:>5} ({share:>4.1} %)  {kind:<22} e.g. {}",
            files.len(),
            files[0]
        );
    }
}
