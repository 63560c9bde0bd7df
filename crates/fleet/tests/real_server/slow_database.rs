//! Somebody else writes to the database, slowly.

use std::path::Path;
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long the write lock is held, and left alone in between.
const HELD: Duration = Duration::from_secs(1);
const FREE: Duration = Duration::from_millis(700);

/// Holds the database's write lock for a second again and again.
pub struct SlowDatabase {
    stop: watch::Sender<bool>,
    holding: JoinHandle<usize>,
}

impl SlowDatabase {
    pub fn start(database: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(database)
            .busy_timeout(Duration::from_secs(60));
        let (stop, stopped) = watch::channel(false);
        let holding = tokio::spawn(hold_again_and_again(options, stopped));
        Self { stop, holding }
    }

    /// Leaves it alone from now on; says how often it was held.
    pub async fn end(self) -> usize {
        self.stop.send(true).unwrap();
        self.holding.await.unwrap()
    }
}

async fn hold_again_and_again(
    options: SqliteConnectOptions,
    mut stopped: watch::Receiver<bool>,
) -> usize {
    let mut connection = options.connect().await.unwrap();
    let mut times = 0;
    while !*stopped.borrow_and_update() {
        let held = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
        tokio::time::sleep(HELD).await;
        held.rollback().await.unwrap();
        times += 1;
        tokio::time::sleep(FREE).await;
    }
    times
}
