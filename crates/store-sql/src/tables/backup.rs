//! Rows of all tables into a backup, and out of one.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::BufRead;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use serde_json::Value;
use sqlx::AssertSqlSafe;
use suture_store::StoreError;

use super::super::restored::{self, COLUMNS, NAME, REFERENCES, Restored};
use super::dialect::{Connection, Database, each_row};
use crate::backup::{
    BackupError, Header, Kind, Reader, Record, Summary, Table, Writer, failed, in_order, tables,
};
use crate::column::{database, time, to_json};

/// Rows of one statement, at most.
const MOST_ROWS: usize = 500;

/// Bytes of one statement's rows, from which on no further row is taken.
const ENOUGH_BYTES: usize = 1024 * 1024;

impl Database {
    pub async fn back_up(&self, file: File, now: Timestamp) -> Result<Summary, BackupError> {
        let mut transaction = self.snapshot().await?;
        let tables = all_tables(&mut transaction).await?;
        let mut writer = Writer::new(file, NAME, now.as_millisecond())?;
        for table in &tables {
            write_rows(&mut transaction, table, &mut writer).await?;
        }
        let (file, rows) = writer.finish()?;
        file.sync_all().map_err(failed("write"))?;
        Ok(Summary {
            made: now,
            tables: tables.len(),
            rows,
        })
    }

    pub async fn restore<R: BufRead>(&self, mut file: Reader<R>) -> Result<Summary, BackupError> {
        let mut transaction = self.begin().await?;
        let tables = all_tables(&mut transaction).await?;
        for table in &tables {
            require_empty(&mut transaction, table).await?;
        }
        let mut restoring = Restoring::new(&tables, file.header());
        while let Some(record) = file.next()? {
            restoring.take(&mut transaction, record).await?;
        }
        restoring.write(&mut transaction).await?;
        restored::finish(&mut transaction, &tables).await?;
        transaction.commit().await.map_err(database("commit"))?;
        self.settle().await?;
        let made = time("backup", "made_ms", file.header().made_ms);
        Ok(Summary {
            made: made.map_err(StoreError::from)?,
            tables: restoring.seen.len(),
            rows: restoring.rows,
        })
    }
}

/// The tables of a backup, those that are referred to first.
async fn all_tables(connection: &mut Connection) -> Result<Vec<Table>, BackupError> {
    let columns = sqlx::query_as(COLUMNS).fetch_all(&mut *connection).await;
    let columns = columns.map_err(database("list the tables"))?;
    let references: Vec<(String, String)> = sqlx::query_as(REFERENCES)
        .fetch_all(connection)
        .await
        .map_err(database("list the tables"))?;
    Ok(in_order(tables(columns)?, &references))
}

async fn write_rows<W: std::io::Write>(
    connection: &mut Connection,
    table: &Table,
    writer: &mut Writer<W>,
) -> Result<(), BackupError> {
    let names = table.columns.iter().map(|(name, _)| name.clone()).collect();
    writer.table(table.name.clone(), names)?;
    let statement = format!("SELECT {} FROM {}", restored::row(table), table.name);
    // Made of the names of the database's own tables and columns.
    let mut rows = sqlx::query_scalar::<_, String>(AssertSqlSafe(statement)).fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(database("read a table"))? {
        writer.row(&row)?;
    }
    Ok(())
}

async fn require_empty(connection: &mut Connection, table: &Table) -> Result<(), BackupError> {
    let statement = format!("SELECT EXISTS (SELECT 1 FROM {})", table.name);
    // As above.
    let any: bool = sqlx::query_scalar(AssertSqlSafe(statement))
        .fetch_one(connection)
        .await
        .map_err(database("look into a table"))?;
    if any {
        let table = table.name.clone();
        return Err(BackupError::NotEmpty { table });
    }
    Ok(())
}

/// A restore under way.
struct Restoring<'tables> {
    tables: HashMap<&'tables str, &'tables Table>,
    from: Restored,
    /// The columns of the table in the file; one that this database does not have is none.
    columns: Option<Vec<Option<Kind>>>,
    insert: String,
    waiting: Vec<Vec<Value>>,
    bytes: usize,
    seen: HashSet<String>,
    rows: u64,
}

impl<'tables> Restoring<'tables> {
    fn new(tables: &'tables [Table], header: &Header) -> Self {
        let named = |table: &'tables Table| (table.name.as_str(), table);
        Self {
            tables: tables.iter().map(named).collect(),
            from: Restored::new(&header.from),
            columns: None,
            insert: String::new(),
            waiting: Vec::new(),
            bytes: 0,
            seen: HashSet::new(),
            rows: 0,
        }
    }

    async fn take(
        &mut self,
        connection: &mut Connection,
        record: Record,
    ) -> Result<(), BackupError> {
        match record {
            Record::Table { name, columns } => {
                self.write(connection).await?;
                self.begin(&name, &columns)
            }
            Record::Row(row) => {
                self.add(row)?;
                if self.waiting.len() >= MOST_ROWS || self.bytes >= ENOUGH_BYTES {
                    self.write(connection).await?;
                }
                Ok(())
            }
        }
    }

    fn begin(&mut self, name: &str, columns: &[String]) -> Result<(), BackupError> {
        let newer = |what| BackupError::Newer { what };
        let Some(table) = self.tables.get(name).copied() else {
            return Err(newer(format!("a table `{name}`")));
        };
        if !self.seen.insert(name.to_owned()) {
            let reason = "a table comes twice";
            return Err(BackupError::Damaged { reason });
        }
        let mut kinds = Vec::with_capacity(columns.len());
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (place, column) in columns.iter().enumerate() {
            let known = table.columns.iter().find(|(known, _)| known == column);
            kinds.push(match known {
                Some((known, kind)) => {
                    names.push(known.as_str());
                    values.push(restored::value(place, *kind));
                    Some(*kind)
                }
                None if restored::is_not_kept(name, column) => None,
                None => return Err(newer(format!("a column `{column}` of table `{name}`"))),
            });
        }
        let (names, values) = (names.join(", "), values.join(", "));
        self.insert = format!(
            "INSERT INTO {} ({names}) SELECT {values} FROM {}",
            table.name,
            each_row!("$1")
        );
        self.from.begin(name, columns);
        self.columns = Some(kinds);
        Ok(())
    }

    fn add(&mut self, mut row: Vec<Value>) -> Result<(), BackupError> {
        let damaged = |reason| BackupError::Damaged { reason };
        let Some(kinds) = &self.columns else {
            return Err(damaged("a row comes before its table"));
        };
        if row.len() != kinds.len() {
            return Err(damaged(
                "a row has another number of columns than its table",
            ));
        }
        for (value, kind) in row.iter_mut().zip(kinds) {
            match (kind, &*value) {
                (Some(Kind::Boolean), Value::Number(number)) => {
                    *value = Value::Bool(number.as_i64() != Some(0));
                }
                (Some(Kind::Integer), Value::Bool(is)) => *value = i64::from(*is).into(),
                (_, Value::String(text)) => self.bytes += text.len(),
                _ => {}
            }
        }
        self.from.adapt(&mut row);
        self.waiting.push(row);
        self.rows += 1;
        Ok(())
    }

    /// Writes the rows that wait.
    async fn write(&mut self, connection: &mut Connection) -> Result<(), BackupError> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.waiting);
        if rows.is_empty() {
            return Ok(());
        }
        // Made of the names of the database's own tables and columns.
        sqlx::query(AssertSqlSafe(self.insert.clone()))
            .bind(to_json(&rows)?)
            .execute(connection)
            .await
            .map_err(database("restore rows"))?;
        Ok(())
    }
}
