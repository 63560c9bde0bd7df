//! The whole fleet for operators: counted when somebody looks, and kept each hour.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use suture_store::{Clock, FleetGroup, Store, StoreError, hour_of};
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
        let now = clock.now();
        if let Err(error) = keep_sample(store.as_ref(), now).await {
            let cause = chain(&error);
            warn!(error = cause, "cannot keep a sample of the fleet: {cause}");
        }
        if let Some(days) = silent_days
            && let Err(error) = release_silent(store.as_ref(), days, now).await
        {
            let cause = chain(&error);
            warn!(error = cause, "cannot release silent machines: {cause}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// In pieces, so that check-ins come between them.
async fn release_silent(store: &dyn Store, days: u32, now: Timestamp) -> Result<(), StoreError> {
    let silence = SignedDuration::from_hours(i64::from(days) * 24);
    let Ok(since) = now.checked_sub(silence) else {
        return Ok(());
    };
    loop {
        let released = store.release_silent(since, RELEASED_AT_ONCE, now).await?;
        for machine in &released {
            info!(
                machine.id = %machine.id,
                "machine {} was released: it was silent for {days} days", machine.id
            );
        }
        if released.len() < RELEASED_AT_ONCE as usize {
            return Ok(());
        }
    }
}

async fn keep_sample(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    let hour = hour_of(now);
    if store.has_fleet_sample(hour).await? {
        return Ok(());
    }
    let groups = store.fleet_groups(now).await?;
    store.keep_fleet_sample(hour, &groups).await
}
