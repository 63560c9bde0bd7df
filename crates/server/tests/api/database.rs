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
}
