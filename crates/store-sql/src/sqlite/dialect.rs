//! What SQLite says in its own way.

use suture_store::StoreError;

pub use super::open::SqliteStore as Database;

pub type Connection = sqlx::SqliteConnection;

/// Whether a transaction was refused because of another one. Writers here wait for each other.
pub fn lost_race(_error: &StoreError) -> bool {
    false
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

pub(super) use {each_number, each_text, is_address, is_covered, is_true, now_ms};
