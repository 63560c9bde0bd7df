//! Forgets what is old, a piece at a time.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use suture_store::{Clock, ExposurePlace, HistoryBounds, Job, ServerId, Store, StoreError};
use tracing::{info, warn};

use crate::alone::alone;
use crate::error::chain;

/// Between two sweeps, six hours.
const SWEEP: Duration = Duration::from_secs(6 * 3600);

/// Rows of one transaction: no check-in is written to SQLite while one runs. `make bench-year` prints how
/// long the longest took.
const AT_ONCE: u32 = 500;

/// The most time of one sweep, well within the lease of a job; the rest is for the next one.
const LONGEST: Duration = Duration::from_secs(120);

/// How long history is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// What single machines told of a rollout that is over, but harm; days.
    pub details_days: u32,
    /// Harm; days.
    pub harm_days: u32,
}

/// Sweeps, for ever. Of several copies of the service one at a time does.
pub async fn run(store: Arc<dyn Store>, clock: Arc<dyn Clock>, keep: Keep) {
    let server = ServerId::random();
    loop {
        let begun = clock.now();
        let is_late = || clock.now().duration_since(begun).unsigned_abs() >= LONGEST;
        let work = forget(store.as_ref(), keep, begun, is_late);
        match alone(store.as_ref(), (Job::ForgetHistory, server), work).await {
            Ok(Some(rows)) if rows > 0 => info!(rows, "{rows} rows of old history are forgotten"),
            Ok(_) => {}
            Err(error) => {
                let cause = chain(&error);
                warn!(error = cause, "cannot forget old history: {cause}");
            }
        }
        tokio::time::sleep(SWEEP).await;
    }
}

/// Forgets what is older than is to be kept at `now`, until nothing is left to forget or it is
/// late. How many rows went.
pub async fn forget(
    store: &dyn Store,
    keep: Keep,
    now: Timestamp,
    is_late: impl Fn() -> bool,
) -> Result<u64, StoreError> {
    let ago = |days: u32| {
        let time = SignedDuration::from_hours(24 * i64::from(days));
        now.saturating_sub(time).unwrap_or(Timestamp::MIN)
    };
    let bounds = HistoryBounds {
        details: ago(keep.details_days),
        harm: ago(keep.harm_days.max(keep.details_days)),
    };
    let mut rows = 0;
    while !is_late() {
        let forgotten = store.forget_past_rollouts(bounds, AT_ONCE).await?;
        if forgotten == 0 {
            break;
        }
        rows += forgotten;
    }
    let mut place = Some(ExposurePlace::default());
    while let (Some(from), false) = (&place, is_late()) {
        let swept = store
            .forget_exposures(bounds.details, from, AT_ONCE)
            .await?;
        rows += swept.forgotten;
        place = swept.next;
    }
    let mut next = Some(0);
    while let (Some(after), false) = (next, is_late()) {
        let swept = store.forget_events(bounds.details, after, AT_ONCE).await?;
        rows += swept.forgotten;
        next = swept.next;
    }
    Ok(rows)
}
