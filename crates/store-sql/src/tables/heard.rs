//! What check-ins change in table `machine`, for many machines at once.

use std::sync::Arc;

use serde::Serialize;
use suture_store::{FailureText, Machine, StoreError};

use super::dialect::{Connection, each_row, each_text};
use crate::column::{database, to_json};

/// A machine's report, as the statement's argument: a list, because names would be longer than the
/// values.
#[derive(Serialize)]
struct ReportColumns<'a>(
    String,
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    &'a str,
    i64,
    &'a str,
    i64,
    &'static str,
    Option<String>,
    Option<&'a str>,
    i64,
    String,
);

impl<'a> ReportColumns<'a> {
    /// None before the first report.
    fn new(machine: &'a Machine) -> Option<Self> {
        let last = machine.last_check_in.as_ref()?;
        Some(Self(
            machine.account.to_string(),
            machine.id.as_str(),
            machine.kernel.release.as_str(),
            machine.kernel.architecture.as_str(),
            machine.kernel.build_id.as_str(),
            machine.agent_version.as_str(),
            last.at.as_millisecond(),
            last.boot_id.as_str(),
            last.boot_time.as_millisecond(),
            last.state.as_str(),
            last.applied.map(|version| version.to_string()),
            last.state.failure().map(FailureText::as_str),
            machine.steady_since.as_millisecond(),
            machine.boots.to_string(),
        ))
    }
}

/// Digits of a time in milliseconds, so that it has its place in a line.
const TIME: usize = 20;

/// A machine that reported what it had reported before: a line in which each value has its place,
/// because most machines are such, and lists would take the database longer to read.
fn times(machine: &Machine) -> Option<String> {
    let heard = machine.last_check_in.as_ref()?.at.as_millisecond();
    let steady = machine.steady_since.as_millisecond();
    let Machine { account, id, .. } = machine;
    Some(format!("{heard:0TIME$}{steady:0TIME$}{id}{account}"))
}

/// Machines that were heard of, to be written together.
#[derive(Default)]
pub struct Heard {
    changed: Vec<Arc<Machine>>,
    unchanged: Vec<Arc<Machine>>,
}

impl Heard {
    /// A machine after its check-in, which said something new or did not.
    pub fn add(&mut self, machine: &Arc<Machine>, is_news: bool) {
        let heard = match is_news {
            true => &mut self.changed,
            false => &mut self.unchanged,
        };
        heard.push(Arc::clone(machine));
    }

    /// Writes what is new of each. The machines are there.
    pub async fn write(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let reports = self
            .changed
            .iter()
            .filter_map(|machine| ReportColumns::new(machine));
        let times = self.unchanged.iter().filter_map(|machine| times(machine));
        let (reports, times): (Vec<_>, Vec<_>) = (reports.collect(), times.collect());
        write(&mut *connection, REPORT, &reports).await?;
        write(connection, HEAR, &times).await
    }
}

/// Puts reports in the place of the last ones.
const REPORT: &str = concat!(
    "UPDATE machine AS m SET release = r.value ->> 2, architecture = r.value ->> 3,
         build_id = r.value ->> 4, agent_version = r.value ->> 5,
         checked_in_ms = CAST(r.value ->> 6 AS bigint), boot_id = r.value ->> 7,
         boot_ms = CAST(r.value ->> 8 AS bigint), state = r.value ->> 9,
         applied = r.value ->> 10, failure = r.value ->> 11,
         steady_since_ms = CAST(r.value ->> 12 AS bigint), boots = r.value ->> 13,
         replaced_by = NULL
     FROM ",
    each_row!("$1"),
    " WHERE m.account_id = r.value ->> 0 AND m.machine_id = r.value ->> 1"
);

/// Moves the times of machines that said nothing new.
const HEAR: &str = concat!(
    "UPDATE machine AS m SET checked_in_ms = CAST(substr(r.value, 1, 20) AS bigint),
         steady_since_ms = CAST(substr(r.value, 21, 20) AS bigint)
     FROM ",
    each_text!("$1"),
    " AS r WHERE m.machine_id = substr(r.value, 41, 32) AND m.account_id = substr(r.value, 73)"
);

async fn write<T: Serialize>(
    connection: &mut Connection,
    statement: &'static str,
    rows: &[T],
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let written = sqlx::query(statement)
        .bind(to_json(&rows)?)
        .execute(connection)
        .await
        .map_err(database("record check-ins"))?;
    // Each was read in this transaction.
    if written.rows_affected() == rows.len() as u64 {
        Ok(())
    } else {
        Err(StoreError::UnknownMachine)
    }
}
