//! Bringing the tables to this program's version.
//!
//! Several servers may start at the same moment, of this version and of the one before. One of
//! them migrates while a row of table `migration_guard` names it; the others wait. The row is a
//! lease by the database's clock, so a server that dies over it keeps nobody from it for long.
//! The lock that sqlx would take does not exist on distributed databases.
//!
//! A migration must suit the version before: it adds tables, and columns that may be left out. What
//! that version still uses is taken away one version later. A program that finds migrations that
//! it does not know is an older one beside newer ones, and works on.

use std::time::Duration;

use sqlx::migrate::MigrateError;
use sqlx::{PgPool, query, query_scalar};
use tokio::time::Instant;
use uuid::Uuid;

use super::dialect::now_ms;
use crate::OpenError;

/// Longer than any migration takes.
const GUARDED_MS: i64 = 10 * 60 * 1000;

/// How long others wait for it. A dead one's guard is over by then.
const MOST_WAIT: Duration = Duration::from_secs(15 * 60);

const PAUSE: Duration = Duration::from_millis(200);

pub async fn migrate(pool: &PgPool, database: &str) -> Result<(), OpenError> {
    let failed = |source| OpenError::MigrateServer {
        database: database.to_owned(),
        source,
    };
    let mut migrator = sqlx::migrate!("migrations/postgres");
    migrator.set_ignore_missing(true).set_locking(false);
    if is_current(pool, &migrator).await {
        return Ok(());
    }
    let server = Uuid::new_v4().to_string();
    let begun = Instant::now();
    while !guard(pool, &server).await.map_err(failed)? {
        if begun.elapsed() > MOST_WAIT {
            let minutes = MOST_WAIT.as_secs() / 60;
            let database = database.to_owned();
            return Err(OpenError::MigrationGuarded { database, minutes });
        }
        tokio::time::sleep(PAUSE).await;
    }
    let migrated = migrator.run(pool).await;
    let released = release(pool, &server).await;
    migrated.and(released).map_err(failed)
}

/// Whether nothing is to be done: the usual start, which needs no guard and no right to change
/// tables. An error says no more than that there is something to do.
async fn is_current(pool: &PgPool, migrator: &sqlx::migrate::Migrator) -> bool {
    let applied = query_scalar::<_, i64>("SELECT version FROM _sqlx_migrations WHERE success")
        .fetch_all(pool)
        .await;
    applied.is_ok_and(|applied| migrator.iter().all(|one| applied.contains(&one.version)))
}

/// Whether this server may migrate now.
async fn guard(pool: &PgPool, server: &str) -> Result<bool, MigrateError> {
    let taken = try_guard(pool, server).await;
    match taken {
        // Two that make the table at the same moment, or take a row, get in each other's way.
        Err(error) if is_race(&error) => Ok(false),
        taken => Ok(taken?),
    }
}

async fn try_guard(pool: &PgPool, server: &str) -> Result<bool, sqlx::Error> {
    query(
        "CREATE TABLE IF NOT EXISTS migration_guard (
             place    TEXT PRIMARY KEY,
             server   TEXT NOT NULL,
             until_ms BIGINT NOT NULL
         )",
    )
    .execute(pool)
    .await?;
    let taken = query(concat!(
        "INSERT INTO migration_guard (place, server, until_ms) VALUES ('tables', $1, ",
        now_ms!(),
        " + $2)
         ON CONFLICT (place) DO UPDATE SET server = excluded.server, until_ms = excluded.until_ms
         WHERE migration_guard.until_ms <= ",
        now_ms!()
    ))
    .bind(server)
    .bind(GUARDED_MS)
    .execute(pool)
    .await?;
    Ok(taken.rows_affected() > 0)
}

async fn release(pool: &PgPool, server: &str) -> Result<(), MigrateError> {
    query("DELETE FROM migration_guard WHERE server = $1")
        .bind(server)
        .execute(pool)
        .await?;
    Ok(())
}

/// `unique_violation` in the server's own tables, `serialization_failure`, `deadlock_detected`,
/// `duplicate_table`, and `duplicate_object` of the table's own type (source: PostgreSQL's documentation, appendix A).
fn is_race(error: &sqlx::Error) -> bool {
    const RACES: [&str; 5] = ["23505", "40001", "40P01", "42P07", "42710"];
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| RACES.contains(&&*code))
}
