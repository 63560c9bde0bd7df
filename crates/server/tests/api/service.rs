//! The service itself: its description, its page, its health, its end.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use suture_protocol::{EnrolResponse, ProblemKind};
use suture_store::Plan;

use crate::world::{World, enrol_request, kernel};

/// Method and path of every route.
const ROUTES: [(&str, &str); 106] = [
    ("get", "/"),
    ("get", "/account"),
    ("get", "/account/delete"),
    ("post", "/account/delete"),
    ("post", "/account/identities"),
    ("post", "/account/identities/remove"),
    ("post", "/account/letters"),
    ("post", "/account/passkeys"),
    ("post", "/account/passkeys/begin"),
    ("post", "/account/passkeys/remove"),
    ("post", "/account/sign-out-everywhere"),
    ("get", "/account/subscription"),
    ("get", "/account/subscription/back"),
    ("post", "/account/subscription/checkout"),
    ("post", "/account/subscription/portal"),
    ("post", "/account/tokens"),
    ("post", "/account/tokens/revoke"),
    ("get", "/calendar"),
    ("get", "/calendar.ics"),
    ("get", "/fleet"),
    ("get", "/fleet/accounts"),
    ("get", "/fleet/accounts/{id}"),
    ("post", "/fleet/accounts/{id}/{change}"),
    ("get", "/fleet/audit"),
    ("get", "/fleet/channels"),
    ("post", "/fleet/channels"),
    ("get", "/fleet/groups"),
    ("post", "/fleet/groups"),
    ("post", "/fleet/hooks/test"),
    ("get", "/fleet/machines"),
    ("get", "/fleet/settings"),
    ("get", "/follow.js"),
    ("get", "/healthz"),
    ("get", "/kernels"),
    ("get", "/livez"),
    ("get", "/machines"),
    ("post", "/machines/early"),
    ("post", "/machines/release"),
    ("get", "/metrics"),
    ("get", "/openapi.json"),
    ("get", "/passkey.js"),
    ("get", "/password"),
    ("post", "/password"),
    ("get", "/password/new"),
    ("post", "/password/new"),
    ("get", "/patches"),
    ("get", "/patches.atom"),
    ("get", "/patches.json"),
    ("get", "/patches/{name}"),
    ("get", "/readyz"),
    ("get", "/register"),
    ("post", "/register"),
    ("get", "/register/confirm"),
    ("post", "/register/confirm"),
    ("get", "/rollouts"),
    ("get", "/rollouts/stream"),
    ("get", "/rollouts/{id}"),
    ("get", "/rollouts/{id}/stream"),
    ("get", "/rollouts/{id}/{change}"),
    ("post", "/rollouts/{id}/{change}"),
    ("get", "/sign-in"),
    ("post", "/sign-in"),
    ("post", "/sign-in/openid"),
    ("get", "/sign-in/openid/back"),
    ("post", "/sign-in/passkey"),
    ("post", "/sign-in/passkey/begin"),
    ("post", "/sign-out"),
    ("get", "/style.css"),
    ("get", "/ticks"),
    ("get", "/v1/accounts"),
    ("post", "/v1/accounts"),
    ("get", "/v1/accounts/{id}"),
    ("patch", "/v1/accounts/{id}"),
    ("delete", "/v1/accounts/{id}/machines/{machine}"),
    ("put", "/v1/accounts/{id}/machines/{machine}/group"),
    ("get", "/v1/accounts/{id}/tokens"),
    ("post", "/v1/accounts/{id}/tokens"),
    ("get", "/v1/audit"),
    ("get", "/v1/channels"),
    ("delete", "/v1/channels/{name}/versions/{version}"),
    ("put", "/v1/channels/{name}/versions/{version}"),
    ("post", "/v1/check-in"),
    ("get", "/v1/fleet"),
    ("get", "/v1/fleet/machines"),
    ("get", "/v1/groups"),
    ("put", "/v1/groups/{name}/policy"),
    ("get", "/v1/hooks"),
    ("post", "/v1/hooks/{name}/test"),
    ("get", "/v1/kernels"),
    ("post", "/v1/machines"),
    ("delete", "/v1/machines/self"),
    ("post", "/v1/machines/self/split"),
    ("get", "/v1/operator-keys"),
    ("post", "/v1/operator-keys"),
    ("delete", "/v1/operator-keys/{id}"),
    ("get", "/v1/patches"),
    ("get", "/v1/patches/{name}"),
    ("get", "/v1/repository/metadata/{file}"),
    ("get", "/v1/repository/targets/{file}"),
    ("get", "/v1/rollouts"),
    ("get", "/v1/rollouts/{id}"),
    ("get", "/v1/rollouts/{id}/draw"),
    ("get", "/v1/rollouts/{id}/events"),
    ("post", "/v1/rollouts/{id}/{change}"),
    ("post", "/v1/stripe"),
    ("delete", "/v1/tokens/{id}"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_described_and_every_described_route_is_served() {
    let world = World::plain().await;
    let description: serde_json::Value = world.get("/openapi.json").json();
    let mut described = Vec::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.push((method.as_str(), path.as_str()));
        }
    }
    described.sort_by_key(|(_, path)| *path);
    assert_eq!(described, ROUTES);
    // What is followed never ends by itself.
    let ending = |(_, path): &(&str, &str)| !["/rollouts/stream", "/ticks"].contains(path);
    for (method, path) in ROUTES.into_iter().filter(ending) {
        let method = method.to_uppercase();
        let answer = world.raw(&format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        ));
        assert!(
            !answer.contains("There is nothing at this address"),
            "{method} {path}"
        );
        assert!(!answer.starts_with("HTTP/1.1 405"), "{method} {path}");
    }
    let operations = description["paths"].as_object().unwrap().values();
    for operation in operations.flat_map(|item| item.as_object().unwrap().values()) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(
                response["description"].is_string(),
                "OpenAPI wants it: {status} {response}"
            );
        }
    }
    let schemas = description["components"]["schemas"].as_object().unwrap();
    for name in [
        "EnrolRequest",
        "EnrolResponse",
        "CheckInRequest",
        "CheckInResponse",
        "Problem",
        "KernelBuild",
        "Offer",
    ] {
        assert!(schemas.contains_key(name), "{name}");
    }
    let enrol = &description["paths"]["/v1/machines"]["post"]["security"];
    assert_eq!(*enrol, serde_json::json!([{ "account_token": [] }]));
    assert_eq!(
        suture_server::openapi().to_json().unwrap().len(),
        world.get("/openapi.json").body.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_is_a_problem_document() {
    let world = World::new().await;
    let nowhere = world.get("/v1/nothing");
    assert_eq!(
        (nowhere.status, nowhere.problem().kind),
        (404, ProblemKind::NotFound)
    );
    let wrong_method = world.get("/v1/machines");
    assert_eq!(
        (wrong_method.status, wrong_method.problem().kind),
        (405, ProblemKind::BadRequest)
    );
    assert_eq!(wrong_method.header("allow"), Some("POST"));
    assert!(wrong_method.header("x-request-id").is_some());
    let named = world.get_with("/v1/nothing", &[("x-request-id", "proxy-1")]);
    assert_eq!(named.header("x-request-id"), Some("proxy-1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_oversize_body_is_refused_before_it_is_sent() {
    let world = World::plain().await;
    let (_, token) = world.account(Plan::Free).await;
    let answer = world.raw(&format!(
        "POST /v1/machines HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: 262145\r\nconnection: close\r\n\
         expect: 100-continue\r\n\r\n",
        token.secret.expose()
    ));
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("\"type\":\"too-large\""), "{answer}");
    assert!(answer.contains("longer than 262144 bytes"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_lists_what_is_published() {
    let world = World::new().await;
    assert!(world.get("/").text().contains("None yet."));
    world.publish(&kernel(), "104.1").await;
    let page = world.get("/");
    let text = page.text();
    for expected in [
        "sudo canonical-livepatch enable TOKEN",
        "6.12.117+deb13-amd64",
        "104.1",
        "CVE-2026-31413",
        "Critical",
        "net: fix a use after free on release",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(
        text.find("CVE-2026-31413") < text.find("CVE-2026-31402"),
        "the gravest first"
    );
    assert!(!text.contains("<option>"), "titles are escaped");
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("default-src 'none'") && !policy.contains("unsafe"),
        "{policy}"
    );
    assert!(
        !text.contains("<script") && !text.contains("style="),
        "as the policy demands"
    );
    assert_eq!(
        world.get("/style.css").header("content-type"),
        Some("text/css; charset=utf-8")
    );

    let links: Vec<_> = text
        .split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let files: Vec<_> = links
        .iter()
        .filter(|link| link.contains("/targets/"))
        .collect();
    assert_eq!(files.len(), 2);
    for file in files {
        assert_eq!(world.get(file).status, 200, "{file}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spoiled_manifest_spoils_no_page() {
    let world = World::new().await;
    world.publish(&kernel(), "104.1").await;
    let targets = std::fs::read_dir(world.repository().join("targets")).unwrap();
    let manifest = targets
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "json"))
        .unwrap();
    std::fs::write(manifest, "{}").unwrap();
    let text = world.get("/").text();
    assert!(
        text.contains("CVE-2026-31413"),
        "known from the signed metadata"
    );
    assert!(!text.contains("use after free"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_when_the_repository_is_gone_and_check_ins_go_on() {
    let world = World::new().await;
    let (_, token) = world.account(Plan::Free).await;
    let secret = world.enrolled(&token, 1);
    world.publish(&kernel(), "104.1").await;
    let health: serde_json::Value = world.get("/healthz").json();
    assert_eq!(health["live_patches"], 1);
    assert_eq!(health["metadata_expires"], "2026-11-30T12:00:00Z");

    let gone = world.repository().with_extension("gone");
    std::fs::rename(world.repository(), gone).unwrap();
    let unhealthy = world.get("/healthz");
    assert_eq!(
        (unhealthy.status, unhealthy.problem().kind),
        (503, ProblemKind::Internal)
    );
    let answer = world.check_in(&secret, &crate::world::check_in_request());
    let version = "104.1".parse().unwrap();
    assert_eq!(answer.offer, suture_rollout::Offer::Version { version });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_an_open_request() {
    let mut world = World::plain().await;
    let (_, token) = world.account(Plan::Free).await;
    let body = serde_json::to_string(&enrol_request(1)).unwrap();
    let mut stream = world.connect().unwrap();
    let head = format!(
        "POST /v1/machines HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        token.secret.expose(),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut told = [0; 25];
    stream.read_exact(&mut told).unwrap();
    assert_eq!(
        &told, b"HTTP/1.1 100 Continue\r\n\r\n",
        "the handler waits for the body"
    );

    world.stop();
    let started = Instant::now();
    while world.connect().is_ok() {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "it still takes connections"
        );
        tokio::task::yield_now().await;
    }
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let (_, json) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        serde_json::from_str::<EnrolResponse>(json).unwrap().plan,
        "free"
    );
    world.ended().await.unwrap();
}
