//! What a publisher does, and what a machine then sees.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use suture_protocol::TargetKind;
use suture_repository::{
    Catalogue, Client, ClientError, Content, FolderTransport, InitOptions, Limits, NewTarget,
    RepositoryError, Role, init,
};
use tough::{Transport, TransportError, TransportStream, async_trait};
use url::Url;

use crate::shop::{Shop, days, module, name, start};

#[tokio::test]
async fn a_published_module_is_found_and_read() {
    let shop = Shop::open().await;
    let published = shop.publish("104.1", b"module").await;
    let client = shop.update(start()).await.unwrap();
    let found = client
        .find(&published.kernel, published.version, TargetKind::Module)
        .unwrap();
    assert_eq!((found.length, found.custom.fixes.len()), (6, 1));
    assert_eq!(client.read(&published).await.unwrap(), b"module");
    assert_eq!(client.targets().len(), 1);
    assert!(
        client
            .find(&published.kernel, published.version, TargetKind::Source)
            .is_none()
    );
}

#[tokio::test]
async fn a_file_is_published_under_its_hash() {
    let shop = Shop::open().await;
    let path = shop.path("a.tar.gz");
    fs::write(&path, b"source").unwrap();
    let name = name("104.1", TargetKind::Source);
    let target = NewTarget {
        name: name.clone(),
        content: Content::File(path),
        fixes: vec![],
    };
    let published = shop.publisher.publish(vec![target], start()).await.unwrap();
    let sha256 = "41cf6794ba4200b839c53531555f0f3998df4cbb01a4d5cb0b94e3ca5e23947d";
    assert_eq!(published.added[0].sha256, sha256);
    let file = shop
        .publisher
        .dir
        .join("targets")
        .join(format!("{sha256}.{name}"));
    assert_eq!(fs::read(file).unwrap(), b"source");
}

#[tokio::test]
async fn publishing_the_same_again_changes_no_target() {
    let shop = Shop::open().await;
    shop.publish("104.1", b"module").await;
    let again = shop
        .publisher
        .publish(vec![module("104.1", b"module")], start())
        .await
        .unwrap();
    assert_eq!((again.added.len(), again.unchanged.len()), (0, 1));
    assert_eq!(
        again.versions.targets, 2,
        "the empty repository has version 1"
    );
}

#[tokio::test]
async fn a_published_version_never_changes() {
    let shop = Shop::open().await;
    shop.publish("104.1", b"module").await;
    let refused = shop
        .publisher
        .publish(vec![module("104.1", b"other")], start())
        .await;
    assert!(
        matches!(refused, Err(RepositoryError::Replaced { .. })),
        "{refused:?}"
    );
    let mut other_fixes = module("104.1", b"module");
    other_fixes.fixes.clear();
    let refused = shop.publisher.publish(vec![other_fixes], start()).await;
    assert!(
        matches!(refused, Err(RepositoryError::OtherFixes { .. })),
        "{refused:?}"
    );
    let twice = vec![module("104.2", b"one"), module("104.2", b"two")];
    let refused = shop.publisher.publish(twice, start()).await;
    assert!(
        matches!(refused, Err(RepositoryError::Replaced { .. })),
        "{refused:?}"
    );
    assert_eq!(shop.update(start()).await.unwrap().targets().len(), 1);
    let files = fs::read_dir(shop.publisher.dir.join("targets"))
        .unwrap()
        .count();
    assert_eq!(files, 1, "nothing of a refused batch is left behind");
}

