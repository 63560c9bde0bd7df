//! Connecting to the server.

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool, Postgres, Transaction};
use suture_store::StoreError;

use super::migrate::migrate;
use super::tables::{Courses, Report};
use crate::OpenError;
use crate::address::name;
use crate::column::database;
use crate::group_commit::Queue;
use crate::retry::Line;

/// Connections of this process. More transactions at the same moment would only meet each other
/// at the same rows.
const CONNECTIONS: u32 = 16;

/// How long a request waits for one of them.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The store in PostgreSQL.
#[derive(Debug, Clone)]
pub struct PostgresStore {
    pool: PgPool,
    pub(super) courses: Arc<Courses>,
    pub(super) reports: Queue<Box<Report>>,
    pub(super) line: Line,
}

impl PostgresStore {
    /// Connects to a database that exists, and brings its tables to this program's version.
    pub async fn open(options: &PgConnectOptions) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Connect {
            database: name(options),
            source,
        };
        // A pool would try for long, and then say that it had no connection and not why.
        let first = options.connect().await.map_err(failed)?;
        first.close().await.map_err(failed)?;
        let several = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(CONNECTION_TIMEOUT);
        let pool = several
            .connect_with(options.clone())
            .await
            .map_err(failed)?;
        migrate(&pool, &name(options)).await?;
        Ok(Self {
            pool,
            courses: Arc::default(),
            reports: Queue::default(),
            line: Line::default(),
        })
    }

    /// Waits for open transactions and closes the connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    pub(super) async fn begin(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let begun = self.pool.begin_with("BEGIN ISOLATION LEVEL SERIALIZABLE");
        begun.await.map_err(database("start a transaction"))
    }

    /// A commit returns when it survives a power cut.
    #[expect(clippy::unused_async, reason = "as the other database has it")]
    pub(super) async fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// The server sees to its own disk.
    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "as the other database has it"
    )]
    pub(super) fn check_disk(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// A connection for single statements that only read.
    pub(super) async fn read(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        let acquired = self.pool.acquire().await;
        acquired.map_err(database("open a connection"))
    }

    /// A transaction whose statements read one state. It is no part of the order of those that
    /// write, so that a long count keeps none of them from committing.
    pub(super) async fn snapshot(&self) -> Result<Transaction<'static, Postgres>, StoreError> {
        let begun = self
            .pool
            .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
        begun.await.map_err(database("start a transaction"))
    }
}
