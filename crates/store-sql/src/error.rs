//! Why a database can't be opened.

use std::io;
use std::path::PathBuf;

use sqlx::migrate::MigrateError;
use thiserror::Error;

#[derive(Debug, Error)]
pub enum OpenError {
    #[error("cannot create the database `{}`; its folder must exist and be writable", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot open the database `{}`", path.display())]
    Open { path: PathBuf, source: sqlx::Error },
    #[error("cannot bring the database `{}` to this program's version", path.display())]
    Migrate { path: PathBuf, source: MigrateError },
    /// Database and place, e.g. `suture` on `db.example.org:5432`; never a password.
    #[error("cannot open {database}")]
    Connect {
        database: String,
        source: sqlx::Error,
    },
    #[error("cannot bring {database} to this program's version")]
    MigrateServer {
        database: String,
        source: MigrateError,
    },
    #[error("another program has been bringing {database} to its version for {minutes} minutes")]
    MigrationGuarded { database: String, minutes: u64 },
}