#[tokio::test]
async fn an_existing_repository_or_key_folder_is_left_alone() {
    let shop = Shop::open().await;
    let (dir, keys) = (shop.publisher.dir.clone(), shop.publisher.keys.clone());
    let again = InitOptions::new(&dir, shop.path("new keys"), shop.path("new root keys"));
    let refused = init(&again, start()).await;
    assert!(
        matches!(refused, Err(RepositoryError::Exists { .. })),
        "{refused:?}"
    );
    assert!(!shop.path("new keys").exists());
    let same_keys = InitOptions::new(shop.path("second"), keys, shop.path("new root keys"));
    let refused = init(&same_keys, start()).await;
    assert!(
        matches!(refused, Err(RepositoryError::Exists { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn keys_go_neither_into_the_repository_nor_all_into_one_folder() {
    let shop = Shop::open().await;
    let at = |name: &str| shop.path(name);
    std::fs::create_dir(at("second")).unwrap();
    std::os::unix::fs::symlink(at("second"), at("link")).unwrap();
    let public = [
        InitOptions::new(at("second"), at("second/keys"), at("new root keys")),
        InitOptions::new(at("second"), at("new keys"), at("link/root keys")),
    ];
    for options in public {
        let refused = init(&options, start()).await;
        assert!(
            matches!(refused, Err(RepositoryError::PublicKeyFolder { .. })),
            "{refused:?}"
        );
    }
    let together = InitOptions::new(at("second"), at("new keys"), at("new keys"));
    let refused = init(&together, start()).await;
    assert!(
        matches!(refused, Err(RepositoryError::SharedKeyFolder { .. })),
        "{refused:?}"
    );
    assert!(!at("new keys").exists());
}

#[tokio::test]
async fn a_folder_without_a_repository_is_said_to_have_none() {
    let shop = Shop::open().await;
    let nothing = suture_repository::Publisher::new(shop.path("nothing"), &shop.publisher.keys);
    let refused = nothing.refresh(start()).await;
    assert!(
        matches!(refused, Err(RepositoryError::NotARepository { .. })),
        "{refused:?}"
    );
    let refused = Catalogue::load(&shop.path("nothing"), None).await;
    assert!(
        matches!(refused, Err(RepositoryError::NotARepository { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_publisher_without_keys_is_told_which_role_lacks_one() {
    let mut shop = Shop::open().await;
    shop.publisher.keys = shop.root_keys();
    let refused = shop.publisher.refresh(start()).await;
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
async fn a_refresh_signs_only_what_is_due() {
    let shop = Shop::open().await;
    let daily = shop.publisher.refresh(start() + days(1)).await.unwrap();
    assert_eq!((daily.targets, daily.snapshot, daily.timestamp), (1, 1, 2));
    let monthly = shop.publisher.refresh(start() + days(16)).await.unwrap();
    assert_eq!(
        (monthly.targets, monthly.snapshot, monthly.timestamp),
        (1, 2, 3)
    );
    let quarterly = shop.publisher.refresh(start() + days(46)).await.unwrap();
    assert_eq!(
        (quarterly.targets, quarterly.snapshot, quarterly.timestamp),
        (2, 3, 4)
    );
    shop.update(start() + days(46)).await.unwrap();
}

#[tokio::test]
async fn old_metadata_is_cleared_away_and_roots_are_not() {
    let shop = Shop::open().await;
    for rebuild in 1..=15 {
        shop.publish(&format!("104.{rebuild}"), b"module").await;
    }
    let metadata = fs::read_dir(shop.publisher.dir.join("metadata")).unwrap();
    let names: Vec<_> = metadata
        .map(|entry| entry.unwrap().file_name().into_string())
        .collect();
    let has = |name: &str| names.iter().flatten().any(|found| found == name);
    assert!(has("16.targets.json") && has("6.targets.json") && has("6.snapshot.json"));
    assert!(has("1.root.json") && !has("5.targets.json") && !has("5.snapshot.json"));
    assert_eq!(shop.update(start()).await.unwrap().targets().len(), 15);
}

#[tokio::test]
async fn expired_metadata_is_named_with_its_time_and_can_be_refreshed() {
    let shop = Shop::open().await;
    let late = start() + days(7);
    let refused = shop.update(late).await;
    assert!(
        matches!(refused, Err(ClientError::Expired { role: Role::Timestamp, expired }) if expired == late),
        "{refused:?}"
    );
    shop.update(late - SignedDuration::from_secs(1))
        .await
        .unwrap();
    shop.publisher.refresh(late).await.unwrap();
    shop.update(late).await.unwrap();
}

#[tokio::test]
async fn a_root_that_expired_stops_every_reader_until_it_is_renewed() {
    let mut shop = Shop::open_with(|mut options| {
        options.expiries.root = days(-1);
        options
    })
    .await;
    let refused = shop.update(start()).await;
    assert!(
        matches!(
            refused,
            Err(ClientError::Expired {
                role: Role::Root,
                ..
            })
        ),
        "{refused:?}"
    );
    shop.publisher.expiries.root = days(365);
    assert_eq!(
        shop.publisher
            .renew_root(&shop.root_keys(), start())
            .await
            .unwrap(),
        2
    );
    shop.update(start()).await.unwrap();
}

#[tokio::test]
async fn the_catalogue_notices_every_change_of_the_folder() {
    let shop = Shop::open().await;
    let dir = &shop.publisher.dir;
    let before = Catalogue::load(dir, Some(&shop.trusted_root))
        .await
        .unwrap();
    assert!(before.is_current() && before.targets().is_empty());
    let published = shop.publish("104.1", b"module").await;
    assert!(!before.is_current());
    let after = Catalogue::load(dir, None).await.unwrap();
    let target = after.get(&published).unwrap();
    assert_eq!(fs::read(after.path(target)).unwrap(), b"module");
    assert_eq!(after.expired(start()), None);
    assert_eq!(
        after.expired(start() + days(8)).unwrap().role,
        Role::Timestamp
    );
}

#[tokio::test]
async fn a_second_publisher_waits_its_turn() {
    let shop = Shop::open().await;
    let lock = fs::File::open(shop.publisher.dir.join(".publisher.lock")).unwrap();
    lock.lock().unwrap();
    let refused = shop.publisher.refresh(start()).await;
    assert!(
        matches!(refused, Err(RepositoryError::Locked { .. })),
        "{refused:?}"
    );
    drop(lock);
    shop.publisher.refresh(start()).await.unwrap();
}

#[tokio::test]
async fn what_a_publisher_left_half_done_is_done_anew() {
    let shop = Shop::open().await;
    let metadata = shop.publisher.dir.join("metadata");
    fs::write(metadata.join("2.targets.json"), "half").unwrap();
    fs::write(metadata.join("2.snapshot.json"), "half").unwrap();
    assert!(
        shop.update(start()).await.unwrap().targets().is_empty(),
        "nobody looks at it"
    );
    let published = shop.publish("104.1", b"module").await;
    let client = shop.update(start()).await.unwrap();
    assert_eq!(client.read(&published).await.unwrap(), b"module");
}

#[tokio::test]
async fn an_unchanged_repository_costs_two_small_requests() {
    let shop = Shop::open().await;
    shop.publish("104.1", b"module").await;
    let transport = Counting::new(&shop.publisher.dir);
    for expected in [
        &[
            "2.root.json",
            "timestamp.json",
            "2.snapshot.json",
            "2.targets.json",
        ][..],
        &["2.root.json", "timestamp.json"],
    ] {
        let (location, limits) = (transport.inner.location(), Limits::default());
        let (store, transport) = (shop.datastore(), transport.clone());
        let asked = transport.asked.clone();
        let root = &shop.trusted_root;
        let client = Client::update(root, &store, &location, transport, &limits, start()).await;
        assert_eq!(client.unwrap().targets().len(), 1);
        assert_eq!(std::mem::take(&mut *asked.lock().unwrap()), expected);
    }
}

/// A mirror that remembers what it was asked for.
#[derive(Debug, Clone)]
struct Counting {
    inner: FolderTransport,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Counting {
    fn new(dir: &Path) -> Self {
        Self {
            inner: FolderTransport::new(dir),
            asked: Arc::default(),
        }
    }
}

#[async_trait]
impl Transport for Counting {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let file = url.path().rsplit('/').next().unwrap().to_owned();
        self.asked.lock().unwrap().push(file);
        self.inner.fetch(url).await
    }
}
