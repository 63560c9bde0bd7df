//! A published version goes out step by step, and stops by itself.

use jiff::SignedDuration;
use suture_protocol::{
    CheckInRequest, CheckInResponse, EventId, EventKind, KernelTrouble, MachineEvent, MachineState,
};
use suture_rollout::{HaltedBy, Offer, Phase};
use suture_store::{HandChange, NewAccount, Plan};

use crate::world::{World, check_in_request, kernel, now, operator};

/// Machines of distinct free accounts.
async fn machines(world: &World, number: u8) -> Vec<String> {
    let mut secrets = Vec::new();
    for each in 0..number {
        let new = NewAccount {
            email: format!("owner-{each}@example.org").parse().unwrap(),
            plan: Plan::Free,
        };
        let by = operator();
        let account = world.store.create_account(&new, &by, now()).await.unwrap();
        let label = "first".parse().unwrap();
        let token = world
            .store
            .create_token(account.id, &label, &by, now())
            .await;
        secrets.push(world.enrolled(&token.unwrap(), each + 1));
    }
    secrets
}

fn version() -> suture_advisory::PatchVersion {
    "104.1".parse().unwrap()
}

fn offered(answer: &CheckInResponse) -> bool {
    answer.offer == Offer::Version { version: version() }
}

fn applied() -> CheckInRequest {
    CheckInRequest {
        applied: Some(version()),
        state: MachineState::Applied,
        ..check_in_request()
    }
}

fn oops(number: u8) -> MachineEvent {
    MachineEvent {
        id: EventId::from_random_bytes([number; 16]),
        at: now(),
        boot_id: check_in_request().boot_id,
        kind: EventKind::KernelTrouble {
            trouble: KernelTrouble::Oops,
            names_patch: Some(version()),
            applied: Some(version()),
            text: "BUG: kernel NULL pointer dereference".to_owned(),
        },
    }
}

/// Two machines check in; says which of them was offered the version, and which was not.
fn first_and_other(world: &World, secrets: &[String]) -> (String, String) {
    let mut first = Vec::new();
    let mut other = Vec::new();
    for secret in secrets {
        let answer = world.check_in(secret, &check_in_request());
        if offered(&answer) {
            assert_eq!(answer.early_group, Some(version()), "it was drawn");
            first.push(secret.clone());
        } else {
            assert_eq!(answer.offer, Offer::NotYet);
            assert_eq!((answer.early_group, answer.coming), (None, Some(version())));
            other.push(secret.clone());
        }
    }
    assert_eq!((first.len(), other.len()), (1, 1));
    (first.remove(0), other.remove(0))
}

/// Hours go by in which every machine checks in and the rollouts are looked at.
async fn hours(world: &World, number: u32, machines: &[(&String, CheckInRequest)]) {
    for _ in 0..number {
        world.clock.advance(SignedDuration::from_hours(1));
        for (secret, request) in machines {
            world.check_in(secret, request);
        }
        world.look().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_drawn_machine_goes_first_and_the_other_follows_in_time() {
    let world = World::new().await;
    let secrets = machines(&world, 2).await;
    for secret in &secrets {
        assert_eq!(
            world.check_in(secret, &check_in_request()).offer,
            Offer::NotCovered
        );
    }
    world.publish(&kernel(), "104.1").await;
    let (first, other) = first_and_other(&world, &secrets);
    hours(&world, 1, &[(&first, applied())]).await;
    assert!(!offered(&world.check_in(&other, &check_in_request())));

    hours(
        &world,
        24,
        &[(&first, applied()), (&other, check_in_request())],
    )
    .await;
    assert!(offered(&world.check_in(&other, &check_in_request())));
    let rollouts = world.store.rollouts().await.unwrap();
    assert_eq!(rollouts.len(), 1, "two executors made one");
    assert!(
        matches!(rollouts[0].phase, Phase::Complete { .. }),
        "{:?}",
        rollouts[0].phase
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn planted_harm_halts_and_a_withdrawn_version_is_told() {
    let world = World::new().await;
    let secrets = machines(&world, 2).await;
    for secret in &secrets {
        world.check_in(secret, &check_in_request());
    }
    world.publish(&kernel(), "104.1").await;
    let (first, other) = first_and_other(&world, &secrets);
    world.clock.advance(SignedDuration::from_mins(5));
    let harmed = CheckInRequest {
        events: vec![oops(1)].into(),
        ..applied()
    };
    world.check_in(&first, &harmed);
    world.look().await;

    let rollout = world.store.rollouts().await.unwrap().remove(0);
    let Phase::Halted { by, reason, .. } = &rollout.phase else {
        panic!("{:?}", rollout.phase)
    };
    assert_eq!(*by, HaltedBy::Evidence);
    assert!(reason.contains("names the patch"), "{reason}");
    hours(&world, 48, &[(&first, applied())]).await;
    let answer = world.check_in(&other, &check_in_request());
    assert_eq!((answer.offer, answer.coming), (Offer::NotYet, None));

    let withdraw = HandChange::Withdraw {
        reason: "it dereferences null".to_owned(),
    };
    let by = operator();
    let withdrawn = world
        .store
        .change_rollout(rollout.id, &withdraw, &by, now());
    withdrawn.await.unwrap();
    let told = world.check_in(&first, &applied()).withdrawn.unwrap();
    assert_eq!(
        (told.version, told.reason.as_str()),
        (version(), "it dereferences null")
    );
    world.look().await;
    assert_eq!(world.store.rollouts().await.unwrap().len(), 1);
    assert!(!offered(&world.check_in(&other, &check_in_request())));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_newer_agent_does_not_keep_a_machine_from_its_patch() {
    let world = World::new().await;
    let secrets = machines(&world, 1).await;
    world.publish(&kernel(), "104.1").await;
    let mut request = serde_json::to_value(check_in_request()).unwrap();
    request["events"] = serde_json::json!([
        { "kind": "teleported", "id": "x" },
        serde_json::to_value(oops(1)).unwrap(),
    ]);
    let answer: CheckInResponse = world.post("/v1/check-in", &secrets[0], &request).json();
    assert!(offered(&answer));
    let rollout = world.store.rollouts().await.unwrap().remove(0);
    let kept = world.store.rollout_events(rollout.id, None, true, 10).await;
    let kept = kept.unwrap();
    assert_eq!(kept.len(), 1);
    assert!(!kept[0].exposed, "it was told before the exposure");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_hears_what_the_operator_tells_of_its_kernel() {
    let world = World::new().await;
    let secrets = machines(&world, 1).await;
    let told = || world.check_in(&secrets[0], &check_in_request()).notice;
    assert_eq!(told(), None);
    let release = check_in_request().kernel.release;
    let text = format!(
        "[[kernel]]\nrelease = '{}'\ncovered-until = '2027-02-28'\n\
         not-live-patched = [{{ cve = 'CVE-2026-89603', reason = 'it changes a structure' }}]\n",
        release.as_str()
    );
    std::fs::write(world.notices(), text).unwrap();
    let notice = told().unwrap();
    assert_eq!(notice.covered_until, Some("2027-02-28".parse().unwrap()));
    assert_eq!(notice.not_live_patched[0].reason, "it changes a structure");
}
