//! The story that every database has to pass, and what is particular to PostgreSQL.

use std::slice;
use std::sync::Arc;

use sqlx::PgPool;
use suture_private_postgres::{Certificate, PrivatePostgres};
use suture_store::{Account, Actor, NewAccount, Plan, Store, StoreError, story};
use suture_store_sql::{DatabaseAddress, OpenError, PostgresStore};

async fn open(address: &str) -> Result<PostgresStore, OpenError> {
    match DatabaseAddress::parse(address.as_ref()).unwrap() {
        DatabaseAddress::Postgres(options) => PostgresStore::open(&options).await,
        DatabaseAddress::File(path) => panic!("a file: {}", path.display()),
    }
}

async fn empty() -> (PostgresStore, String) {
    let address = PrivatePostgres::shared().empty_database();
    (open(&address).await.unwrap(), address)
}

/// Two doors to an empty database, as two servers have them.
async fn two_doors() -> [Arc<dyn Store>; 2] {
    let (one, address) = empty().await;
    let other = open(&address).await.unwrap();
    [Arc::new(one), Arc::new(other)]
}

async fn create(store: &PostgresStore) -> Result<Account, StoreError> {
    let by = Actor::Operator("root".parse().unwrap());
    let new = NewAccount {
        email: "ada@example.org".parse().unwrap(),
        plan: Plan::Free,
    };
    store
        .create_account(&new, &by, jiff::Timestamp::UNIX_EPOCH)
        .await
}

#[tokio::test]
async fn the_story_of_every_database() {
    let (store, _) = empty().await;
    story::run(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_limit_holds_under_concurrent_enrolments() {
    story::the_limit_holds_under_concurrent_enrolments(&two_doors().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_cap_holds_under_concurrent_check_ins() {
    story::the_cap_holds_under_concurrent_check_ins(&two_doors().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_comes_back_is_not_released() {
    story::who_comes_back_is_not_released(&two_doors().await).await;
}

#[tokio::test]
async fn a_refused_check_in_fails_alone() {
    let (store, address) = empty().await;
    let pool = PgPool::connect(&address).await.unwrap();
    let statement = format!(
        "ALTER TABLE machine ADD CHECK (agent_version <> '{}')",
        story::REFUSED_AGENT
    );
    // Made here of nothing but constants.
    let statement = sqlx::AssertSqlSafe(statement);
    sqlx::query(statement).execute(&pool).await.unwrap();
    story::a_refused_check_in_fails_alone(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_word_counts_in_one_look() {
    story::each_word_counts_in_one_look(&two_doors().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_machine_enrolling_many_times_is_one_machine() {
    let (store, _) = empty().await;
    story::one_machine_enrolling_many_times_is_one_machine(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn servers_that_start_at_the_same_moment_migrate_once() {
    let address = PrivatePostgres::shared().empty_database();
    let starting: Vec<_> = (0..6)
        .map(|_| {
            let address = address.clone();
            tokio::spawn(async move { open(&address).await })
        })
        .collect();
    let mut stores = Vec::new();
    for start in starting {
        stores.push(start.await.unwrap().unwrap());
    }
    let created = create(&stores[0]).await.unwrap();
    for store in &stores {
        assert_eq!(store.accounts().await.unwrap(), slice::from_ref(&created));
    }
    let again = create(&stores[5]).await;
    assert!(matches!(again, Err(StoreError::EmailTaken { .. })));
}

#[tokio::test]
async fn a_server_that_died_over_a_migration_keeps_nobody_from_it() {
    let address = PrivatePostgres::shared().empty_database();
    let pool = PgPool::connect(&address).await.unwrap();
    for statement in [
        "CREATE TABLE migration_guard (place TEXT PRIMARY KEY, server TEXT NOT NULL,
             until_ms BIGINT NOT NULL)",
        "INSERT INTO migration_guard VALUES ('tables', 'a dead server', 1000)",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let store = open(&address).await.unwrap();
    store.ping().await.unwrap();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM migration_guard")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(left, 0, "the guard is given up");
}

#[tokio::test]
async fn an_older_program_works_beside_a_newer_one() {
    let (_store, address) = empty().await;
    let pool = PgPool::connect(&address).await.unwrap();
    for statement in [
        "ALTER TABLE account ADD COLUMN of_a_later_version TEXT",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'of a later version', TRUE, '', 0)",
    ] {
        sqlx::query(statement).execute(&pool).await.unwrap();
    }
    let older = open(&address).await.unwrap();
    create(&older).await.unwrap();
}

#[tokio::test]
async fn the_audit_log_cannot_be_rewritten_by_mistake() {
    let (store, address) = empty().await;
    create(&store).await.unwrap();
    let pool = PgPool::connect(&address).await.unwrap();
    for statement in [
        "DELETE FROM audit",
        "UPDATE audit SET actor = 'operator:ghost'",
        "TRUNCATE audit",
    ] {
        let error = sqlx::query(statement)
            .execute(&pool)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("permission denied for table audit"),
            "{error}"
        );
    }
    assert_eq!(store.audit_log(None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_row_that_makes_no_sense_is_named() {
    let (store, address) = empty().await;
    let pool = PgPool::connect(&address).await.unwrap();
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

/// Nobody listens on port 1, and a name that does not exist is asked for as well.
#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_the_password() {
    for address in [
        "postgres://suture:hunter2@127.0.0.1:1/fleet",
        "postgres://127.0.0.1:1/fleet?user=suture&password=hunter2",
    ] {
        let error = open(address).await.unwrap_err();
        let text = format!("{error}: {:?}", error);
        assert!(text.contains("database `fleet` on `127.0.0.1:1`"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        let parsed = DatabaseAddress::parse(address.as_ref()).unwrap();
        assert!(!format!("{parsed} {parsed:?}").contains("hunter2"));
    }
}

/// The certificate proves the server's name by an authority of ours, and of nobody else.
#[tokio::test]
async fn a_connection_over_the_network_is_protected() {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (chain, key) = (pair.cert.pem(), pair.signing_key.serialize_pem());
    let server = PrivatePostgres::with_tls(&Certificate {
        chain: &chain,
        key: &key,
    });
    let folder = tempfile::tempdir().unwrap();
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, &chain).unwrap();
    let address = server.over_tcp(&server.empty_database());
    let proven = format!(
        "{address}?sslmode=verify-full&sslrootcert={}",
        authority.display()
    );
    let store = open(&proven).await.unwrap();
    create(&store).await.unwrap();
    let connections = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl)
        FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'suture'";
    let counted = server.statement("postgres", connections);
    let (protected, open_ones) = counted.split_once('|').unwrap();
    assert!(protected.parse::<u32>().unwrap() > 0, "{counted}");
    assert_eq!(open_ones, "0", "{counted}");
    store.close().await;

    let refused = open(&format!("{address}?sslmode=verify-full")).await;
    assert!(matches!(refused, Err(OpenError::Connect { .. })));
    let other_name = proven.replace("@localhost:", "@127.0.0.1:");
    let refused = open(&other_name).await;
    assert!(matches!(refused, Err(OpenError::Connect { .. })));
}
