//! The story that every database has to pass, and what is particular to SQLite.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use jiff::Timestamp;
use suture_kernel::KernelBuild;
use suture_store::{
    AccountId, AccountToken, Actor, CheckIn, NewAccount, NewMachine, OperatorStore as _, Plan,
    ReportedState, RolloutStore as _, Store, StoreError, story,
};
use suture_store_sql::{OpenError, SqliteStore};
use tempfile::TempDir;

async fn empty() -> (SqliteStore, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("suture.db"))
        .await
        .unwrap();
    (store, folder)
}

/// The same database as two processes hold it.
async fn two_doors() -> ([Arc<dyn Store>; 2], TempDir) {
    let (service, folder) = empty().await;
    let other_process = SqliteStore::open(&folder.path().join("suture.db"))
        .await
        .unwrap();
    ([Arc::new(service), Arc::new(other_process)], folder)
}

#[tokio::test]
async fn the_story_of_every_database() {
    let (store, _folder) = empty().await;
    story::run(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_limit_holds_under_concurrent_enrolments() {
    let (stores, _folder) = two_doors().await;
    story::the_limit_holds_under_concurrent_enrolments(&stores).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_cap_holds_under_concurrent_check_ins() {
    let (stores, _folder) = two_doors().await;
    story::the_cap_holds_under_concurrent_check_ins(&stores).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_word_counts_in_one_look() {
    let (stores, _folder) = two_doors().await;
    story::each_word_counts_in_one_look(&stores).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_comes_back_is_not_released() {
    let (stores, _folder) = two_doors().await;
    story::who_comes_back_is_not_released(&stores).await;
}

#[tokio::test]
async fn a_refused_check_in_fails_alone() {
    let (store, folder) = empty().await;
    let url = format!("sqlite://{}", folder.path().join("suture.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let statement = format!(
        "CREATE TRIGGER refused BEFORE UPDATE ON machine WHEN NEW.agent_version = '{}'
         BEGIN SELECT RAISE (ABORT, 'refused'); END",
        story::REFUSED_AGENT
    );
    // Made here of nothing but constants.
    let statement = sqlx::AssertSqlSafe(statement);
    sqlx::query(statement).execute(&pool).await.unwrap();
    story::a_refused_check_in_fails_alone(Arc::new(store)).await;
}

/// Check-ins at the same moment, of which one comes from a machine whose row holds nonsense.
#[tokio::test]
async fn a_machine_whose_row_cannot_be_read_fails_alone() {
    let (store, folder) = empty().await;
    let store = Arc::new(store);
    let (account, token) = subscriber(store.as_ref()).await;
    let mut secrets = Vec::new();
    for number in 1..=16 {
        let new = machine(number);
        let made = store.enrol_machine(&token, &new, now()).await.unwrap();
        secrets.push(made.secret);
    }
    let url = format!("sqlite://{}", folder.path().join("suture.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let spoiled = sqlx::query("UPDATE machine SET boots = 'x' WHERE machine_id = $1")
        .bind(machine(7).id.as_str())
        .execute(&pool);
    assert_eq!(spoiled.await.unwrap().rows_affected(), 1);

    let tasks: Vec<_> = secrets
        .into_iter()
        .map(|secret| {
            let (store, report) = (Arc::clone(&store), report());
            tokio::spawn(async move {
                let published = Arc::default();
                let told = store.check_in(&secret, &report, &[], &published, now());
                told.await
            })
        })
        .collect();
    for (number, task) in (1..).zip(tasks) {
        let told = task.await.unwrap();
        let unreadable = matches!(told, Err(StoreError::InconsistentRow(_)));
        assert_eq!(unreadable, number == 7, "machine {number}: {told:?}");
        assert!(unreadable || told.is_ok(), "machine {number}: {told:?}");
    }
    let listed = store.machines(account).await;
    assert!(matches!(listed, Err(StoreError::InconsistentRow(_))));
}

async fn subscriber(store: &SqliteStore) -> (AccountId, AccountToken) {
    let by = Actor::Operator("operator".parse().unwrap());
    let new = NewAccount {
        email: "ada@example.org".parse().unwrap(),
        plan: Plan::Subscription,
    };
    let account = store.create_account(&new, &by, now()).await.unwrap().id;
    let label = "first".parse().unwrap();
    let token = store.create_token(account, &label, &by, now()).await;
    (account, token.unwrap().secret)
}

fn kernel() -> KernelBuild {
    KernelBuild {
        release: "6.1.0-53-amd64".parse().unwrap(),
        architecture: "amd64".parse().unwrap(),
        build_id: "ab".repeat(20).parse().unwrap(),
    }
}

fn machine(number: u8) -> NewMachine {
    NewMachine {
        id: format!("{number:032x}").parse().unwrap(),
        hostname: format!("web-{number}").parse().unwrap(),
        kernel: kernel(),
        agent_version: "0.1.0".parse().unwrap(),
        hardware: None,
    }
}

fn report() -> CheckIn {
    CheckIn {
        kernel: kernel(),
        boot_id: "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1".parse().unwrap(),
        boot_time: now(),
        agent_version: "0.1.0".parse().unwrap(),
        state: ReportedState::Unapplied,
        applied: None,
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A database of the first version, with a machine and the log of its making.
async fn first_version(path: &std::path::Path) {
    let url = format!("sqlite://{}?mode=rwc", path.display());
    let pool = sqlx::SqlitePool::connect(&url).await.unwrap();
    let mut migrator = sqlx::migrate!("migrations/sqlite");
    migrator.migrations.to_mut().truncate(1);
    migrator.run(&pool).await.unwrap();
    let account = "0b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1";
    for statement in [
        format!("INSERT INTO account VALUES ('{account}', 'ada@example.org', 'free', 1000)"),
        format!(
            "INSERT INTO token VALUES ('{account}', '{account}', 'first', zeroblob(32), 1000, NULL)"
        ),
        format!(
            "INSERT INTO machine (account_id, machine_id, hostname, release, architecture,
                 build_id, agent_version, token_id, secret_sha256, enrolled_ms)
             VALUES ('{account}', '{:032x}', 'web-1', '6.1.0-53-amd64', 'amd64', '{}', '0.1.0',
                 '{account}', zeroblob(32), 2000)",
            1,
            "ab".repeat(20)
        ),
        format!(
            "INSERT INTO audit (at_ms, actor, action, account_id, subject)
             VALUES (1000, 'operator:root', 'create-account', '{account}', 'account:{account}')"
        ),
    ] {
        // Made here of nothing but constants.
        let statement = sqlx::AssertSqlSafe(statement);
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    pool.close().await;
}

#[tokio::test]
async fn a_database_of_the_first_version_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("suture.db");
    first_version(&path).await;
    let store = SqliteStore::open(&path).await.unwrap();
    let account = store.accounts().await.unwrap().remove(0);
    assert_eq!(account.early, suture_rollout::EarlyPreference::Drawn);
    let machine = store.machines(account.id).await.unwrap().remove(0);
    let enrolled = jiff::Timestamp::from_millisecond(2000).unwrap();
    assert_eq!((machine.created, machine.enrolled), (enrolled, enrolled));
    assert_eq!(machine.steady_since, enrolled);
    let log = store.audit_log(Some(account.id), 10).await.unwrap();
    assert_eq!((log.len(), &log[0].reason), (1, &None));
    let name = "grace".parse().unwrap();
    let by = Actor::Operator("root".parse().unwrap());
    let made = store.create_operator_key(&name, &by, enrolled).await;
    made.unwrap();
    assert_eq!(store.audit_log(None, 10).await.unwrap().len(), 2);
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
