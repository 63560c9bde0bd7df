//! The whole fleet as operators meet it, over the API and on pages.

use serde_json::{Value, json};
use suture_protocol::{CheckInRequest, EnrolResponse, MachineState, ProblemKind};
use suture_server::view::{AccountPage, AccountSummary, AuditPage, FleetView, MachinePage};
use suture_store::Plan;

use crate::rollouts::{OWN, sign_in, token};
use crate::world::{World, check_in_request, enrol_request, now};

/// An account with three machines: one patched, one that failed, one not heard of.
async fn small_fleet(world: &World) -> (String, suture_store::IssuedToken) {
    let (account, issued) = world.account(Plan::Free).await;
    let secret = |number| world.enrolled(&issued, number);
    let patched = CheckInRequest {
        state: MachineState::Applied,
        applied: "104.1".parse().ok(),
        ..check_in_request()
    };
    world.check_in(&secret(1), &patched);
    let failed = CheckInRequest {
        state: MachineState::ApplyFailed,
        failure: Some("<b>EBUSY</b>".to_owned()),
        ..check_in_request()
    };
    world.check_in(&secret(2), &failed);
    secret(3);
    (account.id.to_string(), issued)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fleet_is_for_operators_alone() {
    let world = World::new().await;
    let (account, issued) = small_fleet(&world).await;
    let key = world.operator_key().await;
    let bearer = |key: &str| format!("Bearer {key}");
    let accounts = format!("/v1/accounts/{account}");
    for path in [
        "/v1/fleet",
        "/v1/fleet/machines",
        "/v1/accounts",
        &accounts,
        &format!("{accounts}/tokens"),
        "/v1/audit",
        "/v1/operator-keys",
    ] {
        let refused = world.get(path);
        assert_eq!(refused.status, 401, "{path}");
        assert_eq!(refused.problem().kind, ProblemKind::UnknownOperator);
        let answer = world.get_with(path, &[("authorization", &bearer(key.expose()))]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(!answer.text().contains("suture_"), "no secret: {path}");
    }

    let owners = [("authorization", bearer(issued.secret.expose()))];
    let owners = owners
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    assert_eq!(world.get_with("/v1/fleet", &owners).status, 401);

    // In a browser: nobody is sent to sign in, who holds a token is refused.
    let (_, owner) = sign_in(&world, issued.secret.expose());
    let (_, operator) = sign_in(&world, key.expose());
    for path in [
        "/fleet",
        "/fleet/machines",
        "/fleet/accounts",
        &format!("/fleet/accounts/{account}"),
        "/fleet/audit",
    ] {
        let nobody = world.get(path).text();
        assert!(nobody.contains("action=\"/sign-in\""), "{path}: {nobody}");
        assert_eq!(
            world.get_with(path, &[("cookie", &owner)]).status,
            403,
            "{path}"
        );
        let page = world.get_with(path, &[("cookie", &operator)]);
        assert_eq!(page.status, 200, "{path}: {}", page.text());
        assert_eq!(page.header("cache-control"), Some("private, no-store"));
        let text = page.text();
        assert!(
            !text.contains("style=") && !text.contains("<b>EBUSY"),
            "{path}: {text}"
        );
    }
    let plan = format!("/fleet/accounts/{account}/plan");
    let form = [("token", "x"), ("plan", "subscription")];
    assert_eq!(
        world
            .post_form(&plan, &[OWN, ("cookie", &owner)], &form)
            .status,
        403
    );
    assert_eq!(
        world
            .post_form(&plan, &[OWN, ("cookie", &operator)], &form)
            .status,
        403
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_see_the_fleet_counted_and_find_machines() {
    let world = World::new().await;
    let (account, _) = small_fleet(&world).await;
    let key = world.operator_key().await;
    let bearer = format!("Bearer {}", key.expose());
    let get = |path: &str| world.get_with(path, &[("authorization", &bearer)]);

    world.publish(&crate::world::kernel(), "104.1").await;
    world.rollout("104.1").await;
    assert_eq!(world.get("/metrics").status, 401);
    let metrics = get("/metrics");
    let kind = metrics.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text"), "{kind}");
    let text = metrics.text();
    for expected in [
        "suture_machines{kernel=\"6.12.117+deb13-amd64\",state=\"applied\",version=\"104.1\"} 1\n",
        "suture_machines_heard 2\n",
        "suture_live_patches 1\n",
        "suture_metadata_expires_timestamp_seconds 1796040000\n",
        "suture_rollout_state{rollout=",
        "suture_rollout_exposed_machines{",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
    crate::dashboard::assert_shows(&text);

    // The samples of two hours; the service itself keeps one of this hour.
    let groups = world.store.fleet_groups(now()).await.unwrap();
    for hours in [1, 2] {
        let hour = suture_store::hour_of(now()) - jiff::SignedDuration::from_hours(hours);
        world.store.keep_fleet_sample(hour, &groups).await.unwrap();
    }
    let fleet: FleetView = get("/v1/fleet").json();
    assert_eq!(
        (fleet.machines, fleet.patched, fleet.failed, fleet.heard),
        (3, 1, 1, 2)
    );
    assert!(fleet.course.len() >= 2, "{fleet:?}");
    assert_eq!(fleet.course[0].versions["104.1"], 1);

    let find = |query: &str| {
        let page: MachinePage = get(&format!("/v1/fleet/machines?{query}")).json();
        let names = page.machines.iter().map(|machine| machine.hostname.clone());
        (names.collect::<Vec<_>>(), page.next)
    };
    assert_eq!(find("state=apply-failed"), (vec!["web-2".to_owned()], None));
    assert_eq!(find("applied=104.1").0, ["web-1"]);
    assert_eq!(find("text=WEB-3").0, ["web-3"]);
    assert_eq!(find("silent_hours=1").0, ["web-3"], "never heard of");
    assert_eq!(find(&format!("account={account}&kernel=6.12")).0.len(), 3);
    let (first, next) = find("limit=2");
    assert_eq!(first, ["web-1", "web-2"]);
    let after = next.unwrap().replace('/', "%2F");
    assert_eq!(
        find(&format!("limit=2&after={after}")),
        (vec!["web-3".to_owned()], None)
    );
    let wrong = get("/v1/fleet/machines?state=fine");
    assert_eq!(
        (wrong.status, wrong.problem().kind),
        (422, ProblemKind::BadRequest)
    );

    let (_, cookie) = sign_in(&world, key.expose());
    let page = |path: &str| world.get_with(path, &[("cookie", &cookie)]);
    let overview = page("/fleet").text();
    for expected in [
        "States",
        "Versions in force",
        "6.12.117+deb13-amd64",
        "<polygon",
        "/ticks",
    ] {
        assert!(overview.contains(expected), "{expected}: {overview}");
    }
    let machines = page("/fleet/machines?state=apply-failed").text();
    assert!(
        machines.contains("&#60;b&#62;EBUSY") && !machines.contains("web-1"),
        "{machines}"
    );
    let refused = page("/fleet/machines?applied=latest");
    assert!(refused.status == 422 && refused.text().contains("a form like `104.1`"));
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_change_accounts_over_the_api() {
    let world = World::new().await;
    let key = world.operator_key().await;
    let bearer = format!("Bearer {}", key.expose());
    let get = |path: &str| world.get_with(path, &[("authorization", &bearer)]);
    let post = |path: &str, body: Value| world.post(path, key.expose(), &body);

    let new = json!({ "email": "grace@example.org", "plan": "free" });
    let made = post("/v1/accounts", new.clone());
    assert_eq!(made.status, 201, "{}", made.text());
    let account: AccountSummary = serde_json::from_slice(&made.body).unwrap();
    let again = post("/v1/accounts", new);
    assert_eq!(
        (again.status, again.problem().kind),
        (409, ProblemKind::Conflict)
    );
    assert_eq!(
        post("/v1/accounts", json!({ "email": "x", "plan": "free" })).status,
        422
    );
    let by_address: AccountSummary = get("/v1/accounts/GRACE@example.org").json();
    assert_eq!(by_address.id, account.id);
    let found: AccountPage = get("/v1/accounts?text=grace").json();
    assert_eq!((found.accounts.len(), found.next), (1, None));

    let path = format!("/v1/accounts/{}", account.id);
    let changed = world.send(
        "PATCH",
        &path,
        key.expose(),
        &json!({ "plan": "subscription", "early": "always" }),
    );
    let changed: AccountSummary = changed.json();
    assert_eq!(changed.plan, "subscription");
    assert_eq!(changed.early, suture_rollout::EarlyPreference::Always);
    let wrong = world.send("PATCH", &path, key.expose(), &json!({ "plan": "gold" }));
    assert!(wrong.status == 422 && wrong.problem().detail.contains("`subscription`"));

    let token = post(&format!("{path}/tokens"), json!({ "label": "web servers" }));
    assert_eq!(token.status, 201);
    let token: Value = serde_json::from_slice(&token.body).unwrap();
    let secret = token["secret"].as_str().unwrap();
    let enrolled = world.post("/v1/machines", secret, &enrol_request(1));
    assert_eq!(enrolled.json::<EnrolResponse>().plan, "subscription");
    let machine = enrol_request(1).machine_id;
    let machine = format!("{path}/machines/{machine}");
    let grouped = world.send(
        "PUT",
        &format!("{machine}/group"),
        key.expose(),
        &json!({ "group": "canary" }),
    );
    assert_eq!(grouped.status, 204, "{}", grouped.text());
    let listed: MachinePage = get("/v1/fleet/machines").json();
    assert_eq!(listed.machines[0].group.as_deref(), Some("canary"));
    assert_eq!(world.delete(&machine, key.expose()).status, 204);
    let gone = world.delete(&machine, key.expose());
    assert_eq!(
        (gone.status, gone.problem().kind),
        (404, ProblemKind::NotFound)
    );

    let token_path = format!("/v1/tokens/{}", token["id"].as_str().unwrap());
    assert_eq!(world.delete(&token_path, key.expose()).status, 200);
    let refused = world.post("/v1/machines", secret, &enrol_request(2));
    assert_eq!(refused.problem().kind, ProblemKind::UnknownToken);

    let second = post("/v1/operator-keys", json!({ "name": "grace" }));
    let second: Value = serde_json::from_slice(&second.body).unwrap();
    let key_path = format!("/v1/operator-keys/{}", second["id"].as_str().unwrap());
    assert_eq!(world.delete(&key_path, key.expose()).status, 200);
    let revoked = second["secret"].as_str().unwrap();
    assert_eq!(
        world
            .get_with(
                "/v1/fleet",
                &[("authorization", &format!("Bearer {revoked}"))]
            )
            .status,
        401
    );

    // Everything is in the log, by name, and read in pieces.
    let mut actions = Vec::new();
    let mut next = Some(String::new());
    while let Some(before) = next {
        let page: AuditPage = get(&format!("/v1/audit?limit=4{before}")).json();
        actions.extend(
            page.lines
                .iter()
                .map(|line| (line.actor.clone(), line.action.clone())),
        );
        next = page.next.map(|number| format!("&before={number}"));
    }
    let by_ada: Vec<_> = actions
        .iter()
        .filter(|(actor, _)| actor == "operator:ada")
        .map(|(_, action)| action.as_str())
        .collect();
    assert_eq!(
        by_ada,
        [
            "revoke-operator-key",
            "create-operator-key",
            "revoke-token",
            "release-machine",
            "change-machine-group",
            "create-token",
            "change-early-preference",
            "change-plan",
            "create-account",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_change_accounts_on_pages() {
    let world = World::new().await;
    let (account, issued) = small_fleet(&world).await;
    let key = world.operator_key().await;
    let (_, cookie) = sign_in(&world, key.expose());
    let headers = [OWN, ("cookie", cookie.as_str())];
    let path = format!("/fleet/accounts/{account}");
    let page = world.get_with(&path, &headers).text();
    assert!(page.contains("Its owner signs in by a token"), "{page}");
    let field = |action: &str| token(&page, &format!("{path}/{action}"));
    let post = |action: &str, form: &[(&str, &str)]| {
        let token = field(action);
        let mut fields = vec![("token", token.as_str())];
        fields.extend(form);
        world.post_form(&format!("{path}/{action}"), &headers, &fields)
    };

    let done = post("plan", &[("plan", "subscription")]);
    assert_eq!(
        (done.status, done.header("location")),
        (303, Some(path.as_str()))
    );
    assert_eq!(post("plan", &[("plan", "gold")]).status, 422);
    let machine = enrol_request(1).machine_id.to_string();
    let unsure = post("release", &[("machine", &machine)]);
    assert!(
        unsure.status == 422 && unsure.text().contains("the box"),
        "{}",
        unsure.text()
    );
    let sure = [("machine", machine.as_str()), ("confirmed", "yes")];
    assert_eq!(post("release", &sure).status, 303);
    assert_eq!(post("release", &sure).status, 404, "it is gone");
    let id = issued.token.id.to_string();
    assert_eq!(
        post("revoke", &[("id", &id), ("confirmed", "yes")]).status,
        303
    );
    let from_elsewhere = [("sec-fetch-site", "cross-site"), headers[1]];
    let forged = world.post_form(
        &format!("{path}/plan"),
        &from_elsewhere,
        &[("token", &field("plan")), ("plan", "free")],
    );
    assert_eq!(forged.status, 403);

    let page = world.get_with(&path, &headers).text();
    for expected in [
        "subscription plan",
        "operator:ada",
        "revoke-token",
        "revoked <time",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    assert!(!page.contains("web-1<"), "{page}");
    assert_eq!(
        world
            .store
            .tokens(account.parse().unwrap())
            .await
            .unwrap()
            .len(),
        1
    );
}
