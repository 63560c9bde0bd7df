//! A copy that follows its source.

use std::fs;

use suture_repository::{ClientError, Copied, FolderTransport, Mirror, MirrorError, Publisher};

use crate::shop::{Shop, days, file_ending, start};

async fn update(shop: &Shop, mirror: &Mirror) -> Result<Copied, MirrorError> {
    let transport = FolderTransport::new(&shop.publisher.dir);
    mirror
        .update(&transport.location(), transport, start())
        .await
}

fn copy_of(shop: &Shop) -> Mirror {
    Mirror::new(shop.path("copy"), Some(shop.trusted_root.clone()))
}

#[tokio::test]
async fn a_copy_serves_machines_as_its_source_does() {
    let shop = Shop::open().await;
    let first = shop.publish("1.1", b"first").await;
    let mirror = copy_of(&shop);
    assert_eq!(
        update(&shop, &mirror).await.unwrap().added,
        [first.to_string()]
    );
    let client = shop.update_from(&mirror.dir, start()).await.unwrap();
    assert_eq!(client.read(&first).await.unwrap(), b"first");

    let second = shop.publish("2.1", b"second").await;
    let known = Mirror::new(&mirror.dir, None);
    let mirrored = update(&shop, &known).await.unwrap();
    assert_eq!(mirrored.added, [second.to_string()], "what is there stays");
    let client = shop.update_from(&mirror.dir, start()).await.unwrap();
    assert_eq!(client.read(&second).await.unwrap(), b"second");
    assert!(!update(&shop, &known).await.unwrap().changed);
}

#[tokio::test]
async fn readers_who_trust_any_root_find_the_way_to_the_latest() {
    let shop = Shop::open().await;
    for round in 1..=3 {
        let (old, new) = (
            shop.path(&format!("{round}")),
            shop.path(&format!("{}", round + 1)),
        );
        let old = if round == 1 { shop.root_keys() } else { old };
        let publisher = &shop.publisher;
        publisher
            .rotate_root_keys(&old, &new, (1, 1), start())
            .await
            .unwrap();
    }
    shop.publish("1.1", b"first").await;
    let third = fs::read(shop.publisher.dir.join("metadata/3.root.json")).unwrap();
    let mirror = Mirror::new(shop.path("copy"), Some(third));
    update(&shop, &mirror).await.unwrap();
    for version in 1..=4 {
        let name = format!("metadata/{version}.root.json");
        assert_eq!(
            fs::read(mirror.dir.join(&name)).unwrap(),
            fs::read(shop.publisher.dir.join(&name)).unwrap(),
            "{name}"
        );
    }
    shop.update_from(&mirror.dir, start()).await.unwrap();

    let broken = Mirror::new(shop.path("other"), mirror.trusted_root);
    let second = fs::read(shop.publisher.dir.join("metadata/2.root.json")).unwrap();
    fs::write(shop.publisher.dir.join("metadata/1.root.json"), second).unwrap();
    let refused = update(&shop, &broken).await.unwrap_err();
    assert!(
        matches!(&refused, MirrorError::BrokenRoots { file } if file == "1.root.json"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_copy_that_could_not_be_finished_is_what_it_was() {
    let shop = Shop::open().await;
    let first = shop.publish("1.1", b"first").await;
    let mirror = copy_of(&shop);
    update(&shop, &mirror).await.unwrap();
    let second = shop.publish("2.1", b"second").await;
    let file = file_ending(&shop.publisher.dir.join("targets"), &second.to_string());
    let hidden = shop.path("hidden");
    fs::rename(&file, &hidden).unwrap();
    let refused = update(&shop, &mirror).await.unwrap_err();
    assert!(
        matches!(refused, MirrorError::Source(ClientError::Missing { .. })),
        "{refused:?}"
    );
    let client = shop.update_from(&mirror.dir, start()).await.unwrap();
    assert_eq!(client.read(&first).await.unwrap(), b"first");
    fs::rename(&hidden, &file).unwrap();
    assert_eq!(update(&shop, &mirror).await.unwrap().added.len(), 1);
}

#[tokio::test]
async fn a_copy_never_goes_back_nor_sideways() {
    let shop = Shop::open().await;
    shop.publish("1.1", b"first").await;
    let old = shop.copy("old");
    let own = shop.copy("own");
    shop.publish("2.1", b"second").await;
    let from = |dir| {
        let transport = FolderTransport::new(dir);
        (transport.location(), transport)
    };
    let mirror = copy_of(&shop);
    update(&shop, &mirror).await.unwrap();
    let (location, transport) = from(&old);
    let refused = mirror.update(&location, transport, start()).await;
    assert!(
        matches!(
            refused,
            Err(MirrorError::Source(ClientError::Rollback { .. }))
        ),
        "{refused:?}"
    );

    // A publisher's own folder, in which more was signed than its source has.
    let publisher = Publisher::new(&own, &shop.publisher.keys);
    publisher.refresh(start()).await.unwrap();
    let beside = Mirror::new(&own, None);
    let refused = update(&shop, &beside).await;
    assert!(
        matches!(refused, Err(MirrorError::Diverged { .. })),
        "{refused:?}"
    );
    publisher.refresh(start()).await.unwrap();
    let refused = update(&shop, &beside).await;
    assert!(
        matches!(refused, Err(MirrorError::Ahead { .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_has_expired_is_not_copied() {
    let shop = Shop::open().await;
    let transport = FolderTransport::new(&shop.publisher.dir);
    let location = transport.location();
    let late = start() + days(30);
    let refused = copy_of(&shop).update(&location, transport, late).await;
    assert!(
        matches!(
            refused,
            Err(MirrorError::Source(ClientError::Expired { .. }))
        ),
        "{refused:?}"
    );
    shop.update_from(&shop.path("copy"), start())
        .await
        .expect_err("there is no copy");
}
