//! What check-ins change in table `machine`, for many machines at once.

use std::mem::swap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;
use suture_store::{FailureText, Machine, StoreError};

use super::dialect::{Connection, each_row};
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

/// A machine that reported what it had reported before.
#[derive(Serialize)]
struct HeardColumns<'a>(String, &'a str, i64, i64);

impl<'a> HeardColumns<'a> {
    /// None before the first report.
    fn new(machine: &'a Machine) -> Option<Self> {
        Some(Self(
            machine.account.to_string(),
            machine.id.as_str(),
            machine.last_check_in.as_ref()?.at.as_millisecond(),
            machine.steady_since.as_millisecond(),
        ))
    }
}

/// Machines that were heard of, to be written together.
#[derive(Default)]
pub struct Heard {
    changed: Vec<Arc<Machine>>,
    unchanged: Vec<Arc<Machine>>,
}

impl Heard {
    /// The machine after its check-in.
    pub fn add(&mut self, before: &Machine, mut after: Machine) -> Arc<Machine> {
        // The statement for those that say nothing new touches what it must.
        let heard = match says_as_before(before, &mut after) {
            true => &mut self.unchanged,
            false => &mut self.changed,
        };
        let after = Arc::new(after);
        heard.push(Arc::clone(&after));
        after
    }

    /// Writes what is new of each. The machines are there.
    pub async fn write(&self, connection: &mut Connection) -> Result<(), StoreError> {
        let reports = self
            .changed
            .iter()
            .filter_map(|machine| ReportColumns::new(machine));
        let times = self
            .unchanged
            .iter()
            .filter_map(|machine| HeardColumns::new(machine));
        let (reports, times): (Vec<_>, Vec<_>) = (reports.collect(), times.collect());
        write(&mut *connection, REPORT, &reports).await?;
        write(connection, HEAR, &times).await
    }
}

/// Whether a check-in changed nothing of a machine but the times at which it was heard, which are
/// put aside for a moment: all else is compared, also what a machine is to have one day.
fn says_as_before(before: &Machine, after: &mut Machine) -> bool {
    let heard = |machine: &Machine| machine.last_check_in.as_ref().map(|last| last.at);
    let mut times = (
        before.steady_since,
        heard(before).unwrap_or(before.enrolled),
    );
    swap_times(after, &mut times);
    let same = after == before;
    swap_times(after, &mut times);
    same
}

fn swap_times(machine: &mut Machine, (steady_since, heard): &mut (Timestamp, Timestamp)) {
    swap(&mut machine.steady_since, steady_since);
    if let Some(last) = &mut machine.last_check_in {
        swap(&mut last.at, heard);
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

/// Moves the times of reports that say nothing new.
const HEAR: &str = concat!(
    "UPDATE machine AS m SET checked_in_ms = CAST(r.value ->> 2 AS bigint),
         steady_since_ms = CAST(r.value ->> 3 AS bigint)
     FROM ",
    each_row!("$1"),
    " WHERE m.account_id = r.value ->> 0 AND m.machine_id = r.value ->> 1"
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
