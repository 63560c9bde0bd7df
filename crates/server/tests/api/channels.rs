//! Channels as operators promote to them and as machines meet them.

use suture_protocol::{CheckInResponse, HeldBy};
use suture_rollout::{GroupPolicy, Offer, Plan as RolloutPlan, Scope};
use suture_server::view::{ChannelView, GroupView};
use suture_store::{NewRollout, Plan};

use crate::rollouts::{OWN, sign_in, token};
use crate::world::{World, check_in_request, enrol_request, kernel, now, operator};

const VERSION: &str = "104.1";

/// A machine whose group follows `stable`, and a version that goes out to all.
async fn following() -> (World, String) {
    let world = World::new().await;
    let (account, token) = world.account(Plan::Free).await;
    let secret = world.enrolled(&token, 1);
    let (group, by) = ("production".parse().unwrap(), operator());
    let policy = GroupPolicy {
        channel: Some("stable".parse().unwrap()),
        ..GroupPolicy::default()
    };
    let (store, machine) = (&world.store, enrol_request(1).machine_id);
    let set = store.set_group_policy(&group, &policy, &by, now()).await;
    set.unwrap();
    let put = store.set_machine_group(account.id, &machine, Some(&group), &by, now());
    put.await.unwrap();
    world.publish(&kernel(), VERSION).await;
    let new = NewRollout {
        scope: Scope {
            version: VERSION.parse().unwrap(),
            kernel: None,
        },
        plan: RolloutPlan::immediate(),
        starts: now(),
    };
    store.create_rollout(&new, &by, now()).await.unwrap();
    world.look().await;
    (world, secret)
}

fn ask(world: &World, secret: &str) -> CheckInResponse {
    world.check_in(secret, &check_in_request())
}

fn offered() -> Offer {
    Offer::Version {
        version: VERSION.parse().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_waits_until_its_version_is_promoted() {
    let (world, secret) = following().await;
    let waits = ask(&world, &secret);
    assert_eq!(waits.offer, Offer::NotYet);
    assert_eq!(waits.channel.unwrap().as_str(), "stable");
    let held = waits.held.unwrap();
    assert_eq!(held.by, HeldBy::Policy);
    let said = "the group `production` gets what is promoted to the channel `stable`; 104.1 would \
                be next";
    assert_eq!(held.detail, said);

    let key = world.operator_key().await;
    let bearer = format!("Bearer {}", key.expose());
    let list = |path| world.get_with(path, &[("authorization", &bearer)]);
    let promote = |path| world.send("PUT", path, key.expose(), &());
    let path = "/v1/channels/stable/versions/104.1";
    let stable: ChannelView = promote(path).json();
    assert_eq!(stable.groups, ["production"]);
    assert_eq!(stable.promotions[0].version.to_string(), VERSION);
    assert_eq!(stable.promotions[0].by, "operator:ada");
    assert_eq!(list("/v1/channels").json::<Vec<ChannelView>>(), [stable]);
    let groups: Vec<GroupView> = list("/v1/groups").json();
    assert_eq!(
        groups[0].policy.channel.as_ref().unwrap().as_str(),
        "stable"
    );
    let promoted = ask(&world, &secret);
    assert_eq!((promoted.offer, promoted.held), (offered(), None));

    let emptied: ChannelView = world.delete(path, key.expose()).json();
    assert!(emptied.promotions.is_empty() && emptied.groups == ["production"]);
    assert_eq!(ask(&world, &secret).offer, offered(), "it may have it");

    for path in [
        "/v1/channels/stable/versions/105.1",
        "/v1/channels/Stable/versions/104.1",
        "/v1/channels/stable/versions/newest",
    ] {
        let refused = promote(path);
        assert_eq!(refused.status, 422, "{path}: {}", refused.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_promote_on_a_page() {
    let (world, secret) = following().await;
    let key = world.operator_key().await;
    let (_, cookie) = sign_in(&world, key.expose());
    let page = world.visit("/fleet/channels", &cookie).text();
    assert!(page.contains("Followed by production") && page.contains("Nothing was promoted"));
    assert!(page.contains("<option value=\"104.1\">"), "{page}");
    let token = token(&page, "/fleet/channels");
    let send = |channel: &str, version: &str, demote: &str| {
        let fields = [("token", token.as_str()), ("channel", channel)];
        let more = [("version", version), ("demote", demote)];
        let form = [fields, more].concat();
        world.post_form("/fleet/channels", &[OWN, ("cookie", &cookie)], &form)
    };
    assert_eq!(send("stable", VERSION, "").status, 303);
    assert_eq!(ask(&world, &secret).offer, offered());
    let page = world.visit("/fleet/channels", &cookie).text();
    assert!(page.contains("Take 104.1 out of stable"), "{page}");
    assert_eq!(send("stable", VERSION, "yes").status, 303);
    let page = world.visit("/fleet/channels", &cookie).text();
    assert!(page.contains("Nothing was promoted"), "{page}");
    for (channel, version) in [("stable", "105.1"), ("not so", VERSION)] {
        assert_eq!(
            send(channel, version, "").status,
            422,
            "{channel} {version}"
        );
    }
    let groups = world.visit("/fleet/groups", &cookie).text();
    assert!(groups.contains("what was promoted to `stable`"), "{groups}");
}
