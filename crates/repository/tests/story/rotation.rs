//! Keys are replaced, and what was replaced never counts again.

use std::fs;

use suture_repository::{Client, ClientError, OnlineRole, Publisher, RepositoryError, Role};

use crate::shop::{Shop, file_ending, start};

#[tokio::test]
async fn readers_follow_replaced_root_keys() {
    let shop = Shop::open().await;
    shop.update(start()).await.unwrap();
    let new = shop.path("new root keys");
    let version = shop
        .publisher
        .rotate_root_keys(&shop.root_keys(), &new, (3, 2), start())
        .await
        .unwrap();
    assert_eq!(version, 2);
    shop.update(start()).await.unwrap();
    let refused = shop.publisher.renew_root(&shop.root_keys(), start()).await;
    assert!(
        matches!(
            refused,
            Err(RepositoryError::TooFewRootKeys {
                needed: 2,
                found: 0,
                ..
            })
        ),
        "{refused:?}"
    );
    assert_eq!(shop.publisher.renew_root(&new, start()).await.unwrap(), 3);
    let module = shop.publish("104.1", b"module").await;
    let client = shop.update(start()).await.unwrap();
    assert_eq!(client.read(&module).await.unwrap(), b"module");
    Client::offline(&shop.trusted_root, &shop.datastore(), &shop.datastore())
        .await
        .unwrap();
}

#[tokio::test]
async fn too_few_root_keys_change_nothing() {
    let shop = Shop::open_with(|mut options| {
        (options.root_key_count, options.root_threshold) = (3, 2);
        options
    })
    .await;
    let some = shop.path("one medium");
    fs::create_dir(&some).unwrap();
    let key = fs::read_dir(shop.root_keys())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    fs::copy(key.path(), some.join(key.file_name())).unwrap();
    let keys_before = fs::read_dir(&shop.publisher.keys).unwrap().count();
    let too_few = |refused| {
        matches!(
            refused,
            RepositoryError::TooFewRootKeys {
                needed: 2,
                found: 1,
                ..
            }
        )
    };
    let publisher = &shop.publisher;
    assert!(too_few(
        publisher.renew_root(&some, start()).await.unwrap_err()
    ));
    let rotated = publisher
        .rotate_role_key(OnlineRole::Timestamp, &some, start())
        .await;
    assert!(too_few(rotated.unwrap_err()));
    let new = shop.path("new root keys");
    assert!(too_few(
        publisher
            .rotate_root_keys(&some, &new, (1, 1), start())
            .await
            .unwrap_err()
    ));
    assert!(!new.exists());
    assert_eq!(
        fs::read_dir(&shop.publisher.keys).unwrap().count(),
        keys_before
    );
    shop.update(start()).await.unwrap();
    // Two of three are enough.
    publisher
        .renew_root(&shop.root_keys(), start())
        .await
        .unwrap();
    shop.update(start()).await.unwrap();
}

#[tokio::test]
async fn a_threshold_nobody_can_reach_is_refused() {
    for threshold in [0, 2] {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let mut options = suture_repository::InitOptions::new(at("a"), at("b"), at("c"));
        options.root_threshold = threshold;
        let refused = suture_repository::init(&options, start()).await;
        assert!(
            matches!(refused, Err(RepositoryError::Threshold { .. })),
            "{refused:?}"
        );
        assert!(!at("c").exists());
    }
}

#[tokio::test]
async fn each_online_key_can_be_replaced_under_running_readers() {
    let shop = Shop::open().await;
    let module = shop.publish("104.1", b"module").await;
    for (index, role) in OnlineRole::ALL.into_iter().enumerate() {
        shop.update(start()).await.unwrap();
        let version = shop
            .publisher
            .rotate_role_key(role, &shop.root_keys(), start())
            .await;
        assert_eq!(version.unwrap(), index as u64 + 2);
        let client = shop.update(start()).await.unwrap();
        assert_eq!(client.read(&module).await.unwrap(), b"module");
    }
    shop.publish("104.2", b"better").await;
    assert_eq!(shop.update(start()).await.unwrap().targets().len(), 2);
}

/// The metadata is signed by both keys before the new root shows: a reader that saw the old root
/// a moment ago, and one that comes after, are both served.
#[tokio::test]
async fn between_old_and_new_root_nobody_is_turned_away() {
    let shop = Shop::open().await;
    shop.publisher
        .rotate_role_key(OnlineRole::Timestamp, &shop.root_keys(), start())
        .await
        .unwrap();
    let half_way = shop.copy("half way");
    fs::remove_file(half_way.join("metadata/2.root.json")).unwrap();
    shop.update_from(&half_way, start()).await.unwrap();
    shop.update(start()).await.unwrap();
}

#[tokio::test]
async fn a_stolen_and_replaced_key_signs_nothing_any_more() {
    let shop = Shop::open().await;
    let stolen = shop.path("stolen keys");
    fs::create_dir(&stolen).unwrap();
    for entry in fs::read_dir(&shop.publisher.keys).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), stolen.join(entry.file_name())).unwrap();
    }
    let before = shop.copy("before");
    shop.publisher
        .rotate_role_key(OnlineRole::Timestamp, &shop.root_keys(), start())
        .await
        .unwrap();
    shop.update(start()).await.unwrap();

    // The thief signs on, in a copy that does not show the new root.
    let thief = Publisher::new(&before, &stolen);
    for _ in 0..5 {
        thief.refresh(start()).await.unwrap();
    }
    let refused = shop.update_from(&before, start()).await;
    assert!(
        matches!(
            refused,
            Err(ClientError::Signature {
                role: Role::Timestamp,
                ..
            })
        ),
        "{refused:?}"
    );
    // Nor can the thief publish in a copy that shows it.
    let after = shop.copy("after");
    let refused = Publisher::new(&after, &stolen).refresh(start()).await;
    assert!(
        matches!(
            refused,
            Err(RepositoryError::MissingKey {
                role: Role::Timestamp,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_old_root_key_cannot_make_a_root_of_its_own() {
    let shop = Shop::open().await;
    let before = shop.copy("before");
    let new = shop.path("new root keys");
    let publisher = &shop.publisher;
    publisher
        .rotate_root_keys(&shop.root_keys(), &new, (1, 1), start())
        .await
        .unwrap();
    publisher.renew_root(&new, start()).await.unwrap();
    shop.update(start()).await.unwrap();
    // Who holds the old root key goes on from the old state: 2, 3 and 4 of another line.
    let thief = Publisher::new(&before, &publisher.keys);
    for _ in 0..3 {
        thief.renew_root(&shop.root_keys(), start()).await.unwrap();
    }
    let refused = shop.update_from(&before, start()).await;
    assert!(
        matches!(
            refused,
            Err(ClientError::Signature {
                role: Role::Root,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[tokio::test]
async fn key_files_are_named_by_role() {
    let shop = Shop::open().await;
    let names: Vec<String> = fs::read_dir(&shop.publisher.keys)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for role in OnlineRole::ALL {
        let prefix = format!("{}-", Role::from(role));
        assert_eq!(
            names
                .iter()
                .filter(|name| name.starts_with(&prefix))
                .count(),
            1,
            "{names:?}"
        );
    }
    let pem = fs::read_to_string(file_ending(&shop.root_keys(), ".pem")).unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
}
