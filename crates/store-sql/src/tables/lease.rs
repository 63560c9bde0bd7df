//! Table `lease`: which server does what for all.

use std::time::Duration;

use async_trait::async_trait;
use suture_store::{Job, LeaseState, LeaseStore, ServerId, StoreError};

use super::dialect::{self, Connection, Database, now_ms};
use crate::column::{count, database};

#[async_trait]
impl LeaseStore for Database {
    async fn take_lease(
        &self,
        job: Job,
        server: ServerId,
        length: Duration,
    ) -> Result<LeaseState, StoreError> {
        transaction!(self, |connection| take(connection, job, server, length))
    }

    async fn give_up_lease(&self, job: Job, server: ServerId) -> Result<(), StoreError> {
        transaction!(self, |connection| give_up(connection, job, server))
    }

    async fn call_holder(&self, job: Job) -> Result<(), StoreError> {
        transaction!(self, |connection| call(connection, job))
    }
}

/// By the database's clock alone: those of the servers may differ.
async fn take(
    connection: &mut Connection,
    job: Job,
    server: ServerId,
    length: Duration,
) -> Result<LeaseState, StoreError> {
    let calls: Option<i64> = sqlx::query_scalar(concat!(
        "INSERT INTO lease (job, holder, until_ms, calls) VALUES ($1, $2, ",
        now_ms!(),
        " + $3, 0)
         ON CONFLICT (job) DO UPDATE SET holder = excluded.holder, until_ms = excluded.until_ms
         WHERE lease.holder = excluded.holder OR lease.until_ms <= ",
        now_ms!(),
        " RETURNING calls"
    ))
    .bind(job.as_str())
    .bind(server.to_string())
    .bind(i64::try_from(length.as_millis()).unwrap_or(i64::MAX / 2))
    .fetch_optional(connection)
    .await
    .map_err(database("take a lease"))?;
    Ok(match calls {
        Some(calls) => LeaseState::Ours {
            calls: count("lease", "calls", calls)?,
        },
        None => LeaseState::Theirs,
    })
}

async fn give_up(
    connection: &mut Connection,
    job: Job,
    server: ServerId,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE lease SET until_ms = 0 WHERE job = $1 AND holder = $2")
        .bind(job.as_str())
        .bind(server.to_string())
        .execute(connection)
        .await
        .map_err(database("give up a lease"))?;
    Ok(())
}

async fn call(connection: &mut Connection, job: Job) -> Result<(), StoreError> {
    sqlx::query("UPDATE lease SET calls = calls + 1 WHERE job = $1")
        .bind(job.as_str())
        .execute(connection)
        .await
        .map_err(database("call the holder of a lease"))?;
    Ok(())
}
