//! Machines enrol, check in and leave.

use suture_protocol::{CheckInRequest, EnrolResponse, MachineState, ProblemKind};
use suture_rollout::Offer;
use suture_store::{MachineSecret, Plan, ReportedState};

use crate::log;
use crate::world::{World, check_in_request, enrol_request, kernel, now, operator};

#[tokio::test(flavor = "multi_thread")]
async fn a_free_account_has_three_machines_and_two_ways_to_a_fourth() {
    let world = World::new().await;
    let (account, token) = world.account(Plan::Free).await;
    let first = world.enrol(&token, 1).json::<EnrolResponse>();
    assert_eq!(first.plan, "free");
    assert!(first.machine_secret.starts_with(MachineSecret::PREFIX));
    world.enrolled(&token, 2);
    world.enrolled(&token, 3);

    let refused = world.enrol(&token, 4);
    assert_eq!(refused.status, 403);
    let problem = refused.problem();
    assert_eq!(problem.kind, ProblemKind::MachineLimit);
    for way_out in ["`sudo livepatch disable`", "ask this service's operator"] {
        assert!(problem.detail.contains(way_out), "{}", problem.detail);
    }

    assert_eq!(
        world
            .delete("/v1/machines/self", &first.machine_secret)
            .status,
        204
    );
    world.enrolled(&token, 4);
    assert_eq!(world.enrol(&token, 5).status, 403);
    let by = operator();
    world
        .store
        .set_plan(account.id, Plan::Subscription, &by, now())
        .await
        .unwrap();
    assert_eq!(
        world.enrol(&token, 5).json::<EnrolResponse>().plan,
        "subscription"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn enrolling_again_replaces_the_secret_and_counts_once() {
    let world = World::new().await;
    let (account, token) = world.account(Plan::Free).await;
    let old = world.enrolled(&token, 1);
    world.enrolled(&token, 2);
    world.enrolled(&token, 3);
    let new = world.enrolled(&token, 1);
    let refused = world.post("/v1/check-in", &old, &check_in_request());
    assert_eq!(refused.status, 401);
    assert_eq!(refused.problem().kind, ProblemKind::UnknownMachine);
    world.check_in(&new, &check_in_request());
    assert_eq!(world.store.machines(account.id).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_does_not_hold_is_refused_in_known_words() {
    let world = World::new().await;
    let (_, token) = world.account(Plan::Free).await;
    world
        .store
        .revoke_token(token.token.id, &operator(), now())
        .await
        .unwrap();
    let never_issued = format!("suture_t_{}", "A".repeat(43));
    for bearer in [token.secret.expose(), &never_issued, "0123456789abcdef", ""] {
        let refused = world.post("/v1/machines", bearer, &enrol_request(1));
        assert_eq!(refused.status, 401);
        assert_eq!(refused.header("www-authenticate"), Some("Bearer"));
        let problem = refused.problem();
        assert_eq!(problem.kind, ProblemKind::UnknownToken);
        assert!(
            problem.detail.contains("Unknown Auth-Token"),
            "{}",
            problem.detail
        );
        assert!(
            problem.detail.contains("livepatch enable"),
            "{}",
            problem.detail
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_no_machine_secret_and_a_released_machine_is_unknown() {
    let world = World::new().await;
    let (_, token) = world.account(Plan::Free).await;
    let secret = world.enrolled(&token, 1);
    let refused = world.post("/v1/check-in", token.secret.expose(), &check_in_request());
    assert_eq!(refused.problem().kind, ProblemKind::UnknownMachine);
    let refused = world.post("/v1/machines", &secret, &enrol_request(2));
    assert_eq!(refused.problem().kind, ProblemKind::UnknownToken);
    assert_eq!(world.delete("/v1/machines/self", &secret).status, 204);
    let refused = world.delete("/v1/machines/self", &secret);
    assert_eq!(refused.status, 401);
    assert_eq!(refused.problem().kind, ProblemKind::UnknownMachine);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_offered_at_once() {
    let world = World::new().await;
    let (account, token) = world.account(Plan::Free).await;
    let secret = world.enrolled(&token, 1);
    let offer = |applied: Option<&str>| {
        let applied = applied.map(|version| version.parse().unwrap());
        let answer = world.check_in(
            &secret,
            &CheckInRequest {
                applied,
                ..check_in_request()
            },
        );
        assert_eq!(answer.next_check_in_secs, 3600);
        answer.offer
    };
    assert_eq!(offer(None), Offer::NotCovered);
    world.publish(&kernel(), "104.1").await;
    assert_eq!(
        offer(None),
        Offer::Version {
            version: "104.1".parse().unwrap()
        }
    );
    world.publish(&kernel(), "105.1").await;
    assert_eq!(
        offer(Some("104.1")),
        Offer::Version {
            version: "105.1".parse().unwrap()
        }
    );
    assert_eq!(offer(Some("105.1")), Offer::UpToDate);

    let machines = world.store.machines(account.id).await.unwrap();
    let last = machines[0].last_check_in.as_ref().unwrap();
    assert_eq!(
        (last.at, last.applied),
        (now(), Some("105.1".parse().unwrap()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_kept_however_long_its_text() {
    let world = World::new().await;
    let (account, token) = world.account(Plan::Free).await;
    let secret = world.enrolled(&token, 1);
    let failed = CheckInRequest {
        state: MachineState::ApplyFailed,
        failure: Some("EBUSY\n".repeat(1000)),
        ..check_in_request()
    };
    world.check_in(&secret, &failed);
    let machines = world.store.machines(account.id).await.unwrap();
    let last = machines[0].last_check_in.as_ref().unwrap();
    let ReportedState::ApplyFailed {
        failure: Some(failure),
    } = &last.state
    else {
        panic!("{last:?}")
    };
    assert!(failure.as_str().starts_with("EBUSY EBUSY "));
    assert_eq!(failure.as_str().len(), 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_makes_no_sense_is_told_why() {
    let world = World::new().await;
    let (_, token) = world.account(Plan::Free).await;
    let bearer = token.secret.expose();
    let post = |media_type: &str, body: &str| {
        world.post_bytes("/v1/machines", bearer, media_type, body.as_bytes())
    };
    let no_media_type = post("text/plain", "{}");
    assert_eq!(
        (no_media_type.status, no_media_type.problem().kind),
        (415, ProblemKind::BadRequest)
    );
    let no_json = post("application/json", "{");
    assert_eq!(
        (no_json.status, no_json.problem().kind),
        (400, ProblemKind::BadRequest)
    );
    let no_fields = post("application/json", "{}");
    assert_eq!(no_fields.status, 422);
    assert!(
        no_fields.problem().detail.contains("machine_id"),
        "{}",
        no_fields.text()
    );

    let mut request = enrol_request(1);
    request.hostname = "x".repeat(254);
    let too_long = world.post("/v1/machines", bearer, &request);
    assert_eq!(too_long.status, 422);
    assert!(
        too_long.problem().detail.contains("host name"),
        "{}",
        too_long.text()
    );
    world.enrolled(&token, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_gets_into_the_log() {
    log::keep();
    let world = World::new().await;
    let (_, token) = world.account(Plan::Free).await;
    let secret = world.enrolled(&token, 77);
    world.check_in(&secret, &check_in_request());
    world.get_with(
        "/v1/repository/targets/x",
        &[("authorization", &format!("Bearer {secret}"))],
    );
    let log = log::text();
    assert!(
        log.contains("enrolled machine 0000000000000000000000000000004d"),
        "{log}"
    );
    assert!(
        log.contains("route=\"/v1/repository/targets/{file}\" status=404"),
        "{log}"
    );
    for hidden in [token.secret.expose(), &secret] {
        assert!(!log.contains(&hidden[12..]), "a secret was logged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_disk_become_machines_of_their_own() {
    let world = World::new().await;
    let (account, token) = world.account(Plan::Free).await;
    let secret = world.enrolled(&token, 1);
    let boots = [
        "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1",
        "7c1d2e3f-4a5b-4c6d-8e7f-901a2b3c4d5e",
    ];
    let told: Vec<bool> = [0, 1, 0, 1]
        .map(|boot: usize| {
            let request = suture_protocol::CheckInRequest {
                boot_id: boots[boot].to_owned(),
                ..check_in_request()
            };
            world.check_in(&secret, &request).copied
        })
        .into();
    assert_eq!(told, [false, false, false, true]);
    let request = serde_json::json!({ "machine_id": "c".repeat(32) });
    let split = world.post("/v1/machines/self/split", &secret, &request);
    let own = split.json::<EnrolResponse>().machine_secret;
    assert_ne!(own, secret);
    assert!(!world.check_in(&own, &check_in_request()).copied);
    assert_eq!(world.store.machines(account.id).await.unwrap().len(), 2);
    let other = serde_json::json!({ "machine_id": "d".repeat(32) });
    let refused = world.post("/v1/machines/self/split", &secret, &other);
    assert_eq!(refused.status, 409);
    assert_eq!(refused.problem().kind, ProblemKind::Conflict);
}
