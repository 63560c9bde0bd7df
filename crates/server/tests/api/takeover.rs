//! One of two servers looks at the rollouts, and the other takes over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use suture_rollout::{Published, RolloutId, Scope};
use suture_server::{Executor, ServerConfig, Tls};
use suture_store::{
    CheckIn, Clock as _, Job, LeaseState, NewMachine, NewRollout, Plan, ReportedState, ServerId,
    Store, SystemClock,
};
use tokio::task::JoinHandle;

use crate::world::{World, check_in_request, enrol_request, kernel, operator};

/// Far beyond what a quiet machine takes.
const LIMIT: Duration = Duration::from_secs(120);

/// Seconds between two looks of one server.
const PACE_SECS: u64 = 5;

/// Two servers look every few seconds; the looks come at the pace of one. It dies without a word,
/// and the other goes on after its lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_looks_until_it_dies_and_the_other_takes_over() {
    let mut world = World::plain().await;
    world.publish(&kernel(), "104.1").await;
    let store = world.open_database().await;
    let (job, third) = (Job::LookAtRollouts, ServerId::random());
    let is_held = async || {
        let taken = store.take_lease(job, third, Duration::ZERO).await;
        taken.unwrap() == LeaseState::Theirs
    };
    until("the service looks", &is_held).await;
    world.stop();
    let stopped = Instant::now();
    until("it gives the lease up", async || !is_held().await).await;
    assert!(stopped.elapsed() < Duration::from_secs(10), "it did not");

    let rollout = running(&world, store.as_ref()).await;
    let looks = async || store.rollout(rollout).await.unwrap().looks;
    let first = looker(&world).await;
    until("the first one looks", async || looks().await > 0).await;
    let second = looker(&world).await;
    until("looks come", async || looks().await >= 4).await;
    let kept = store.looks(rollout, 100).await.unwrap();
    // Those of its start come in one go.
    let times: Vec<Timestamp> = kept[1..].iter().map(|look| look.tick.at).collect();
    let least = SignedDuration::from_secs(PACE_SECS as i64) - SignedDuration::from_millis(500);
    for pair in times.windows(2) {
        assert!(pair[1].duration_since(pair[0]) >= least, "{times:?}");
    }

    first.abort();
    // Nobody waits for what it was about to do.
    assert!(first.await.unwrap_err().is_cancelled());
    let before = looks().await;
    until("the second one looks", async || looks().await > before).await;
    second.abort();
}

/// A rollout by the computer's own clock, and a machine for which it waits.
async fn running(world: &World, store: &dyn Store) -> RolloutId {
    let now = SystemClock.now();
    let scope = Scope {
        version: "104.1".parse().unwrap(),
        kernel: None,
    };
    let published = Arc::from([Published {
        kernel: kernel(),
        version: scope.version,
    }]);
    let (_, token) = world.account(Plan::Free).await;
    let request = enrol_request(1);
    let new = NewMachine {
        id: request.machine_id,
        hostname: request.hostname.parse().unwrap(),
        kernel: kernel(),
        agent_version: "0.1.0".parse().unwrap(),
        hardware: None,
    };
    let enrolled = store.enrol_machine(&token.secret, &new, now).await.unwrap();
    let report = CheckIn {
        kernel: kernel(),
        boot_id: check_in_request().boot_id.parse().unwrap(),
        boot_time: now,
        agent_version: "0.1.0".parse().unwrap(),
        state: ReportedState::Unapplied,
        applied: None,
    };
    let heard = store.check_in(&enrolled.secret, &report, &[], &published, now);
    heard.await.unwrap();
    let new = NewRollout {
        scope,
        plan: suture_rollout::Plan::immediate(),
        starts: now,
    };
    let made = store.create_rollout(&new, &operator(), now).await;
    made.unwrap().id
}

/// What looks in a server, through a door of its own.
async fn looker(world: &World) -> JoinHandle<()> {
    let listen = "127.0.0.1:0".parse().unwrap();
    let mut config = ServerConfig::new(listen, Tls::Plain, world.repository());
    config.look_interval_secs = PACE_SECS;
    let store = world.open_database().await;
    let executor = Executor::open(&config, store, Arc::new(SystemClock)).await;
    tokio::spawn(executor.unwrap().run())
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < LIMIT, "{what}: not in {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
