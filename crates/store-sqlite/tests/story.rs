//! The story that every database has to pass, and what is particular to SQLite.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use suture_store::{Actor, NewAccount, Plan, Store, StoreError, story};
use suture_store_sqlite::{OpenError, SqliteStore};
use tempfile::TempDir;

async fn empty() -> (SqliteStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("suture.db"))
        .await
        .unwrap();
    (store, folder)
}

#[tokio::test]
async fn the_story_of_every_database() {
    let (store, _folder) = empty().await;
    story::run(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_limit_holds_under_concurrent_enrolments() {
    let (service, folder) = empty().await;
    let other_process = SqliteStore::open(&folder.path().join("suture.db"))
        .await
        .unwrap();
    let stores: [Arc<dyn Store>; 2] = [Arc::new(service), Arc::new(other_process)];
    story::the_limit_holds_under_concurrent_enrolments(&stores).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_machine_enrolling_many_times_is_one_machine() {
    let (store, _folder) = empty().await;
    story::one_machine_enrolling_many_times_is_one_machine(Arc::new(store)).await;
}

#[tokio::test]
async fn two_processes_share_the_file() {
    let (service, folder) = empty().await;
    let command_line = SqliteStore::open(&folder.path().join("suture.db"))
        .await
        .unwrap();
    let by = Actor::Operator("root".parse().unwrap());
    let new = NewAccount {
        email: "ada@example.org".parse().unwrap(),
        plan: Plan::Free,
    };
    let created = command_line
        .create_account(&new, &by, jiff::Timestamp::UNIX_EPOCH)
        .await;
    assert_eq!(
        service.account_by_email(&new.email).await.unwrap(),
        created.unwrap()
    );
    let again = service
        .create_account(&new, &by, jiff::Timestamp::UNIX_EPOCH)
        .await;
    assert!(matches!(again, Err(StoreError::EmailTaken { .. })));
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_is_private() {
    let (store, folder) = empty().await;
    let path = folder.path().join("suture.db");
    let by = Actor::Operator("root".parse().unwrap());
    let new = NewAccount {
        email: "ada@example.org".parse().unwrap(),
        plan: Plan::Subscription,
    };
    let created = store
        .create_account(&new, &by, jiff::Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    for file in ["suture.db", "suture.db-wal"] {
        let mode = std::fs::metadata(folder.path().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    store.close().await;
    let reopened = SqliteStore::open(&path).await.unwrap();
    assert_eq!(reopened.accounts().await.unwrap(), [created]);
}

#[tokio::test]
async fn the_audit_log_cannot_be_rewritten() {
    let (store, folder) = empty().await;
    let by = Actor::Operator("root".parse().unwrap());
    let new = NewAccount {
        email: "ada@example.org".parse().unwrap(),
        plan: Plan::Free,
    };
    store
        .create_account(&new, &by, jiff::Timestamp::UNIX_EPOCH)
        .await
        .unwrap();
    let url = format!("sqlite://{}", folder.path().join("suture.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    for statement in [
        "DELETE FROM audit",
        "UPDATE audit SET actor = 'operator:ghost'",
    ] {
        let error = sqlx::query(statement)
            .execute(&pool)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("the audit log is only added to"), "{error}");
    }
    assert_eq!(store.audit_log(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_named() {
    let (store, folder) = empty().await;
    let url = format!("sqlite://{}", folder.path().join("suture.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    sqlx::query("INSERT INTO account (id, email, plan, created_ms) VALUES ('x', 'a@b', 'free', 0)")
        .execute(&pool)
        .await
        .unwrap();
    let error = store.accounts().await.unwrap_err().to_string();
    assert_eq!(
        error,
        "the database holds an unreadable value in column `id` of table `account`"
    );
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = SqliteStore::open(&folder.path().join("no/suture.db"))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::Create { .. }), "{error}");
}
