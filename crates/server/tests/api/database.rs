//! The database under a service.

use std::path::Path;
use std::sync::Arc;

use suture_private_postgres::PrivatePostgres;
use suture_store::Store;
use suture_store_sql::DatabaseAddress;

/// Where a database is; every [`Database::open`] is a door of its own, as a server has one.
#[derive(Clone)]
pub struct Database(String);

impl Database {
    /// An empty one, of the kind that the tests are built for.
    pub fn empty(folder: &Path) -> Self {
        let file = folder.join("suture.db");
        Self(if crate::ON_POSTGRES {
            PrivatePostgres::shared().empty_database()
        } else {
            file.to_str().expect("a plain name").to_owned()
        })
    }

    pub async fn open(&self) -> Arc<dyn Store> {
        let address = DatabaseAddress::parse(self.0.as_ref()).unwrap();
        suture_store_sql::open(&address).await.unwrap()
    }

    /// Ends it: a server's database is dropped, and a file is left without a table.
    pub async fn lose(&self) {
        if crate::ON_POSTGRES {
            let name = self.0.rsplit('/').next().expect("an address has a name");
            let drop = format!("DROP DATABASE {name} WITH (FORCE)");
            PrivatePostgres::shared().statement("postgres", &drop);
            return;
        }
        let file = format!("sqlite://{}", self.0);
        let pool = sqlx::SqlitePool::connect(&file).await.unwrap();
        let rename = sqlx::query("ALTER TABLE account RENAME TO lost");
        rename.execute(&pool).await.unwrap();
        pool.close().await;
    }
}
