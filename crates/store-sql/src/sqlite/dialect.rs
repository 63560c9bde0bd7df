//! What SQLite says in its own way.

use suture_store::StoreError;

use crate::column::error_code;

pub use super::open::SqliteStore as Database;

pub type Connection = sqlx::SqliteConnection;

/// Whether a transaction was refused because of another one. Writers here wait for each other.
pub fn lost_race(_error: &StoreError) -> bool {
    false
}

/// Whether a statement was refused for the values that it was given, and not because the database
/// can't work (source: SQLite's "Result and Error Codes").
pub fn is_about_data(error: &StoreError) -> bool {
    const ERROR: i32 = 1;
    const TOO_BIG: i32 = 18;
    const CONSTRAINT: i32 = 19;
    const MISMATCH: i32 = 20;
    let primary = error_code(error).and_then(|code| Some(code.parse::<i32>().ok()? & 0xff));
    matches!(primary, Some(ERROR | TOO_BIG | CONSTRAINT | MISMATCH))
}

/// The condition that row `m` of table `machine` has one of the kernel builds in the numbered
/// argument, which `kernels::covered` makes. The list is read once for a statement.
macro_rules! is_covered {
    ($argument:literal) => {
        concat!(
            "((m.release, m.architecture, m.build_id) IN (SELECT value ->> 0, value ->> 1, \
             value ->> 2 FROM json_each(",
            $argument,
            ")))"
        )
    };
}

/// The texts of a JSON list.
macro_rules! each_text {
    ($argument:literal) => {
        concat!("(SELECT value FROM json_each(", $argument, "))")
    };
}

/// The numbers of a JSON list.
macro_rules! each_number {
    ($argument:literal) => {
        concat!("(SELECT value FROM json_each(", $argument, "))")
    };
}

/// The byte strings of a JSON list, which has them as hexadecimal digits: the column `value`.
macro_rules! each_bytes {
    ($argument:literal) => {
        concat!(
            "(SELECT unhex(value) AS value FROM json_each(",
            $argument,
            "))"
        )
    };
}

/// The rows of a JSON list: the table `r` with the column `value`.
macro_rules! each_row {
    ($argument:literal) => {
        concat!("json_each(", $argument, ") AS r")
    };
}

/// The condition that a column is this e-mail address. The column's collation leaves out case.
macro_rules! is_address {
    ($column:literal, $argument:literal) => {
        concat!($column, " = ", $argument)
    };
}

/// A condition that an index of the rows for which it holds can serve.
macro_rules! is_true {
    ($column:literal) => {
        concat!($column, " = 1")
    };
}

/// Milliseconds since 1970 by the database's clock.
macro_rules! now_ms {
    () => {
        "CAST(unixepoch('subsec') * 1000 AS INTEGER)"
    };
}

/// One writer at a time: numbers grow in the order of commits.
pub const ADD_FINDING: &str = "INSERT INTO finding
         (rollout_id, account_id, machine_id, kind, exposed, paid, steady, at_ms)
     SELECT $1, $2, $3, $4, $5, $6, $7, $8
     WHERE NOT ($9 AND EXISTS (
         SELECT 1 FROM finding WHERE rollout_id = $1 AND account_id = $2 AND kind = $4
             AND at_ms > $8 - $10 AND at_ms <= $8))
     ON CONFLICT DO NOTHING";

pub(super) use {
    each_bytes, each_number, each_row, each_text, is_address, is_covered, is_true, now_ms,
};
