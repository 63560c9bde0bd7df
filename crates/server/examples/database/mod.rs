//! A database that is measured.

use std::ffi::OsString;
use std::path::PathBuf;

use sqlx::postgres::PgPool;

/// Where the machines are.
pub enum Database {
    File(PathBuf),
    Postgres(String),
}

impl Database {
    pub fn address(&self) -> OsString {
        match self {
            Self::File(path) => path.into(),
            Self::Postgres(address) => address.into(),
        }
    }

    /// Bytes on the disk, the log that is not in its place yet left out.
    pub async fn size(&self) -> anyhow::Result<u64> {
        match self {
            Self::File(path) => Ok(std::fs::metadata(path)?.len()),
            Self::Postgres(address) => {
                let pool = PgPool::connect(address).await?;
                let size: i64 = sqlx::query_scalar("SELECT pg_database_size(current_database())")
                    .fetch_one(&pool)
                    .await?;
                pool.close().await;
                Ok(size.unsigned_abs())
            }
        }
    }
}
