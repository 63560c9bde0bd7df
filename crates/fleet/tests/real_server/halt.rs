//! A bad version meets ten thousand machines.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use suture_fleet::real::{Driver, Flaw, Network, Record};
use suture_rollout::{HaltedBy, Phase};
use suture_store::{PastLook, Rollout};

use crate::invariants::{
    check_crashes, check_events, check_exposed, check_halts, check_looks, check_no_offer_since,
};
use crate::server::Server;
use crate::site::{Site, agents, now, plan, system_clock, version, wait_for};

/// Number of agents; at least 5,000, else the first steps are too small for proof.
const AGENTS: &str = "SUTURE_FLEET_AGENTS";

/// One machine in so many goes down over the version.
pub const STRUCK: usize = 10;

/// Far beyond what a quiet machine takes.
pub const LIMIT: Duration = Duration::from_secs(600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_version_is_halted_before_it_reaches_many_of_ten_thousand() {
    let begin = Instant::now();
    let count = number_of_agents();
    let site = Site::new().await;
    let identities = site.identities(count).await;
    eprintln!(
        "{count} machines have accounts after {:.1?}",
        begin.elapsed()
    );
    let server = Server::start(&site, "127.0.0.1:0", 20);
    let driver = Driver::start(
        agents(identities, Some(Flaw::new(version(), STRUCK, STRUCK))),
        vec![server.url()],
        Network::default(),
        system_clock(),
        Duration::ZERO,
    );
    all_check_in(&driver, begin).await;
    eprintln!(
        "all are enrolled and heard of after {:.1?}",
        begin.elapsed()
    );

    let (published, before) = (Instant::now(), driver.record().check_ins);
    site.publish().await;
    let (halted, seen) = until_halted(&site).await;
    let rate = (driver.record().check_ins - before) as f64 / published.elapsed().as_secs_f64();
    eprintln!(
        "halted {:.1?} after it was published, {} of {count} exposed, {rate:.0} check-ins a second",
        published.elapsed(),
        halted.exposed
    );
    let record = everyone_asks_again(&site, driver, &halted).await;
    check_the_end(&site, &halted, &record, count, seen).await;
    eprintln!(
        "{} check-ins in all, {:.1?}",
        record.check_ins,
        begin.elapsed()
    );
    assert_eq!(record.enrolled, count);
}

fn number_of_agents() -> usize {
    match std::env::var(AGENTS) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("`{AGENTS}` is no number")),
        Err(_) => 10_000,
    }
}

/// Waits until every agent had an answer to a check-in that it sent after `since`.
pub async fn all_check_in(driver: &Driver, since: Instant) {
    wait_for("every machine checks in", LIMIT, async || {
        refused_nothing(&driver.record());
        match driver.unheard_since(since) {
            0 => Ok(()),
            missing => Err(format!("{missing} machines did not")),
        }
    })
    .await;
}

/// The rollout when the server has halted it, and when that was seen.
pub async fn until_halted(site: &Site) -> (Rollout, Timestamp) {
    let rollout = wait_for("the version is halted", LIMIT, async || {
        let rollout = site.rollout().await.ok_or("it has no rollout")?;
        match &rollout.phase {
            Phase::Halted { .. } => Ok(rollout),
            phase @ (Phase::Complete { .. } | Phase::Withdrawn { .. }) => {
                panic!("a bad version came to {phase:?}")
            }
            phase => Err(format!("{phase:?}, {} exposed", rollout.exposed)),
        }
    })
    .await;
    (rollout, now())
}

/// After the halt everyone asks at least once more, and tells what it has to tell.
pub async fn everyone_asks_again(site: &Site, driver: Driver, halted: &Rollout) -> Record {
    let since = Instant::now();
    driver.hurry();
    all_check_in(&driver, since).await;
    wait_for("everything is told", LIMIT, async || {
        match driver.untold() {
            0 => Ok(()),
            machines => Err(format!("{machines} machines have something to tell")),
        }
    })
    .await;
    let record = driver.record();
    drop(driver);
    check_no_offer_since(&record, since);
    let after = site.rollout().await.unwrap();
    assert_eq!(after.exposed, halted.exposed, "exposed after the halt");
    assert_eq!(after.phase, halted.phase);
    record
}

/// All that must hold after a halt.
pub async fn check_the_end(
    site: &Site,
    halted: &Rollout,
    record: &Record,
    machines: usize,
    seen: Timestamp,
) {
    let Phase::Halted {
        step, by, reason, ..
    } = &halted.phase
    else {
        panic!("not halted: {:?}", halted.phase);
    };
    eprintln!("halted in step {step}: {reason}");
    assert_eq!(*by, HaltedBy::Evidence);
    assert!(
        *step < plan().steps.len() - 1,
        "halted when everyone could have it"
    );
    let cap = plan().cap(*step, machines as u64);
    assert!(
        halted.exposed <= cap,
        "{} exposed, at most {cap}",
        halted.exposed
    );
    refused_nothing(record);
    let looks = check_looks(site, halted).await;
    let halting: Vec<&PastLook> = looks.iter().filter(|look| is_halt(look)).collect();
    assert_eq!(halting.len(), 1, "one look halts");
    let events = check_events(site, halted).await;
    check_crashes(halted, &events, record, halting[0], seen);
    check_exposed(site, halted, record).await;
    check_halts(site, 1).await;
}

fn is_halt(look: &PastLook) -> bool {
    matches!(look.decision.phase, Phase::Halted { .. })
}

pub fn refused_nothing(record: &Record) {
    let first = record.refused.first();
    assert_eq!(first, None, "of {} refusals", record.refused.len());
}
