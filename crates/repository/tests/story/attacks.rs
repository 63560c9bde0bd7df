//! What a mirror, a network or a thief might try.

use std::fs;

use suture_protocol::TargetKind;
use suture_repository::{Client, ClientError, Limits, RepositoryError, Role};
use tough::{Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

use crate::shop::{Shop, days, file_ending, name, start};

#[tokio::test]
async fn an_altered_byte_in_a_module_is_noticed() {
    let shop = Shop::open().await;
    let module = shop.publish("104.1", b"module").await;
    let client = shop.update(start()).await.unwrap();
    fs::write(
        file_ending(&shop.publisher.dir.join("targets"), ".ko"),
        b"mOdule",
    )
    .unwrap();
    let refused = client.read(&module).await;
    assert!(
        matches!(refused, Err(ClientError::Altered { .. })),
        "{refused:?}"
    );
    fs::write(
        file_ending(&shop.publisher.dir.join("targets"), ".ko"),
        b"module and more",
    )
    .unwrap();
    let refused = client.read(&module).await;
    assert!(
        matches!(refused, Err(ClientError::TooLong { limit: 6, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn altered_metadata_is_noticed_whatever_its_role() {
    let shop = Shop::open().await;
    shop.publish("104.1", b"module").await;
    for (file, expected) in [
        ("timestamp.json", "Signature"),
        ("2.snapshot.json", "Altered"),
        ("2.targets.json", "Altered"),
    ] {
        let copy = shop.copy(&format!("altered {file}"));
        let path = copy.join("metadata").join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(
            &path,
            text.replace("2026-", "2027-")
                .replace("2027-89603", "2026-89603"),
        )
        .unwrap();
        let refused = format!("{:?}", shop.update_from(&copy, start()).await.unwrap_err());
        assert!(refused.starts_with(expected), "{file}: {refused}");
    }
}

/// No single altered byte makes a machine see other targets, or an older state.
#[tokio::test]
async fn every_altered_byte_is_refused_or_harmless() {
    let shop = Shop::open().await;
    shop.publish("104.1", b"module").await;
    let honest = shop.update(start()).await.unwrap().targets().to_vec();
    let mut refused = 0;
    for file in ["timestamp.json", "2.snapshot.json", "2.targets.json"] {
        let copy = shop.copy(&format!("flipped {file}"));
        let path = copy.join("metadata").join(file);
        let bytes = fs::read(&path).unwrap();
        for place in (0..bytes.len()).step_by(23) {
            let mut altered = bytes.clone();
            altered[place] ^= 0b10;
            fs::write(&path, &altered).unwrap();
            fs::remove_dir_all(shop.datastore()).unwrap();
            match shop.update_from(&copy, start()).await {
                Ok(client) => assert_eq!(client.targets(), honest, "{file} at {place}"),
                Err(_) => refused += 1,
            }
            fs::create_dir_all(shop.datastore()).unwrap();
        }
    }
    assert!(refused > 50, "only {refused} were refused");
}

#[tokio::test]
async fn metadata_that_is_no_metadata_is_refused() {
    let shop = Shop::open().await;
    for text in ["", "{}", "[1,2", "\u{0}\u{1}"] {
        let copy = shop.copy(&format!("garbage {}", text.len()));
        fs::write(copy.join("metadata/timestamp.json"), text).unwrap();
        let refused = shop.update_from(&copy, start()).await;
        assert!(
            matches!(
                refused,
                Err(ClientError::Malformed {
                    role: Role::Timestamp,
                    ..
                })
            ),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn an_old_copy_is_refused_by_a_machine_that_saw_a_newer_one() {
    let shop = Shop::open().await;
    shop.publish("104.1", b"module").await;
    let old = shop.copy("old");
    shop.publish("104.2", b"better").await;
    shop.update(start()).await.unwrap();
    let refused = shop.update_from(&old, start()).await;
    assert!(
        matches!(
            refused,
            Err(ClientError::Rollback {
                role: Role::Timestamp,
                have: 3,
                offered: 2
            })
        ),
        "{refused:?}"
    );
    let client = shop.update(start()).await.unwrap();
    assert_eq!(
        client.targets().len(),
        2,
        "the refusal left the machine as it was"
    );
}

#[tokio::test]
async fn a_missing_target_is_told_from_an_unknown_one() {
    let shop = Shop::open().await;
    let module = shop.publish("104.1", b"module").await;
    let client = shop.update(start()).await.unwrap();
    let unknown = client.read(&name("104.1", TargetKind::Source)).await;
    assert!(
        matches!(unknown, Err(ClientError::NotListed { .. })),
        "{unknown:?}"
    );
    fs::remove_file(file_ending(&shop.publisher.dir.join("targets"), ".ko")).unwrap();
    let missing = client.read(&module).await;
    assert!(
        matches!(missing, Err(ClientError::Missing { .. })),
        "{missing:?}"
    );
}

#[tokio::test]
async fn another_repositorys_metadata_is_not_signed_by_our_keys() {
    let (ours, theirs) = (Shop::open().await, Shop::open().await);
    theirs.publish("104.1", b"evil").await;
    let refused = ours.update_from(&theirs.publisher.dir, start()).await;
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
}

#[tokio::test]
async fn a_trusted_root_that_is_none_is_refused() {
    let mut shop = Shop::open().await;
    shop.trusted_root = b"{}".to_vec();
    let refused = shop.update(start()).await;
    assert!(
        matches!(refused, Err(ClientError::TrustedRoot { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_network_failure_is_no_attack() {
    let shop = Shop::open().await;
    let location = suture_repository::FolderTransport::new(".").location();
    for kind in [TransportErrorKind::Other, TransportErrorKind::FileNotFound] {
        let (store, limits) = (shop.datastore(), Limits::default());
        let broken = Broken(kind);
        let refused = Client::update(
            &shop.trusted_root,
            &store,
            &location,
            broken,
            &limits,
            start(),
        )
        .await;
        match kind {
            TransportErrorKind::FileNotFound => {
                assert!(
                    matches!(refused, Err(ClientError::Missing { .. })),
                    "{refused:?}"
                );
            }
            _ => assert!(
                matches!(refused, Err(ClientError::Transport { .. })),
                "{refused:?}"
            ),
        }
    }
}

#[tokio::test]
async fn a_server_that_fails_to_show_the_next_root_cannot_pass_for_one_without() {
    let shop = Shop::open().await;
    let inner = suture_repository::FolderTransport::new(&shop.publisher.dir);
    let location = inner.location();
    let (store, limits) = (shop.datastore(), Limits::default());
    let transport = NoRoots(inner);
    let refused = Client::update(
        &shop.trusted_root,
        &store,
        &location,
        transport,
        &limits,
        start(),
    )
    .await;
    assert!(
        matches!(&refused, Err(ClientError::Transport { url, .. }) if url.ends_with("2.root.json")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn endless_metadata_is_cut_off() {
    let shop = Shop::open().await;
    let transport = suture_repository::FolderTransport::new(&shop.publisher.dir);
    let location = transport.location();
    let (store, limits) = (
        shop.datastore(),
        Limits {
            metadata_bytes: 100,
            ..Limits::default()
        },
    );
    let refused = Client::update(
        &shop.trusted_root,
        &store,
        &location,
        transport,
        &limits,
        start(),
    )
    .await;
    assert!(
        matches!(refused, Err(ClientError::TooLong { limit: 100, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn off_line_a_cached_module_is_verified_without_regard_to_expiry() {
    let shop = Shop::open().await;
    let module = shop.publish("104.1", b"module").await;
    let nothing = Client::offline(&shop.trusted_root, &shop.datastore(), &shop.datastore()).await;
    assert!(
        matches!(nothing, Err(ClientError::NothingCached { .. })),
        "{nothing:?}"
    );
    shop.update(start()).await.unwrap();
    assert!(matches!(
        shop.update(start() + days(400)).await,
        Err(ClientError::Expired { .. })
    ));
    let client = Client::offline(&shop.trusted_root, &shop.datastore(), &shop.datastore())
        .await
        .unwrap();
    assert!(
        client
            .find(&module.kernel, module.version, TargetKind::Module)
            .is_some()
    );
    client.check(&module, b"module").unwrap();
    let altered = client.check(&module, b"mOdule");
    assert!(
        matches!(altered, Err(ClientError::Altered { .. })),
        "{altered:?}"
    );
}

#[tokio::test]
async fn off_line_altered_metadata_is_refused_too() {
    let shop = Shop::open().await;
    shop.publish("104.1", b"module").await;
    shop.update(start()).await.unwrap();
    let path = shop.datastore().join("metadata/2.targets.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"length\": 6", "\"length\": 7")).unwrap();
    let refused = Client::offline(&shop.trusted_root, &shop.datastore(), &shop.datastore()).await;
    assert!(
        matches!(refused, Err(ClientError::Altered { .. })),
        "{refused:?}"
    );
    // On line the damaged file is fetched anew.
    shop.update(start()).await.unwrap();
    Client::offline(&shop.trusted_root, &shop.datastore(), &shop.datastore())
        .await
        .unwrap();
}

#[tokio::test]
async fn every_refusal_says_what_to_do() {
    let shop = Shop::open().await;
    let error = shop.update(start() + days(8)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the timestamp metadata of the repository expired at 2026-10-08T12:00:00Z"
    );
    assert!(error.hint().contains("clock"));
    let error = RepositoryError::Threshold {
        threshold: 3,
        count: 2,
    };
    assert!(error.hint().contains("threshold"));
}

/// A network on which nothing arrives.
#[derive(Debug, Clone)]
struct Broken(TransportErrorKind);

#[async_trait]
impl Transport for Broken {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        Err(TransportError::new(self.0, url))
    }
}

/// A server that answers all but the question for roots.
#[derive(Debug, Clone)]
struct NoRoots(suture_repository::FolderTransport);

#[async_trait]
impl Transport for NoRoots {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        if url.path().ends_with("root.json") {
            return Err(TransportError::new(TransportErrorKind::Other, url));
        }
        self.0.fetch(url).await
    }
}
