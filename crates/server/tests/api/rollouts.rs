//! Rollouts as everyone and as operators meet them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use suture_protocol::ProblemKind;
use suture_server::view::{DrawRecord, RolloutState, RolloutSummary, RolloutView};
use suture_store::{Action, Actor, Plan, Subject};

use crate::world::{Answer, World, check_in_request, kernel, now, operator};

fn reason(text: &str) -> serde_json::Value {
    serde_json::json!({ "reason": text })
}

/// What a browser says of a request from one of our own pages.
pub const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");

/// The value of the cookie that an answer sets, as `name=value`.
pub fn set_cookie(answer: &Answer) -> String {
    let set = answer.header("set-cookie").unwrap();
    set.split(';').next().unwrap().to_owned()
}

/// The token in the form that goes to `action`.
pub fn token(page: &str, action: &str) -> String {
    let form = page.split(&format!("action=\"{action}\"")).nth(1).unwrap();
    let value = form.split("name=\"token\" value=\"").nth(1).unwrap();
    value.split('"').next().unwrap().to_owned()
}

/// Signs in and returns the cookie.
pub fn sign_in(world: &World, key: &str) -> (Answer, String) {
    let form = world.get("/sign-in");
    let (cookie, token) = (set_cookie(&form), token(&form.text(), "/sign-in"));
    let answer = world.post_form(
        "/sign-in",
        &[OWN, ("cookie", &cookie)],
        &[("token", &token), ("key", key)],
    );
    let cookie = answer.header("set-cookie").map(|_| set_cookie(&answer));
    (answer, cookie.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_sees_a_rollout_and_nobody_sees_a_name() {
    let world = World::new().await;
    let (account, owner) = world.account(Plan::Free).await;
    let secret = world.enrolled(&owner, 1);
    let rollout = world.rollout("104.1").await;
    world.check_in(&secret, &check_in_request());

    let listed: Vec<RolloutSummary> = world.get("/v1/rollouts").json();
    assert_eq!((listed.len(), listed[0].id), (1, rollout.id));
    let path = format!("/v1/rollouts/{}", rollout.id);
    let public = world.get(&path);
    assert_eq!(public.json::<RolloutView>().machines, None);
    for page in [public.text(), world.get(&path[3..]).text()] {
        assert!(page.contains("104.1"), "{page}");
        for hidden in ["web-1", &account.id.to_string(), &rollout.seed.reveal()] {
            assert!(!page.contains(hidden), "{hidden}: {page}");
        }
    }
    let key = world.operator_key().await;
    let bearer = format!("Bearer {}", key.expose());
    let full = world.get_with(&path, &[("authorization", &bearer)]);
    assert!(full.json::<RolloutView>().machines.is_some());
    let nowhere = world.get("/v1/rollouts/6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1");
    assert_eq!(nowhere.problem().kind, ProblemKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_draw_is_committed_to_before_and_open_after() {
    let world = World::new().await;
    world.account(Plan::Free).await;
    let rollout = world.rollout("104.1").await;
    let path = format!("/v1/rollouts/{}/draw", rollout.id);
    let before: DrawRecord = world.get(&path).json();
    assert_eq!(before.draw.commitment, rollout.commitment.to_string());
    assert_eq!((before.draw.eligible, before.draw.drawn), (1, 1));
    assert_eq!((before.draw.seed, before.units), (None, None));

    let key = world.operator_key().await;
    let withdraw = format!("/v1/rollouts/{}/withdraw", rollout.id);
    let done = world.post(&withdraw, key.expose(), &reason("made for a test"));
    assert_eq!(
        done.json::<RolloutView>().summary.state,
        RolloutState::Withdrawn
    );
    let after: DrawRecord = world.get(&path).json();
    let seed: suture_rollout::cohort::Seed = after.draw.seed.unwrap().parse().unwrap();
    assert_eq!(
        seed.commitment(rollout.id).to_string(),
        before.draw.commitment
    );
    let units: Vec<suture_rollout::cohort::UnitDigest> = after
        .units
        .unwrap()
        .iter()
        .map(|unit| unit.parse().unwrap())
        .collect();
    assert_eq!(
        suture_rollout::cohort::list_sha256(&units),
        before.draw.list_sha256
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_halts_with_a_reason_that_the_audit_log_keeps() {
    let world = World::new().await;
    let rollout = world.rollout("104.1").await;
    let key = world.operator_key().await;
    let change = |name: &str, why: &str| {
        let path = format!("/v1/rollouts/{}/{name}", rollout.id);
        world.post(&path, key.expose(), &reason(why))
    };
    assert_eq!(change("halt", " ").problem().kind, ProblemKind::BadRequest);
    let halted: RolloutView = change("halt", "hanging mounts").json();
    assert_eq!(halted.summary.state, RolloutState::Halted);
    assert_eq!(
        halted.summary.sentence,
        "Halted by an operator: hanging mounts"
    );
    let log = world.store.audit_log(None, 10).await.unwrap();
    let entry = log.iter().find(|entry| entry.action == Action::HaltRollout);
    let entry = entry.unwrap();
    assert_eq!(entry.actor, Actor::Operator("ada".parse().unwrap()));
    assert_eq!(entry.subject, Subject::Rollout(rollout.id));
    assert_eq!(entry.reason.as_deref(), Some("hanging mounts"));

    let twice = change("halt", "hanging mounts");
    assert_eq!(
        (twice.status, twice.problem().kind),
        (409, ProblemKind::Conflict)
    );
    assert_eq!(change("stop", "x").problem().kind, ProblemKind::NotFound);
    change("resume", "the mounts hung before too").json::<RolloutView>();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_halts_in_a_browser() {
    let world = World::new().await;
    let rollout = world.rollout("104.1").await;
    let key = world.operator_key().await;
    let (signed_in, cookie) = sign_in(&world, key.expose());
    assert_eq!(
        (signed_in.status, signed_in.header("location")),
        (303, Some("/rollouts"))
    );
    let set = signed_in.header("set-cookie").unwrap();
    for part in [
        "__Host-",
        "HttpOnly",
        "SameSite=Strict",
        "Secure",
        "Max-Age=43200",
    ] {
        assert!(set.contains(part), "{set}");
    }
    let page = format!("/rollouts/{}", rollout.id);
    let halt = format!("{page}/halt");
    let with_cookie = [OWN, ("cookie", cookie.as_str())];
    assert!(world.get_with(&page, &with_cookie).text().contains(&halt));
    assert!(
        !world.get(&page).text().contains(&halt),
        "for operators only"
    );

    let form_token = token(&world.get_with(&halt, &with_cookie).text(), &halt);
    let fields = [("token", form_token.as_str()), ("reason", "hanging mounts")];
    let not_sure = world.post_form(&halt, &with_cookie, &fields);
    assert_eq!(not_sure.status, 422);
    assert!(
        not_sure.text().contains("hanging mounts"),
        "what was typed is kept"
    );
    let fields = [fields[0], fields[1], ("confirmed", "yes")];

    let from_elsewhere = [("sec-fetch-site", "cross-site"), with_cookie[1]];
    let other_origin = [("origin", "https://example.org"), with_cookie[1]];
    assert_eq!(world.post_form(&halt, &from_elsewhere, &fields).status, 403);
    assert_eq!(world.post_form(&halt, &other_origin, &fields).status, 403);
    let forged = [("token", "0"), fields[1], fields[2]];
    assert_eq!(world.post_form(&halt, &with_cookie, &forged).status, 403);
    assert_eq!(world.post_form(&halt, &[OWN], &fields).status, 403);
    assert!(!world.get(&page).text().contains("Halted by an operator"));

    let done = world.post_form(&halt, &with_cookie, &fields);
    assert_eq!(
        (done.status, done.header("location")),
        (303, Some(page.as_str()))
    );
    assert!(
        world
            .get(&page)
            .text()
            .contains("Halted by an operator: hanging mounts")
    );
    let again = world.post_form(&halt, &with_cookie, &fields);
    assert_eq!(again.status, 409);

    let out = token(&world.get_with(&page, &with_cookie).text(), "/sign-out");
    let out = world.post_form("/sign-out", &with_cookie, &[("token", &out)]);
    assert_eq!(out.status, 303);
    assert!(
        !world
            .get_with(&page, &with_cookie)
            .text()
            .contains("Sign out")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_sees_their_machines_and_changes_no_rollout() {
    let world = World::new().await;
    let (_, owner) = world.account(Plan::Free).await;
    let secret = world.enrolled(&owner, 1);
    world.publish(&kernel(), "104.1").await;
    let rollout = world.rollout("104.1").await;
    world.check_in(&secret, &check_in_request());
    assert!(
        world.get("/machines").text().contains("Sign in"),
        "not for everyone"
    );

    let (signed_in, cookie) = sign_in(&world, owner.secret.expose());
    assert_eq!(signed_in.header("location"), Some("/machines"));
    let with_cookie = [OWN, ("cookie", cookie.as_str())];
    let page = world.get_with("/machines", &with_cookie).text();
    // The only account is drawn.
    for expected in [
        "web-1",
        "6.12.117+deb13-amd64",
        "no live patch in force",
        "Early group",
        "104.1",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    let halt = world.get_with(&format!("/rollouts/{}/halt", rollout.id), &with_cookie);
    assert_eq!(halt.status, 403);
    let by = operator();
    world
        .store
        .revoke_token(owner.token.id, &by, now())
        .await
        .unwrap();
    assert!(
        !world
            .get_with("/machines", &with_cookie)
            .text()
            .contains("web-1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_keys_are_refused_and_then_not_even_looked_at() {
    let world = World::new().await;
    let rollout = world.rollout("104.1").await;
    let revoked = world.operator_key().await;
    let entry = world.store.authenticate_operator(&revoked).await.unwrap();
    world
        .store
        .revoke_operator_key(entry.id, &operator(), now())
        .await
        .unwrap();
    let key = world.operator_key().await;
    let path = format!("/v1/rollouts/{}/halt", rollout.id);
    for _ in 0..5 {
        let refused = world.post(&path, revoked.expose(), &reason("x"));
        assert_eq!(
            (refused.status, refused.problem().kind),
            (401, ProblemKind::UnknownOperator)
        );
        assert_eq!(sign_in(&world, revoked.expose()).0.status, 403);
    }
    let limited = world.post(&path, key.expose(), &reason("x"));
    assert_eq!(
        (limited.status, limited.problem().kind),
        (429, ProblemKind::TooMany)
    );
    assert_eq!(limited.header("retry-after"), Some("900"));
    assert!(
        limited.problem().detail.contains("15 minutes"),
        "{}",
        limited.text()
    );
    assert_eq!(sign_in(&world, key.expose()).0.status, 429);
    assert_eq!(world.get("/rollouts").status, 200, "reading needs no key");
}

/// Reads until the text is there.
fn read_until(stream: &mut TcpStream, text: &str) {
    let (mut read, mut piece) = (String::new(), [0; 1024]);
    while !read.contains(text) {
        let length = stream.read(&mut piece).unwrap();
        assert!(length > 0, "it ended: {read}");
        read.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_page_hears_of_a_change_and_ends_with_the_service() {
    let mut world = World::plain().await;
    let rollout = world.rollout("104.1").await;
    let other = world.rollout("105.1").await;
    let key = world.operator_key().await;
    let mut streams: Vec<TcpStream> = Vec::new();
    for path in [
        format!("/rollouts/{}/stream", rollout.id),
        "/rollouts/stream".to_owned(),
    ] {
        let mut stream = world.connect().unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        read_until(&mut stream, "following");
        streams.push(stream);
    }
    for id in [other.id, rollout.id] {
        let path = format!("/v1/rollouts/{id}/halt");
        world
            .post(&path, key.expose(), &reason("hanging mounts"))
            .json::<RolloutView>();
    }
    read_until(
        &mut streams[0],
        &format!("event: change\ndata: {}\n", rollout.id),
    );
    read_until(
        &mut streams[1],
        &format!("event: change\ndata: {}\n", rollout.id),
    );

    let started = Instant::now();
    world.stop();
    for stream in &mut streams {
        stream.read_to_end(&mut Vec::new()).unwrap();
    }
    world.ended().await.unwrap();
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "the grace is for requests that end"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_says_whether_their_machines_go_first() {
    let world = World::new().await;
    let (account, _) = world.account(Plan::Subscription).await;
    let session = world
        .store
        .begin_account_session(
            account.id,
            now() + jiff::SignedDuration::from_hours(1),
            now(),
        )
        .await;
    let cookie = format!("__Host-suture-session={}", session.unwrap().expose());
    let page = world.get_with("/machines", &[("cookie", &cookie)]).text();
    assert!(page.contains("never drawn"), "{page}");
    let form_token = token(&page, "/machines/early");
    let post = |token: &str, preference: &str| {
        let form = [("token", token), ("preference", preference)];
        world.post_form("/machines/early", &[OWN, ("cookie", &cookie)], &form)
    };
    assert_eq!(post("", "always").status, 403, "a form from elsewhere");
    assert_eq!(post(&form_token, "sometimes").status, 422);
    assert_eq!(post(&form_token, "always").status, 303);

    let changed = world.store.account(account.id).await.unwrap();
    assert_eq!(changed.early, suture_rollout::EarlyPreference::Always);
    let page = world.get_with("/machines", &[("cookie", &cookie)]).text();
    assert!(page.contains("value=\"always\" checked"), "{page}");
    let audit = world.store.audit_log(Some(account.id), 1).await.unwrap();
    assert_eq!(audit[0].actor, Actor::Owner(account.id));
    assert_eq!(audit[0].action, Action::ChangeEarlyPreference);
    let nobody = world.post_form(
        "/machines/early",
        &[OWN],
        &[("token", &form_token), ("preference", "never")],
    );
    assert_eq!(nobody.header("location"), Some("/sign-in?next=/machines"));
}
