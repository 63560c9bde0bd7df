//! The server's clock is set.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use suture_fleet::real::{Driver, Network};
use suture_rollout::{Harm, Phase};
use suture_server::{ServerConfig, Tls};
use suture_store::{Clock, Rollout};
use tokio::sync::oneshot;

use crate::halt::{LIMIT, all_check_in, refused_nothing};
use crate::invariants::{check_events, check_exposed, check_halts, check_looks};
use crate::site::{Site, agents, now, plan, wait_for};

const MACHINES: usize = 300;

/// A clock that goes on, and is set.
#[derive(Default)]
struct SetClock(Mutex<SignedDuration>);

impl SetClock {
    fn set_by(&self, time: SignedDuration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        now() + *self.0.lock().unwrap()
    }
}

/// A good version on its way to everyone: the clock leaps a day ahead, then goes back an hour,
/// then is right again. Nobody is taken for silent, nothing is halted; while the clock is behind
/// nothing widens, and after each leap only on news that came since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_good_version_reaches_everyone_though_the_clock_is_set() {
    let site = Site::new().await;
    let identities = site.identities(MACHINES).await;
    let clock = Arc::new(SetClock::default());
    let (url, _stop) = serve(&site, Arc::clone(&clock)).await;
    let began = Instant::now();
    let driver = Driver::start(
        agents(identities, None),
        vec![url],
        Network::default(),
        Arc::clone(&clock) as _,
        Duration::ZERO,
    );
    all_check_in(&driver, began).await;
    make_steady(&site).await;
    site.publish().await;

    until(&site, "it runs", |rollout| rollout.exposed > 0).await;
    all_check_in(&driver, Instant::now()).await;
    let first = until(&site, "it is there", |_| true).await;
    clock.set_by(SignedDuration::from_hours(24));
    let leapt = until(&site, "looks come", |now| now.looks >= first.looks + 3).await;
    assert_silent_are(&leapt, 0);

    clock.set_by(SignedDuration::from_hours(-1));
    // A look that was under way may still have had the time before.
    let behind = until(&site, "a look comes", |now| now.looks > leapt.looks + 1).await;
    let later = until(&site, "looks come", |now| now.looks >= behind.looks + 3).await;
    assert_eq!(
        later.phase, behind.phase,
        "it widened while the clock was behind"
    );

    clock.set_by(SignedDuration::from_hours(1));
    let complete = |rollout: &Rollout| matches!(rollout.phase, Phase::Complete { .. });
    let last = until(&site, "it is complete", complete).await;
    let everyone = |rollout: &Rollout| rollout.exposed == MACHINES as u64;
    let end = until(&site, "everyone has it", everyone).await;
    assert_eq!(end.phase, last.phase);
    assert_silent_are(&end, 0);
    let record = driver.record();
    drop(driver);
    refused_nothing(&record);
    check_looks(&site, &end).await;
    check_events(&site, &end).await;
    check_exposed(&site, &end, &record).await;
    check_halts(&site, 0).await;
}

/// The service in this process, with a clock of ours. It ends when the sender is dropped.
async fn serve(site: &Site, clock: Arc<SetClock>) -> (String, oneshot::Sender<()>) {
    let listen = "127.0.0.1:0".parse().unwrap();
    let mut config = ServerConfig::new(listen, Tls::Plain, site.path("repository"));
    config.check_in_interval_secs = 3;
    config.look_interval_secs = 5;
    config.default_plan = Some(plan());
    let store = Arc::new(site.store.clone());
    let (ready, listening) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async { drop(stopped.await) };
    tokio::spawn(suture_server::serve(config, store, clock, ready, shutdown));
    (format!("http://{}", listening.await.unwrap()), stop)
}

/// Silence is compared among machines that have been steady for days; these have been for a week.
async fn make_steady(site: &Site) {
    let options = SqliteConnectOptions::new().filename(site.path("suture.db"));
    let mut connection = options
        .busy_timeout(Duration::from_secs(10))
        .connect()
        .await
        .unwrap();
    let week = SignedDuration::from_hours(7 * 24).as_secs() * 1000;
    sqlx::query("UPDATE machine SET steady_since_ms = steady_since_ms - $1")
        .bind(week)
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

/// Waits for a rollout that is as wanted; a halt is false.
async fn until(site: &Site, what: &str, wanted: impl Fn(&Rollout) -> bool) -> Rollout {
    wait_for(what, LIMIT, async || {
        let rollout = site.rollout().await.ok_or("there is no rollout")?;
        if let Phase::Halted { reason, .. } = &rollout.phase {
            panic!("halted falsely: {reason}");
        }
        let state = format!("{:?}, {} exposed", rollout.phase, rollout.exposed);
        if wanted(&rollout) {
            Ok(rollout)
        } else {
            Err(state)
        }
    })
    .await
}

fn assert_silent_are(rollout: &Rollout, expected: u64) {
    let silence = rollout.ledger.harm(Harm::Silence);
    let counted = (silence.exposed_fell, silence.control_fell);
    assert_eq!(counted, (expected, expected), "machines taken for silent");
}
