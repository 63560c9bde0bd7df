//! A service that mirrors this one.

use suture_remote::{RemoteError, Source};
use suture_repository::{Catalogue, Mirror};
use suture_store::{AccountToken, Plan};

use crate::world::{World, kernel, now, operator};

fn source(world: &World, token: &AccountToken) -> Source {
    let address = format!("http://{}/v1/repository", world.address);
    let environment = ("SUTURE_MIRROR_TOKEN".to_owned(), token.expose().to_owned());
    Source::open(&address.parse().unwrap(), [environment]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_follows_a_service_by_the_token_of_an_account_without_a_limit() {
    let world = World::plain().await;
    let (account, token) = world.account(Plan::Free).await;
    let published = world.publish(&kernel(), "104.1").await;
    let root = std::fs::read(world.repository().join("metadata/1.root.json")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mirror = Mirror::new(folder.path().join("copy"), Some(root));
    let source = source(&world, &token.secret);
    let refused = source.update(&mirror, now()).await;
    assert!(
        matches!(refused, Err(RemoteError::Mirror(_))),
        "{refused:?}"
    );

    let (plan, by) = (Plan::Subscription, operator());
    let subscribed = world.store.set_plan(account.id, plan, &by, now()).await;
    subscribed.unwrap();
    let mirrored = source.update(&mirror, now()).await.unwrap();
    // What is open to everyone may have come already.
    assert!(mirrored.changed, "the module was missing");
    let copy = Catalogue::load(&mirror.dir, None).await.unwrap();
    assert_eq!(copy.targets().len(), published.len());
    world.publish(&kernel(), "105.1").await;
    assert!(source.update(&mirror, now()).await.unwrap().changed);
}

#[test]
fn a_token_goes_nowhere_without_tls() {
    let address = "http://patches.example.org/v1/repository";
    let environment = ("SUTURE_MIRROR_TOKEN".to_owned(), "a token".to_owned());
    let refused = Source::open(&address.parse().unwrap(), [environment]).unwrap_err();
    assert!(
        matches!(refused, RemoteError::PlainToken { .. }),
        "{refused}"
    );
}
