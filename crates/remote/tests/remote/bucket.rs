//! Repositories in an S3-compatible bucket: moto's server, which others wrote.

use std::fs;
use std::time::{Duration, Instant};

use suture_remote::{Place, PlaceTransport, RemoteError, follow, push};
use suture_repository::{Client, ClientError, Limits, Mirror, MirrorError};

use crate::s3::S3;
use crate::shop::{Shop, contents, now};

/// What a machine that trusts the shop's root finds in a place.
async fn read(shop: &Shop, place: &Place) -> Result<Vec<String>, ClientError> {
    let datastore = tempfile::tempdir().unwrap();
    let transport = PlaceTransport::new(place.clone());
    let location = transport.location();
    let (root, limits) = (&shop.trusted_root, Limits::default());
    let client =
        Client::update(root, datastore.path(), &location, transport, &limits, now()).await?;
    let mut found = Vec::new();
    for target in client.targets() {
        let bytes = client.read(&target.name).await?;
        found.push(String::from_utf8(bytes).unwrap());
    }
    Ok(found)
}

#[tokio::test]
async fn what_is_published_reaches_every_follower_of_the_bucket() {
    let s3 = S3::start();
    let bucket = s3.place("s3://patches/debian/12");
    let shop = Shop::open().await;
    shop.publish("1", "first").await;
    let pushed = push(&shop.dir(), &bucket).await.unwrap();
    assert_eq!(pushed.added.len(), 1);
    assert_eq!(read(&shop, &bucket).await.unwrap(), ["first"]);
    let again = push(&shop.dir(), &bucket).await.unwrap();
    assert!(!again.changed && again.added.is_empty());

    let mirror = Mirror::new(shop.path("copy"), Some(shop.trusted_root.clone()));
    let source = s3.source("s3://patches/debian/12");
    let mirrored = source.update(&mirror, now()).await.unwrap();
    assert_eq!(mirrored.versions, pushed.versions);
    let following = tokio::spawn(follow(
        source,
        mirror.clone(),
        Duration::from_millis(20),
        now,
    ));
    shop.publish("2", "second").await;
    push(&shop.dir(), &bucket).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while contents(&mirror.dir).await != ["first", "second"] {
        assert!(Instant::now() < deadline, "the copy never followed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    following.abort();
}

#[tokio::test]
async fn of_two_publishers_at_the_same_time_one_is_told() {
    let s3 = S3::start();
    let bucket = s3.place("s3://patches");
    let shop = Shop::open().await;
    push(&shop.dir(), &bucket).await.unwrap();
    let other = shop.twin();
    shop.publish("1", "ours").await;
    other.publish("1", "theirs").await;
    let (ours, theirs) = (shop.dir(), other.dir());
    let (one, two) = tokio::join!(push(&ours, &bucket), push(&theirs, &bucket));
    let (won, lost) = match (one, two) {
        (Ok(_), Err(lost)) => ("ours", lost),
        (Err(lost), Ok(_)) => ("theirs", lost),
        both => panic!("{both:?}"),
    };
    assert!(
        matches!(
            lost,
            RemoteError::Diverged { .. } | RemoteError::Overtaken { .. }
        ),
        "{lost}"
    );
    assert_eq!(read(&shop, &bucket).await.unwrap(), [won]);
    let loser = if won == "ours" { &other } else { &shop };
    let again = push(&loser.dir(), &bucket).await.unwrap_err();
    assert!(matches!(again, RemoteError::Diverged { .. }), "{again}");

    let winner = if won == "ours" { &shop } else { &other };
    winner.publish("2", "later").await;
    push(&winner.dir(), &bucket).await.unwrap();
    let late = push(&loser.dir(), &bucket).await.unwrap_err();
    assert!(matches!(late, RemoteError::Behind { .. }), "{late}");
}

#[tokio::test]
async fn a_push_that_was_cut_off_goes_on_where_it_was() {
    let s3 = S3::start();
    let bucket = s3.place("s3://patches");
    let shop = Shop::open().await;
    shop.publish("1", "first").await;
    push(&shop.dir(), &bucket).await.unwrap();
    s3.remove("patches/metadata/timestamp.json");
    s3.remove("patches/metadata/2.snapshot.json");
    s3.remove(&format!("patches/targets/{}", shop.target_file("first")));
    let resumed = push(&shop.dir(), &bucket).await.unwrap();
    assert_eq!(resumed.added.len(), 1);
    assert_eq!(read(&shop, &bucket).await.unwrap(), ["first"]);
}

#[tokio::test]
async fn what_was_changed_in_the_bucket_is_never_taken() {
    let s3 = S3::start();
    let bucket = s3.place("s3://patches");
    let shop = Shop::open().await;
    shop.publish("1", "first").await;
    push(&shop.dir(), &bucket).await.unwrap();
    let mirror = Mirror::new(shop.path("copy"), Some(shop.trusted_root.clone()));
    let source = s3.source("s3://patches");
    source.update(&mirror, now()).await.unwrap();
    shop.publish("2", "second").await;
    push(&shop.dir(), &bucket).await.unwrap();
    let file = format!("patches/targets/{}", shop.target_file("second"));
    s3.put(&file, b"sec0nd");
    let refused = source.update(&mirror, now()).await.unwrap_err();
    assert!(
        matches!(
            refused,
            RemoteError::Mirror(MirrorError::Source(ClientError::Altered { .. }))
        ),
        "{refused:?}"
    );
    assert_eq!(
        contents(&mirror.dir).await,
        ["first"],
        "the copy is what it was"
    );
    s3.put(&file, b"second");
    source.update(&mirror, now()).await.unwrap();
    assert_eq!(contents(&mirror.dir).await, ["first", "second"]);

    s3.put("patches/metadata/timestamp.json", b"{}");
    shop.publish("3", "third").await;
    let refused = push(&shop.dir(), &bucket).await.unwrap_err();
    assert!(
        matches!(refused, RemoteError::NoTimestamp { .. }),
        "{refused}"
    );
}

#[tokio::test]
async fn old_metadata_goes_and_wrong_keys_are_told_of() {
    let s3 = S3::start();
    let bucket = s3.place("s3://patches");
    let shop = Shop::open().await;
    for version in 1..=13 {
        shop.publish(&version.to_string(), "x").await;
    }
    push(&shop.dir(), &bucket).await.unwrap();
    shop.publish("14", "x").await;
    push(&shop.dir(), &bucket).await.unwrap();
    let mut there = s3.list("patches", "metadata/");
    there.sort();
    assert_eq!(
        there,
        [
            "metadata/1.root.json",
            "metadata/14.snapshot.json",
            "metadata/14.targets.json",
            "metadata/15.snapshot.json",
            "metadata/15.targets.json",
            "metadata/timestamp.json",
        ],
    );
    fs::remove_dir_all(shop.dir()).unwrap();
    let gone = push(&shop.dir(), &bucket).await.unwrap_err();
    assert!(matches!(gone, RemoteError::Repository(_)), "{gone}");
    let nowhere = s3.place("s3://no-such-bucket");
    let other = Shop::open().await;
    let refused = push(&other.dir(), &nowhere).await.unwrap_err();
    assert!(matches!(refused, RemoteError::Object { .. }), "{refused}");
}
