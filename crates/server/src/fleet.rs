//! The whole fleet for operators: counted when somebody looks, and kept each hour.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use suture_store::{Clock, FleetGroup, Machine, Store, StoreError, hour_of};
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::error::chain;

/// Seconds for which a count serves everyone who looks: it reads every machine.
const FRESH_SECS: i64 = 15;

/// Between two looks at whether the hour's sample is there.
const LOOK: Duration = Duration::from_secs(300);

/// Silent machines that one transaction releases.
const RELEASED_AT_ONCE: u32 = 100;

/// The latest count.
#[derive(Default)]
pub struct Fleet {
    counted: Mutex<Option<(Timestamp, Arc<[FleetGroup]>)>>,
}

impl Fleet {
    /// The fleet as it was a few seconds ago at most, and when that was. Who comes while it is
    /// counted waits for that count.
    pub async fn groups(
        &self,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<(Timestamp, Arc<[FleetGroup]>), StoreError> {
        let mut counted = self.counted.lock().await;
        if let Some((at, groups)) = &*counted
            && (0..FRESH_SECS).contains(&now.duration_since(*at).as_secs())
        {
            return Ok((*at, Arc::clone(groups)));
        }
        let groups: Arc<[FleetGroup]> = store.fleet_groups(now).await?.into();
        *counted = Some((now, Arc::clone(&groups)));
        Ok((now, groups))
    }
}

/// Keeps a sample of each hour and releases machines that are silent for longer than so many
/// days, for ever. Several copies of the service may do so at once.
pub async fn look_after(store: Arc<dyn Store>, clock: Arc<dyn Clock>, silent_days: Option<u32>) {
    loop {
        if let Err(error) = each_hour(store.as_ref(), clock.now(), silent_days).await {
            let cause = chain(&error);
            warn!(error = cause, "cannot look after the fleet: {cause}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// All of it reads many machines, so the hour's sample says that they were done.
async fn each_hour(
    store: &dyn Store,
    now: Timestamp,
    silent_days: Option<u32>,
) -> Result<(), StoreError> {
    let hour = hour_of(now);
    if store.has_fleet_sample(hour).await? {
        return Ok(());
    }
    if let Some(days) = silent_days {
        release_silent(store, days, now).await?;
    }
    release_replaced(store, now).await?;
    let groups = store.fleet_groups(now).await?;
    store.keep_fleet_sample(hour, &groups).await
}

async fn release_silent(store: &dyn Store, days: u32, now: Timestamp) -> Result<(), StoreError> {
    let silence = SignedDuration::from_hours(i64::from(days) * 24);
    let Ok(since) = now.checked_sub(silence) else {
        return Ok(());
    };
    let why = format!("it was silent for {days} days");
    while told(
        &store.release_silent(since, RELEASED_AT_ONCE, now).await?,
        &why,
    ) {}
    Ok(())
}

async fn release_replaced(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    let why = "its system was installed anew";
    while told(&store.release_replaced(RELEASED_AT_ONCE, now).await?, why) {}
    Ok(())
}

/// Logs a piece of those that were released, so that check-ins come between pieces. Whether there
/// may be more.
fn told(released: &[Machine], why: &str) -> bool {
    for machine in released {
        info!(machine.id = %machine.id, "machine {} was released: {why}", machine.id);
    }
    released.len() >= RELEASED_AT_ONCE as usize
}

#[cfg(test)]
mod tests {
    use suture_store::{Actor, FleetStore as _, NewAccount, NewMachine, Plan};
    use suture_store_sql::SqliteStore;

    use super::*;

    fn at(day: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + day * 86_400).unwrap()
    }

    async fn with_a_machine(store: &SqliteStore) -> suture_store::Account {
        let by = Actor::Operator("ada".parse().unwrap());
        let new = NewAccount {
            email: "owner@example.org".parse().unwrap(),
            plan: Plan::Free,
        };
        let account = store.create_account(&new, &by, at(0)).await.unwrap();
        let label = "first".parse().unwrap();
        let token = store.create_token(account.id, &label, &by, at(0)).await;
        let kernel = serde_json::json!({
            "release": "6.1.0-53-amd64", "architecture": "amd64", "build_id": "ab".repeat(20),
        });
        let machine = NewMachine {
            id: format!("{:032x}", 7).parse().unwrap(),
            hostname: "web-7".parse().unwrap(),
            kernel: serde_json::from_value(kernel).unwrap(),
            agent_version: "0.1.0".parse().unwrap(),
            hardware: None,
        };
        let secret = token.unwrap().secret;
        store.enrol_machine(&secret, &machine, at(0)).await.unwrap();
        account
    }

    #[tokio::test]
    async fn an_hour_is_sampled_once_and_silent_machines_go() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("suture.db"))
            .await
            .unwrap();
        let account = with_a_machine(&store).await;
        let machines = async || store.machines(account.id).await.unwrap().len();
        for day in [1, 1, 2] {
            each_hour(&store, at(day), Some(90)).await.unwrap();
        }
        let samples = store.fleet_samples(at(0)).await.unwrap();
        assert_eq!((samples.len(), machines().await), (2, 1));
        each_hour(&store, at(89), Some(90)).await.unwrap();
        each_hour(&store, at(200), None).await.unwrap();
        assert_eq!(machines().await, 1, "too early, and not asked for");
        each_hour(&store, at(201), Some(90)).await.unwrap();
        assert_eq!(machines().await, 0);
    }
}
