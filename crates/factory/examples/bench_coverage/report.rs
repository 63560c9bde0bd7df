//! The sum over all rows.

use std::collections::BTreeMap;

use crate::row::{Outcome, Row};

pub fn print(rows: &[Row]) {
    let (mut built, mut refused, mut failed) = (0, 0, Vec::new());
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        match &row.outcome {
            Outcome::Built { .. } => built += 1,
            Outcome::Refused { kinds: named, .. } => {
                refused += 1;
                for kind in named {
                    *kinds.entry(kind).or_default() += 1;
                }
            }
            Outcome::Failed { message } => failed.push((&row.file, message)),
        }
    }
    let share = 100.0 * f64::from(built) / (rows.len().max(1) as f64);
    let seconds: f64 = rows.iter().map(|row| row.seconds).sum();
    println!(
        "\n{} fixes: {built} built ({share:.1} %), {refused} refused, {} failed, {:.1} s each",
        rows.len(),
        failed.len(),
        seconds / (rows.len().max(1) as f64)
    );
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (kind, count) in kinds {
        println!("{count:>5}  {kind}");
    }
    for (file, message) in failed {
        println!("failed: {file}: {message}");
    }
}
