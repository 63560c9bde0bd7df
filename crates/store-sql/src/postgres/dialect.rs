//! What PostgreSQL says in its own way.

use suture_store::StoreError;

use crate::column::error_code;

pub use super::open::PostgresStore as Database;

pub type Connection = sqlx::PgConnection;

/// `serialization_failure` and `deadlock_detected` (source: PostgreSQL's documentation,
/// appendix A). The transaction changed nothing.
const LOST_RACES: [&str; 2] = ["40001", "40P01"];

/// Whether a transaction was refused because of another one.
pub fn lost_race(error: &StoreError) -> bool {
    error_code(error).is_some_and(|code| LOST_RACES.contains(&code.as_str()))
}

/// Whether a statement was refused for the values that it was given, and not because the database
/// can't work: `data_exception` and `integrity_constraint_violation` (source as above).
pub fn is_about_data(error: &StoreError) -> bool {
    let code = error_code(error);
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// The condition that row `m` of table `machine` has one of the kernel builds in the numbered
/// argument, which `kernels::covered` makes.
macro_rules! is_covered {
    ($argument:literal) => {
        concat!(
            "((m.release, m.architecture, m.build_id) IN (SELECT value ->> 0, value ->> 1, \
             value ->> 2 FROM jsonb_array_elements(CAST(",
            $argument,
            " AS jsonb))))"
        )
    };
}

/// The texts of a JSON list.
macro_rules! each_text {
    ($argument:literal) => {
        concat!(
            "(SELECT value FROM jsonb_array_elements_text(CAST(",
            $argument,
            " AS jsonb)))"
        )
    };
}

/// The numbers of a JSON list.
macro_rules! each_number {
    ($argument:literal) => {
        concat!(
            "(SELECT CAST(value AS bigint) FROM jsonb_array_elements_text(CAST(",
            $argument,
            " AS jsonb)))"
        )
    };
}

/// The byte strings of a JSON list, which has them as hexadecimal digits.
macro_rules! each_bytes {
    ($argument:literal) => {
        concat!(
            "(SELECT decode(value, 'hex') AS value FROM jsonb_array_elements_text(CAST(",
            $argument,
            " AS jsonb)))"
        )
    };
}

/// The rows of a JSON list: the table `r` with the column `value`.
macro_rules! each_row {
    ($argument:literal) => {
        concat!(
            "jsonb_array_elements(CAST(",
            $argument,
            " AS jsonb)) AS r(value)"
        )
    };
}

/// The condition that a column is this e-mail address, whatever the case.
macro_rules! is_address {
    ($column:literal, $argument:literal) => {
        concat!("lower(", $column, ") = lower(", $argument, ")")
    };
}

/// A condition that an index of the rows for which it holds can serve.
macro_rules! is_true {
    ($column:literal) => {
        $column
    };
}

/// Milliseconds since 1970 by the database's clock, which is one for all servers.
macro_rules! now_ms {
    () => {
        "CAST(extract(epoch FROM now()) * 1000 AS bigint)"
    };
}

/// The rollout's row counts its findings: who adds one changes that row, so of two that add one
/// the second comes after the first has committed, and numbers grow in the order of commits. A
/// sequence would give them out in the order of asking.
pub const ADD_FINDING: &str = "WITH next AS (
         UPDATE rollout SET findings = findings + 1
         WHERE id = $1
             AND NOT EXISTS (
                 SELECT 1 FROM finding WHERE rollout_id = $1 AND account_id = $2
                     AND machine_id = $3 AND kind = $4)
             AND NOT ($9 AND EXISTS (
                 SELECT 1 FROM finding WHERE rollout_id = $1 AND account_id = $2 AND kind = $4
                     AND at_ms > $8 - $10 AND at_ms <= $8))
         RETURNING findings
     )
     INSERT INTO finding
         (rollout_id, account_id, machine_id, kind, exposed, paid, steady, at_ms, number)
     SELECT $1, $2, $3, $4, $5, $6, $7, $8, findings FROM next";

pub(super) use {
    each_bytes, each_number, each_row, each_text, is_address, is_covered, is_true, now_ms,
};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;
    use suture_private_postgres::PrivatePostgres;
    use suture_rollout::{Plan, RolloutId, Scope};
    use suture_store::{Actor, NewRollout, RolloutStore as _};

    use super::*;
    use crate::DatabaseAddress;

    async fn store() -> Database {
        let address = PrivatePostgres::shared().empty_database();
        match DatabaseAddress::parse(address.as_ref()).unwrap() {
            DatabaseAddress::Postgres(options) => Database::open(&options).await.unwrap(),
            DatabaseAddress::File(path) => panic!("a file: {}", path.display()),
        }
    }

    async fn rollout(store: &Database) -> RolloutId {
        let scope = Scope {
            version: "104.1".parse().unwrap(),
            kernel: None,
        };
        let new = NewRollout {
            scope,
            plan: Plan::immediate(),
            starts: Timestamp::UNIX_EPOCH,
        };
        let made = store.create_rollout(&new, &Actor::Service, Timestamp::UNIX_EPOCH);
        made.await.unwrap().id
    }

    async fn add(
        connection: &mut Connection,
        rollout: RolloutId,
        machine: &str,
    ) -> Result<(), sqlx::Error> {
        let added = sqlx::query(ADD_FINDING)
            .bind(rollout.to_string())
            .bind("an account")
            .bind(machine)
            .bind("finished")
            .bind(true)
            .bind(false)
            .bind(false)
            .bind(1000_i64)
            .bind(false)
            .bind(1000_i64)
            .execute(connection)
            .await?;
        assert_eq!(added.rows_affected(), 1);
        Ok(())
    }

    /// A look that came between two commits in the other order would count the later number and
    /// never the earlier one.
    #[tokio::test]
    async fn a_finding_gets_no_number_while_an_earlier_one_is_uncommitted() {
        let store = store().await;
        let rollout = rollout(&store).await;
        let mut first = store.begin().await.unwrap();
        add(&mut first, rollout, "first").await.unwrap();

        let mut second = store.begin().await.unwrap();
        let adding = tokio::spawn(async move { add(&mut second, rollout, "second").await });
        let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        while PrivatePostgres::shared().statement("postgres", waiting) == "0" {
            assert!(!adding.is_finished(), "it has a number");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        first.commit().await.unwrap();
        let source = adding.await.unwrap().unwrap_err().into();
        let doing = "record what a machine told";
        assert!(lost_race(&StoreError::Database { doing, source }));

        let mut again = store.begin().await.unwrap();
        add(&mut again, rollout, "second").await.unwrap();
        again.commit().await.unwrap();
        let numbers: Vec<(String, i64)> =
            sqlx::query_as("SELECT machine_id, number FROM finding ORDER BY number")
                .fetch_all(&mut *store.read().await.unwrap())
                .await
                .unwrap();
        assert_eq!(numbers, [("first".to_owned(), 1), ("second".to_owned(), 2)]);
    }
}
