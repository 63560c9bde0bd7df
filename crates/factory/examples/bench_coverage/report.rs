//! The sum over all rows.

use std::collections::BTreeMap;

use crate::row::{Outcome, Row};

pub fn print(rows: &[Row]) {
    let (holes, files): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|row| row.cve.is_some());
    let (with, alone): (Vec<&Row>, Vec<&Row>) = files.iter().partition(|row| !row.with.is_empty());
    println!(
        "\n{:<30}{:>6}{:>15}{:>13}{:>15}{:>15}{:>15}{:>15}{:>8}",
        "", "fixes", "built", "of code", "refused", "failed", "incomplete", "same code", "s each"
    );
    line("one file", &alone);
    line("one file and what it needs", &with);
    line("files, together", &files);
    line("whole fixes of holes", &holes);
    let told = rows.iter().filter(|row| !row.left_out.is_empty()).count();
    println!(
        "{told} of those refused are built if their author says that functions which only run at \
         boot may be left out"
    );
    let is_data = |row: &&Row| row.data_alone && row.is_refused();
    let data = files.iter().filter(|row| is_data(row)).count();
    let running = files.iter().filter(|row| !row.is_same_code()).count() - data;
    let built = files.iter().filter(|row| row.is_built()).count();
    println!(
        "{data} of the files refused change no function that outlives the start; of the others \
         that change code, {:.1} % are built",
        100.0 * built as f64 / running.max(1) as f64
    );
    reasons(rows);
    for row in rows {
        match &row.outcome {
            Outcome::Failed { message } => println!("failed: {}: {message}", row.file),
            Outcome::Refused { message, .. } if row.is_incomplete() => {
                println!("incomplete: {}: {message}", row.file);
            }
            _ => {}
        }
    }
}

fn line(name: &str, rows: &[&Row]) {
    if rows.is_empty() {
        return;
    }
    // What changes no code is no fix of this kernel.
    let changing = rows.iter().filter(|row| !row.is_same_code()).count();
    let count = |wanted: fn(&Row) -> bool| rows.iter().filter(|row| wanted(row)).count();
    let share = |count: usize| {
        format!(
            "{count} ({:.1} %)",
            100.0 * count as f64 / rows.len() as f64
        )
    };
    let seconds: f64 = rows.iter().map(|row| row.seconds).sum();
    println!(
        "{name:<30}{:>6}{:>15}{:>11.1} %{:>15}{:>15}{:>15}{:>15}{:>8.1}",
        rows.len(),
        share(count(Row::is_built)),
        100.0 * count(Row::is_built) as f64 / changing.max(1) as f64,
        share(count(Row::is_refused)),
        share(count(|row| matches!(row.outcome, Outcome::Failed { .. }))),
        share(count(Row::is_incomplete)),
        share(count(Row::is_same_code)),
        seconds / rows.len() as f64
    );
}

/// Why fixes were refused; one may have several reasons. Not counted is what changes no code.
fn reasons(rows: &[Row]) {
    let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.is_refused()) {
        if !row.left_out.is_empty() {
            kinds.entry("InitCode").or_default().push(&row.file);
        }
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
