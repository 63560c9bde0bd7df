//! Other systems are told what the audit log says.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};
use suture_rollout::{Plan, Scope};
use suture_server::view::HookView;
use suture_store::{Clock as _, HandChange, NewRollout, SystemClock};

use crate::receiver::{Receiver, SECRET};
use crate::rollouts::{OWN, sign_in, token};
use crate::sign_up::letters;
use crate::world::{World, operator};

fn webhook(name: &str, url: &str) -> String {
    format!("[[hook]]\nname = '{name}'\nkind = 'webhook'\nurl = '{url}'\nsecret = '{SECRET}'\n")
}

/// A service whose clock is right, as receivers look at the time.
async fn told_by(hooks: &str) -> World {
    let world = World::with_hooks(hooks).await;
    let ahead = SystemClock.now().duration_since(world.clock.now());
    world.clock.advance(ahead);
    world
}

/// Asks until there is an answer.
async fn soon<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), asking).await;
    waited.expect("it comes")
}

/// All hooks that the service knows, as soon as they are as wanted.
async fn hooks(world: &World, wanted: impl Fn(&[HookView]) -> bool) -> Vec<HookView> {
    let key = world.operator_key().await;
    let bearer = format!("Bearer {}", key.expose());
    soon(async || {
        let answer = world.get_with("/v1/hooks", &[("authorization", &bearer)]);
        Some(answer.json()).filter(|hooks: &Vec<HookView>| wanted(hooks))
    })
    .await
}

/// Begun: nothing that happens from now on is missed.
async fn begun(world: &World, count: usize) {
    let known = async || world.store.hooks().await.unwrap();
    soon(async || (known().await.len() == count).then_some(())).await;
}

/// Halts a new rollout; its id.
async fn halted(world: &World) -> String {
    let (by, now) = (operator(), world.clock.now());
    let new = NewRollout {
        scope: Scope {
            version: "104.1".parse().unwrap(),
            kernel: None,
        },
        plan: Plan::standard(),
        starts: now,
    };
    let rollout = world.store.create_rollout(&new, &by, now).await.unwrap();
    let reason = "<!channel> hanging mounts".to_owned();
    let halt = HandChange::Halt { reason };
    let changed = world.store.change_rollout(rollout.id, &halt, &by, now);
    changed.await.unwrap();
    // So old must a line be.
    world.clock.advance(SignedDuration::from_secs(10));
    rollout.id.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halt_is_told_to_a_program_a_chat_and_a_person() {
    let receiver = Receiver::start();
    let world = told_by(&format!(
        "{}[[hook]]\nname = 'chat'\nkind = 'chat'\nurl = '{1}/chat/hunter2'\n\
         actions = ['halt-rollout']\n\
         [[hook]]\nname = 'mail'\nkind = 'mail'\nto = 'ops@example.org'\n\
         actions = ['halt-rollout']\n",
        webhook("on-call", &format!("{}/signed", receiver.address)),
        receiver.address
    ))
    .await;
    begun(&world, 3).await;
    let rollout = halted(&world).await;

    let mut calls = [receiver.call(), receiver.call(), receiver.call()];
    calls.sort_by_key(|call| call["path"] == "/signed");
    let [chat, created, halt] = calls;
    let page = format!("https://patches.example.org/rollouts/{rollout}");
    let text = "Rollout of 104.1: halted\nby operator:operator\n&lt;!channel&gt; hanging mounts\n";
    assert_eq!(chat["body"], json!({ "text": format!("{text}{page}") }));
    let kinds = [&created, &halt].map(|call| &call["body"]["type"]);
    assert_eq!(kinds, ["create-rollout", "halt-rollout"], "in their order");
    assert_ne!(created["id"], halt["id"]);
    assert_eq!(halt["signed"], Value::Bool(true));
    let data = &halt["body"]["data"];
    assert_eq!(data["rollout"]["version"], "104.1");
    assert_eq!(data["line"]["reason"], "<!channel> hanging mounts");

    let all_told = |hooks: &[HookView]| hooks.iter().all(|hook| hook.told.is_some());
    let hooks = hooks(&world, all_told).await;
    assert!(hooks.iter().all(|hook| hook.trouble.is_none()), "{hooks:?}");
    let letters = letters(&world.mail());
    assert!(
        letters[0].contains("Subject: Rollout of 104.1: halted"),
        "{}",
        letters[0]
    );
    assert!(letters[0].contains("hanging mounts") && letters[0].contains("ops@example.org"));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_is_told_later_and_in_order() {
    let receiver = Receiver::start();
    let flaky = webhook("flaky", &format!("{}/flaky", receiver.address));
    let away = webhook("away", "http://127.0.0.1:9/x");
    let world = told_by(&format!("{flaky}{away}")).await;
    begun(&world, 2).await;
    halted(&world).await;
    let first = receiver.call();
    let both_in_trouble = |hooks: &[HookView]| hooks.iter().all(|hook| hook.trouble.is_some());
    let known = hooks(&world, both_in_trouble).await;
    let trouble = known[0].trouble.clone().unwrap();
    assert_eq!(
        trouble.what,
        "the receiver answered with status 503 Service Unavailable"
    );
    let other = known[1].trouble.clone().unwrap();
    assert!(other.what.contains("cannot be reached"), "{other:?}");
    assert_eq!((trouble.tries, other.tries), (1, 1));

    world.clock.advance(SignedDuration::from_secs(30));
    let (again, next) = (receiver.call(), receiver.call());
    assert_eq!(again["id"], first["id"], "the same, once more");
    assert_eq!(next["body"]["type"], "halt-rollout");

    // Nobody waits for ever.
    world.clock.advance(SignedDuration::from_hours(24 * 6));
    let given_up = hooks(&world, |hooks| hooks[1].given_up == 2).await;
    assert_eq!(
        (given_up[0].given_up, given_up[0].trouble.clone()),
        (0, None)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_reads_the_settings_and_tries_a_hook() {
    let receiver = Receiver::start();
    let works = webhook("works", &format!("{}/secret-path", receiver.address));
    let world = told_by(&format!(
        "{works}{}",
        webhook("away", "http://127.0.0.1:9/x")
    ))
    .await;
    let key = world.operator_key().await;
    let (_, cookie) = sign_in(&world, key.expose());
    let with_cookie = [OWN, ("cookie", cookie.as_str())];
    let page = world.get_with("/fleet/settings", &with_cookie).text();
    for shown in [
        "files in",
        "after 90 days",
        "works",
        "webhook at 127.0.0.1",
        "https://patches",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(!page.contains("whsec_") && !page.contains("secret-path"));
    let try_it = |name: &str| {
        let token = token(&page, "/fleet/hooks/test");
        let fields = [("token", token.as_str()), ("name", name)];
        world.post_form("/fleet/hooks/test", &with_cookie, &fields)
    };
    assert!(try_it("works").text().contains("works took the test."));
    assert_eq!(receiver.call()["body"]["type"], "test");
    let away = try_it("away").text();
    assert!(
        away.contains("away did not take the test: the receiver cannot"),
        "{away}"
    );
    assert_eq!(try_it("nobody").status, 404);
    assert!(
        world
            .get("/fleet/settings")
            .text()
            .contains("<h1>Sign in</h1>")
    );
}
