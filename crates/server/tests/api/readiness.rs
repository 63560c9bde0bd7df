//! What a load balancer and a supervisor ask.

use serde_json::{Value, json};
use suture_protocol::ProblemKind;

use crate::world::World;

fn readiness(world: &World) -> (u16, Value) {
    let answer = world.get("/readyz");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let told: Value = serde_json::from_slice(&answer.body).unwrap();
    if answer.status != 200 {
        assert_eq!(answer.problem().kind, ProblemKind::Internal);
    }
    let readiness = json!({ "ready": told["ready"], "parts": told["parts"] });
    (answer.status, readiness)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_ready_while_database_and_repository_answer() {
    let world = World::new().await;
    let all = json!({ "ready": true, "parts": [
        { "name": "database", "ready": true, "reason": null },
        { "name": "repository", "ready": true, "reason": null },
    ] });
    assert_eq!(readiness(&world), (200, all.clone()));

    let gone = world.repository().with_extension("gone");
    std::fs::rename(world.repository(), &gone).unwrap();
    let reason = "it can't be reached or read";
    let without_repository = json!({ "ready": false, "parts": [
        { "name": "database", "ready": true, "reason": null },
        { "name": "repository", "ready": false, "reason": reason },
    ] });
    assert_eq!(readiness(&world), (503, without_repository));
    std::fs::rename(&gone, world.repository()).unwrap();
    assert_eq!(readiness(&world), (200, all), "it came back by itself");

    world.lose_database().await;
    let without_database = json!({ "ready": false, "parts": [
        { "name": "database", "ready": false, "reason": reason },
        { "name": "repository", "ready": true, "reason": null },
    ] });
    assert_eq!(readiness(&world), (503, without_database));
    assert_eq!(world.get("/healthz").status, 503);
    assert_eq!(
        world.get("/livez").status,
        200,
        "a new start would not help"
    );
}
