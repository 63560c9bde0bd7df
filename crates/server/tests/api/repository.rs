//! The repository's files.

use suture_protocol::{Manifest, ProblemKind, TargetKind};
use suture_repository::PublishedTarget;
use suture_store::{AccountToken, Plan};

use crate::world::{World, kernel, module_bytes, now, operator};

fn path(published: &[PublishedTarget], kind: TargetKind) -> String {
    let target = published
        .iter()
        .find(|target| target.name.kind == kind)
        .unwrap();
    format!("/v1/repository/targets/{}.{}", target.sha256, target.name)
}

#[tokio::test(flavor = "multi_thread")]
async fn modules_are_for_enrolled_machines_the_rest_is_for_all() {
    let world = World::new().await;
    let (_, token) = world.account(Plan::Free).await;
    let secret = world.enrolled(&token, 1);
    let published = world.publish(&kernel(), "104.1").await;

    let manifest = world.get(&path(&published, TargetKind::Manifest));
    assert_eq!(manifest.header("content-type"), Some("application/json"));
    assert_eq!(
        manifest.json::<Manifest>().version,
        "104.1".parse().unwrap()
    );
    let source = world.get(&path(&published, TargetKind::Source));
    assert_eq!(
        (source.status, source.text()),
        (200, "a source archive".to_owned())
    );
    assert_eq!(source.header("content-type"), Some("application/gzip"));

    let module = path(&published, TargetKind::Module);
    let with =
        |bearer: &str| world.get_with(&module, &[("authorization", &format!("Bearer {bearer}"))]);
    let refused = world.get(&module);
    assert_eq!(refused.status, 401);
    assert_eq!(refused.problem().kind, ProblemKind::UnknownMachine);
    assert_eq!(refused.header("cache-control"), None);
    let fetched = with(&secret);
    assert_eq!((fetched.status, fetched.body), (200, module_bytes()));
    let caching = with(&secret);
    let caching = caching.header("cache-control").unwrap();
    assert!(
        caching.starts_with("private") && caching.contains("immutable"),
        "{caching}"
    );
    let plus_encoded = module.replace('+', "%2B");
    let encoded = world.get_with(
        &plus_encoded,
        &[("authorization", &format!("Bearer {secret}"))],
    );
    assert_eq!(encoded.status, 200, "clients may write `+` either way");

    world.delete("/v1/machines/self", &secret);
    assert_eq!(
        with(&secret).status,
        401,
        "a released machine fetches nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_reads_modules_by_the_token_of_an_account_without_a_limit() {
    let world = World::new().await;
    let (account, token) = world.account(Plan::Free).await;
    let published = world.publish(&kernel(), "104.1").await;
    let module = path(&published, TargetKind::Module);
    let with = |token: &AccountToken| {
        let bearer = format!("Bearer {}", token.expose());
        world.get_with(&module, &[("authorization", &bearer)])
    };
    let refused = with(&token.secret);
    assert_eq!(refused.status, 403);
    assert_eq!(refused.problem().kind, ProblemKind::MachineLimit);
    let (plan, by) = (Plan::Subscription, operator());
    let subscribed = world.store.set_plan(account.id, plan, &by, now()).await;
    subscribed.unwrap();
    let fetched = with(&token.secret);
    assert_eq!((fetched.status, fetched.body), (200, module_bytes()));
    let unknown = with(&AccountToken::generate().unwrap());
    assert_eq!(unknown.problem().kind, ProblemKind::UnknownToken);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_open_and_its_caching_suits_its_life() {
    let world = World::new().await;
    let timestamp = world.get("/v1/repository/metadata/timestamp.json");
    assert_eq!(
        timestamp.header("cache-control"),
        Some("public, max-age=60")
    );
    let file = world.repository().join("metadata/timestamp.json");
    assert_eq!(timestamp.body, std::fs::read(file).unwrap());
    for name in ["1.root.json", "1.snapshot.json", "1.targets.json"] {
        let answer = world.get(&format!("/v1/repository/metadata/{name}"));
        assert_eq!((name, answer.status), (name, 200));
        assert!(
            answer
                .header("cache-control")
                .unwrap()
                .contains("immutable"),
            "{name}"
        );
    }
    let missing = world.get("/v1/repository/metadata/2.root.json");
    assert_eq!(
        (missing.status, missing.problem().kind),
        (404, ProblemKind::NotFound)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_the_content_gets_none() {
    let world = World::new().await;
    let published = world.publish(&kernel(), "104.1").await;
    let timestamp = "/v1/repository/metadata/timestamp.json".to_owned();
    for path in [timestamp.clone(), path(&published, TargetKind::Manifest)] {
        let first = world.get(&path);
        let tag = first.header("etag").unwrap();
        let again = world.get_with(&path, &[("if-none-match", tag)]);
        assert_eq!((again.status, again.body.len()), (304, 0));
        assert_eq!(again.header("etag"), Some(tag));
    }
    let before = world.get(&timestamp).header("etag").unwrap().to_owned();
    world.publish(&kernel(), "105.1").await;
    let changed = world.get_with(&timestamp, &[("if-none-match", &before)]);
    assert_eq!(changed.status, 200, "a new timestamp is seen");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_name_leads_out_of_the_repository() {
    let world = World::plain().await;
    std::fs::write(world.repository().join("metadata/notes.json"), "{}").unwrap();
    std::fs::write(world.repository().join("secret.json"), "the secret").unwrap();
    let sha256 = "0a".repeat(32);
    for path in [
        "metadata/../secret.json",
        "metadata/..%2Fsecret.json",
        "metadata/%2e%2e%2fsecret.json",
        "metadata/....//secret.json",
        "metadata/notes.json",
        "metadata/1.root.json%00",
        "metadata/",
        "targets/../secret.json",
        "targets/..%2fsecret.json",
        &format!("targets/{sha256}...%2f..%2fsecret.json"),
        &format!(
            "targets/{sha256}.6%2f..%2f..%2fsecret_amd64_{}_1.1.json",
            "ab".repeat(20)
        ),
        "../../../../etc/passwd",
    ] {
        let request = format!(
            "GET /v1/repository/{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        );
        let answer = world.raw(&request);
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        assert!(!answer.contains("the secret"), "{path}");
    }
}
