//! Silences that end with a check-in.
//!
//! A silent machine needs no row: whoever counts finds it by its last check-in, which lies
//! where it fell silent. When it comes back that time is lost, so its silence is kept as a
//! finding at the very moment at which it began to count. Either way it falls between the same
//! two looks, and counts once.

use jiff::{SignedDuration, Timestamp};
use suture_rollout::Harm;
use suture_store::{Rollout, StoreError};

use super::check_in::{Teller, Trial, is_superseded};
use super::dialect::Connection;
use super::finding::{self, Finding};

/// Keeps the silence that ends, for every running rollout by whose plan it was one.
pub async fn end(
    connection: &mut Connection,
    teller: &Teller<'_>,
    trials: &[Trial<'_>],
) -> Result<(), StoreError> {
    for trial in trials {
        if let Some(at) = silence(teller, trial).filter(|_| !is_superseded(trial, trials)) {
            let finding = Finding {
                rollout: trial.known.course.id,
                machine: teller.machine,
                kind: Harm::Silence.as_str(),
                exposed: trial.exposed,
                stratum: teller.stratum,
                at,
                // All are kept; whoever counts takes the first of each hour.
                once_for_account: false,
            };
            finding::add(&mut *connection, &finding).await?;
        }
    }
    Ok(())
}

/// When the machine fell silent, if it did while the service could have heard it.
fn silence(teller: &Teller<'_>, trial: &Trial<'_>) -> Option<Timestamp> {
    let last = teller.machine.last_check_in.as_ref()?.at;
    let secs = i64::try_from(trial.known.course.plan.silence_secs).unwrap_or(i64::MAX);
    let fell = last.checked_add(SignedDuration::from_secs(secs)).ok()?;
    // A look that came first has counted by its own time.
    let looked = trial.known.looked;
    let now = teller.now.max(looked);
    // Where nobody has looked for long, the service was away or its clock leapt, and the next look
    // will say so: what would have begun since is no silence.
    let away = now.duration_since(looked).as_millis() > i128::from(Rollout::AWAY_SECS) * 1000;
    let heard_until = if away { looked } else { now };
    (trial.known.is_running() && last >= trial.known.back && fell <= heard_until).then_some(fell)
}
