//! How tables are asked for, and what a backup of the other database needs here.

use std::collections::HashMap;

use serde_json::Value;
use sqlx::SqliteConnection;

use crate::backup::{BackupError, Kind, Table};

/// As a backup names this database.
pub const NAME: &str = "sqlite";

/// Table, column, type.
pub const COLUMNS: &str = "SELECT s.name, c.name, c.type
     FROM sqlite_schema s JOIN pragma_table_info(s.name) c
     WHERE s.type = 'table' AND s.name NOT GLOB 'sqlite_*'
     ORDER BY s.name, c.cid";

/// Table, and a table that it refers to.
pub const REFERENCES: &str = "SELECT DISTINCT s.name, f.\"table\"
     FROM sqlite_schema s JOIN pragma_foreign_key_list(s.name) f WHERE s.type = 'table'";

/// A row as a JSON list.
pub fn row(table: &Table) -> String {
    let value = |(name, kind): &(String, Kind)| match kind {
        Kind::Bytes => format!("CASE WHEN {name} IS NOT NULL THEN hex({name}) END"),
        Kind::Text | Kind::Integer | Kind::Boolean => name.clone(),
    };
    let values: Vec<_> = table.columns.iter().map(value).collect();
    format!("json_array({})", values.join(", "))
}

/// The column's value from the row `r`.
pub fn value(place: usize, kind: Kind) -> String {
    match kind {
        Kind::Bytes => format!("unhex(r.value ->> {place})"),
        Kind::Text | Kind::Integer | Kind::Boolean => format!("r.value ->> {place}"),
    }
}

/// Whether a column of the other database has no counterpart here: it counts findings where
/// numbers do not come from one sequence.
pub fn is_not_kept(table: &str, column: &str) -> bool {
    (table, column) == ("rollout", "findings")
}

/// Numbers of findings, which are one sequence here and one for each rollout elsewhere: those of
/// each rollout get a range of their own, and stay in order. `rollout.seen` moves with them.
pub struct Restored {
    is_other: bool,
    /// Where rollouts' findings begin, by the rollout's id.
    ranges: HashMap<String, i64>,
    step: Step,
}

/// What is to be done with a row, by the places of columns in it.
enum Step {
    Nothing,
    Rollout {
        id: usize,
        number: usize,
        seen: usize,
    },
    Finding {
        rollout: usize,
        number: usize,
    },
}

impl Restored {
    pub fn new(from: &str) -> Self {
        Self {
            is_other: from != NAME,
            ranges: HashMap::new(),
            step: Step::Nothing,
        }
    }

    pub fn begin(&mut self, table: &str, columns: &[String]) {
        let place = |name: &str| columns.iter().position(|column| column == name);
        let step = || match table {
            "rollout" => Some(Step::Rollout {
                id: place("id")?,
                number: place("number")?,
                seen: place("seen")?,
            }),
            "finding" => Some(Step::Finding {
                rollout: place("rollout_id")?,
                number: place("number")?,
            }),
            _ => None,
        };
        self.step = step().filter(|_| self.is_other).unwrap_or(Step::Nothing);
    }

    pub fn adapt(&mut self, row: &mut [Value]) {
        const RANGE: i64 = 1 << 32;
        let number = |value: &Value| value.as_i64().unwrap_or(0);
        match self.step {
            Step::Nothing => {}
            Step::Rollout {
                id,
                number: of,
                seen,
            } => {
                let begin = number(&row[of]) * RANGE;
                let id = row[id].as_str().unwrap_or_default().to_owned();
                self.ranges.insert(id, begin);
                row[seen] = (number(&row[seen]) + begin).into();
            }
            Step::Finding {
                rollout,
                number: of,
            } => {
                let id = row[rollout].as_str().unwrap_or_default();
                let begin = self.ranges.get(id).copied().unwrap_or(0);
                row[of] = (number(&row[of]) + begin).into();
            }
        }
    }
}

/// SQLite goes on after the highest number by itself; but what was seen must not be ahead of it.
pub async fn finish(connection: &mut SqliteConnection, _: &[Table]) -> Result<(), BackupError> {
    let continued = sqlx::query(
        "UPDATE sqlite_sequence SET seq = max(seq, (SELECT coalesce(max(seen), 0) FROM rollout))
         WHERE name = 'finding'",
    );
    let inserted = sqlx::query(
        "INSERT INTO sqlite_sequence (name, seq)
         SELECT 'finding', coalesce(max(seen), 0) FROM rollout
         WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'finding')",
    );
    for statement in [continued, inserted] {
        let done = statement.execute(&mut *connection).await;
        done.map_err(crate::column::database("go on with numbers"))?;
    }
    Ok(())
}
