//! The same with everything going wrong at once.

use std::time::{Duration, Instant};

use suture_fleet::real::{Driver, Flaw, Network};
use suture_rollout::Phase;

use crate::halt::{
    LIMIT, STRUCK, all_check_in, check_the_end, everyone_asks_again, refused_nothing, until_halted,
};
use crate::server::Server;
use crate::site::{Site, agents, system_clock, version, wait_for};
use crate::slow_database::SlowDatabase;

const MACHINES: usize = 1000;

/// Machines that are exposed when the servers are killed: in the middle of the first step (at
/// most 5 machines), and of the first one for everyone (at most 100).
const EXPOSED_AT_KILLS: [u64; 2] = [3, 22];

/// The first that goes down. Beyond the early group (at most 15 machines), so that it is not over
/// before the second kill; one crash among a few machines would hold it for a day.
const FIRST_STRUCK: usize = 30;

const CHECK_IN_SECS: u64 = 10;

/// Two servers on one database, which is slow; both are killed in the middle and started again,
/// twice, and once more after the halt; answers are lost, and events come twice and out of order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_version_is_halted_once_whatever_goes_wrong_meanwhile() {
    let begin = Instant::now();
    let site = Site::new().await;
    let identities = site.identities(MACHINES).await;
    let start = |listen: &str| Server::start(&site, listen, CHECK_IN_SECS);
    let mut servers = [start("127.0.0.1:0"), start("127.0.0.1:0")];
    let network = Network {
        twice: 0.1,
        out_of_order: 0.4,
    };
    let driver = Driver::start(
        agents(identities, Some(Flaw::new(version(), FIRST_STRUCK, STRUCK))),
        servers.iter().map(Server::url).collect(),
        network,
        system_clock(),
        Duration::ZERO,
    );
    all_check_in(&driver, begin).await;
    let slow = SlowDatabase::start(&site.path("suture.db"));
    site.publish().await;

    for exposed in EXPOSED_AT_KILLS {
        until_exposed(&site, exposed).await;
        servers = killed_and_started_again(servers, &driver, &start).await;
    }
    let (halted, seen) = until_halted(&site).await;
    // Who starts after the halt knows of it.
    let _servers = killed_and_started_again(servers, &driver, &start).await;
    let held = slow.end().await;
    let record = everyone_asks_again(&site, driver, &halted).await;
    eprintln!(
        "{} check-ins, {} sent twice, {} out of order, {} unanswered, database held {held} \
         times, {} of {MACHINES} exposed, {:.1?}",
        record.check_ins,
        record.repeated,
        record.out_of_order,
        record.unanswered,
        halted.exposed,
        begin.elapsed()
    );
    assert!(record.repeated > 0 && record.out_of_order > 0 && record.unanswered > 0 && held > 0);
    check_the_end(&site, &halted, &record, MACHINES, seen).await;
}

async fn until_exposed(site: &Site, machines: u64) {
    wait_for("machines are exposed", LIMIT, async || {
        let rollout = site.rollout().await.ok_or("it has no rollout")?;
        let running = matches!(rollout.phase, Phase::Running { .. } | Phase::Planned { .. });
        assert!(running, "over before its middle: {:?}", rollout.phase);
        if rollout.exposed >= machines {
            Ok(())
        } else {
            Err(format!("{} are", rollout.exposed))
        }
    })
    .await;
}

/// Kills both, waits until machines noticed, and starts both at their old addresses.
async fn killed_and_started_again(
    servers: [Server; 2],
    driver: &Driver,
    start: &impl Fn(&str) -> Server,
) -> [Server; 2] {
    let addresses = servers.map(Server::kill);
    let before = driver.record().unanswered;
    wait_for("machines find no server", LIMIT, async || {
        let record = driver.record();
        refused_nothing(&record);
        let unanswered = record.unanswered - before;
        if unanswered > 20 {
            Ok(())
        } else {
            Err(format!("{unanswered} calls without an answer"))
        }
    })
    .await;
    addresses.map(|address| start(&address))
}
