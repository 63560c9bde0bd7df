//! How tables are asked for, and what a backup of the other database needs here.

use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

use crate::backup::{BackupError, Kind, Table};
use crate::column::database;

/// As a backup names this database.
pub const NAME: &str = "postgres";

/// Table, column, type.
pub const COLUMNS: &str = "SELECT CAST(c.table_name AS text), CAST(c.column_name AS text),
         CAST(c.data_type AS text)
     FROM information_schema.columns c
     JOIN information_schema.tables t
         ON t.table_schema = c.table_schema AND t.table_name = c.table_name
     WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE'
         AND c.table_name <> '_sqlx_migrations'
     ORDER BY c.table_name, c.ordinal_position";

/// Table, and a table that it refers to.
pub const REFERENCES: &str = "SELECT DISTINCT CAST(c.relname AS text), CAST(f.relname AS text)
     FROM pg_constraint k
     JOIN pg_class c ON c.oid = k.conrelid
     JOIN pg_class f ON f.oid = k.confrelid
     WHERE k.contype = 'f' AND c.relnamespace = CAST(current_schema() AS regnamespace)";

/// Columns whose numbers the database gives, by table.
const NUMBERED: &str = "SELECT CAST(column_name AS text) FROM information_schema.columns
     WHERE table_schema = current_schema() AND table_name = $1 AND is_identity = 'YES'";

/// A row as a JSON list.
pub fn row(table: &Table) -> String {
    let value = |(name, kind): &(String, Kind)| match kind {
        Kind::Bytes => format!("encode({name}, 'hex')"),
        Kind::Text | Kind::Integer | Kind::Boolean => name.clone(),
    };
    let values: Vec<_> = table.columns.iter().map(value).collect();
    format!("CAST(json_build_array({}) AS text)", values.join(", "))
}

/// The column's value from the row `r`.
pub fn value(place: usize, kind: Kind) -> String {
    match kind {
        Kind::Bytes => format!("decode(r.value ->> {place}, 'hex')"),
        Kind::Text => format!("r.value ->> {place}"),
        Kind::Integer => format!("CAST(r.value ->> {place} AS bigint)"),
        Kind::Boolean => format!("CAST(r.value ->> {place} AS boolean)"),
    }
}

/// The other database has no column that is not here.
pub fn is_not_kept(_table: &str, _column: &str) -> bool {
    false
}

/// Rows are taken as they are.
pub struct Restored;

impl Restored {
    pub fn new(_from: &str) -> Self {
        Self
    }

    pub fn begin(&mut self, _table: &str, _columns: &[String]) {}

    pub fn adapt(&mut self, _row: &mut [Value]) {}
}

/// Goes on with numbers where the backup left them: those that the database gives, and those of
/// findings, of which a rollout must get none that it has seen already.
pub async fn finish(connection: &mut PgConnection, tables: &[Table]) -> Result<(), BackupError> {
    let failed = database("go on with numbers");
    sqlx::query(
        "UPDATE rollout SET findings = greatest(findings, seen, (
             SELECT coalesce(max(f.number), 0) FROM finding f WHERE f.rollout_id = rollout.id))",
    )
    .execute(&mut *connection)
    .await
    .map_err(&failed)?;
    for table in tables {
        let numbered: Option<String> = sqlx::query_scalar(NUMBERED)
            .bind(&table.name)
            .fetch_optional(&mut *connection)
            .await
            .map_err(&failed)?;
        let Some(column) = numbered else {
            continue;
        };
        let statement = format!(
            "SELECT setval(pg_get_serial_sequence($1, $2), max({column})) FROM {}
             HAVING max({column}) > 0",
            table.name
        );
        // Made of the names of the database's own tables and columns.
        sqlx::query(AssertSqlSafe(statement))
            .bind(&table.name)
            .bind(&column)
            .execute(&mut *connection)
            .await
            .map_err(&failed)?;
    }
    Ok(())
}
