//! A database that was lived in is backed up and restored, from either kind into either.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use suture_private_postgres::PrivatePostgres;
use suture_store::{Actor, NewAccount, Plan, Store, story};
use suture_store_sql::{BackupError, BackupSummary, DatabaseAddress, backup, open, restore};
use tempfile::TempDir;

fn file(folder: &TempDir, name: &str) -> DatabaseAddress {
    DatabaseAddress::File(folder.path().join(name))
}

fn server() -> DatabaseAddress {
    let address = PrivatePostgres::shared().empty_database();
    DatabaseAddress::parse(address.as_ref()).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

async fn back_up(from: &DatabaseAddress, path: &Path) -> BackupSummary {
    let written = File::create_new(path).unwrap();
    backup(from, written, at(9_000_000)).await.unwrap()
}

/// Backs up into a file of this name, and restores that into another database.
async fn carry(from: &DatabaseAddress, path: PathBuf, to: &DatabaseAddress) {
    let made = back_up(from, &path).await;
    assert_eq!(restore(to, &path).await.unwrap(), made);
}

async fn account(store: &dyn Store, email: &str) {
    let new = NewAccount {
        email: email.parse().unwrap(),
        plan: Plan::Free,
    };
    let made = store.create_account(&new, &Actor::Service, at(1)).await;
    made.unwrap();
}

/// All that can be asked of a store, in words.
async fn told(store: &dyn Store) -> Vec<String> {
    let mut told = vec![
        format!("{:?}", store.audit_log(None, 10_000).await.unwrap()),
        format!("{:?}", store.operator_keys().await.unwrap()),
        format!("{:?}", store.fleet_samples(at(0)).await.unwrap()),
    ];
    for account in store.accounts().await.unwrap() {
        told.push(format!("{account:?}"));
        told.push(format!("{:?}", store.machines(account.id).await.unwrap()));
        told.push(format!("{:?}", store.tokens(account.id).await.unwrap()));
        told.push(format!("{:?}", store.identities(account.id).await.unwrap()));
        told.push(format!("{:?}", store.passkeys(account.id).await.unwrap()));
    }
    for rollout in store.rollouts().await.unwrap() {
        let id = rollout.id;
        told.push(format!("{rollout:?}"));
        told.push(format!("{:?}", store.looks(id, 1000).await.unwrap()));
        told.push(format!("{:?}", store.draw_list(id).await.unwrap()));
        let events = store.rollout_events(id, None, false, 1000).await;
        told.push(format!("{:?}", events.unwrap()));
        let exposed = store.exposed_machines(id, 1000).await;
        told.push(format!("{:?}", exposed.unwrap().len()));
        let observed = store.observe(&rollout, &[], at(1_000_000)).await.unwrap();
        told.push(format!("{:?} {:?}", observed.tick, observed.fleet));
    }
    told
}

/// From one kind of database to the other and back.
async fn travels(home: DatabaseAddress, abroad: DatabaseAddress, back: DatabaseAddress) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&home).await.unwrap();
    story::run(Arc::clone(&store)).await;
    let moved = story::before_a_move(store.as_ref()).await;
    let before = told(store.as_ref()).await;
    assert!(before.len() > 100, "a database that was lived in");

    carry(&home, folder.path().join("1"), &abroad).await;
    let there = open(&abroad).await.unwrap();
    assert_eq!(told(there.as_ref()).await, before);
    carry(&abroad, folder.path().join("2"), &back).await;
    let returned = open(&back).await.unwrap();
    assert_eq!(told(returned.as_ref()).await, before);
    for store in [&store, &there, &returned] {
        story::after_a_move(store.as_ref(), &moved).await;
        account(store.as_ref(), "after-the-move@example.org").await;
    }
}

#[tokio::test]
async fn a_file_s_backup_goes_into_a_server_and_back() {
    let folder = tempfile::tempdir().unwrap();
    travels(file(&folder, "home.db"), server(), file(&folder, "back.db")).await;
}

#[tokio::test]
async fn a_server_s_backup_goes_into_a_file_and_back() {
    let folder = tempfile::tempdir().unwrap();
    travels(server(), file(&folder, "abroad.db"), server()).await;
}

#[tokio::test]
async fn a_backup_goes_into_an_empty_database_alone_and_wholly_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let home = file(&folder, "home.db");
    account(open(&home).await.unwrap().as_ref(), "ada@example.org").await;
    let path = folder.path().join("backup");
    back_up(&home, &path).await;
    for (name, lived_in) in [("file", file(&folder, "lived-in.db")), ("server", server())] {
        let store = open(&lived_in).await.unwrap();
        account(store.as_ref(), "grace@example.org").await;
        let refused = restore(&lived_in, &path).await.unwrap_err();
        assert!(matches!(refused, BackupError::NotEmpty { .. }), "{refused}");
        let accounts = store.accounts().await.unwrap();
        assert_eq!(accounts.len(), 1, "{name}");
    }
    for (name, empty) in [("file", file(&folder, "empty.db")), ("server", server())] {
        let cut = folder.path().join(format!("cut-{name}"));
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&cut, &bytes[..bytes.len() - 20]).unwrap();
        assert!(restore(&empty, &cut).await.is_err());
        let store = open(&empty).await.unwrap();
        assert!(store.accounts().await.unwrap().is_empty(), "{name}");
        restore(&empty, &path).await.unwrap();
        assert_eq!(store.accounts().await.unwrap().len(), 1, "{name}");
    }
}

/// Each account is made with its line in the audit log, in one transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_reads_one_state_while_others_write() {
    let folder = tempfile::tempdir().unwrap();
    for (name, home) in [("file", file(&folder, "home.db")), ("server", server())] {
        let store = open(&home).await.unwrap();
        let (writer, (begun, has_begun)) = (Arc::clone(&store), tokio::sync::oneshot::channel());
        let writing = tokio::spawn(async move {
            let mut begun = Some(begun);
            for number in 0.. {
                account(writer.as_ref(), &format!("owner-{number}@example.org")).await;
                if number == 20 {
                    let begun: tokio::sync::oneshot::Sender<()> = begun.take().unwrap();
                    begun.send(()).unwrap();
                }
            }
        });
        has_begun.await.unwrap();
        let path = folder.path().join(format!("backup-{name}"));
        back_up(&home, &path).await;
        assert!(!writing.is_finished());
        writing.abort();
        let restored = file(&folder, &format!("restored-{name}.db"));
        restore(&restored, &path).await.unwrap();
        let restored = open(&restored).await.unwrap();
        let accounts = restored.accounts().await.unwrap().len();
        let lines = restored.audit_log(None, 100_000).await.unwrap().len();
        assert_eq!(accounts, lines, "{name}");
        assert!(accounts > 20, "{name}");
    }
}
