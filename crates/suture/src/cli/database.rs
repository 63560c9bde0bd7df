//! Which database a command works on.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use suture_store::Store;
use suture_store_sql::{DatabaseAddress, has_password};

/// Where an address with a password may stand: other users can't read a program's environment.
const VARIABLE: &str = "SUTURE_DATABASE";

const DEFAULT: &str = "suture.db";

#[derive(Debug, clap::Args)]
pub struct DatabaseArgs {
    /// Database: an SQLite file, made if missing, or `postgres://USER@HOST/NAME`; the password of
    /// the latter is taken from `PGPASSFILE` or `PGPASSWORD`, or from the address in
    /// `SUTURE_DATABASE` [default: `SUTURE_DATABASE`, else `suture.db`].
    #[arg(long, global = true, value_name = "FILE|ADDRESS")]
    database: Option<OsString>,
}

impl DatabaseArgs {
    pub async fn open(self) -> anyhow::Result<Arc<dyn Store>> {
        Ok(suture_store_sql::open(&self.address()?).await?)
    }

    /// As [`Self::open`], but makes no file.
    pub async fn open_existing(self) -> anyhow::Result<Arc<dyn Store>> {
        Ok(suture_store_sql::open(&self.existing()?).await?)
    }

    /// The address of a database that is there, as far as that can be told without a connection.
    pub fn existing(self) -> anyhow::Result<DatabaseAddress> {
        let address = self.address()?;
        if let DatabaseAddress::File(path) = &address {
            anyhow::ensure!(
                Path::new(path).exists(),
                "there is no database `{}`; name the one of `suture serve` with --database",
                path.display()
            );
        }
        Ok(address)
    }

    pub fn address(self) -> anyhow::Result<DatabaseAddress> {
        let Some(text) = self.database else {
            let text = std::env::var_os(VARIABLE).filter(|text| !text.is_empty());
            let text = text.as_deref().unwrap_or(OsStr::new(DEFAULT));
            return DatabaseAddress::parse(text).with_context(|| format!("cannot use {VARIABLE}"));
        };
        anyhow::ensure!(
            !has_password(&text),
            "the password in --database can be read by every user of this machine; leave it out \
             and give it by PGPASSFILE, PGPASSWORD or the whole address in {VARIABLE}"
        );
        DatabaseAddress::parse(&text).context("cannot use --database")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(database: &str) -> anyhow::Result<DatabaseAddress> {
        let database = Some(database.into());
        DatabaseArgs { database }.address()
    }

    #[test]
    fn a_password_among_the_arguments_is_refused_and_not_repeated() {
        for given in [
            "postgres://suture:hunter2@db.example.org/fleet",
            "postgresql://db.example.org/fleet?user=suture&password=hunter2",
        ] {
            let error = format!("{:#}", address(given).unwrap_err());
            assert!(error.contains("PGPASSFILE"), "{error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn an_address_is_one_of_a_server_and_anything_else_a_file() {
        let server = address("postgres://suture@db.example.org/fleet").unwrap();
        let named = "database `fleet` on `db.example.org:5432`";
        assert_eq!(server.to_string(), named);
        let file = address("/var/lib/suture/suture.db").unwrap();
        assert_eq!(file.to_string(), "database `/var/lib/suture/suture.db`");
    }
}
