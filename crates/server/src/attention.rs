//! Tells owners by e-mail which of their machines need them.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use suture_store::{Clock, Concern, Job, LeaseState, ServerId, Store, StoreError, UntoldConcern};
use tokio::sync::Notify;
use tracing::warn;

use crate::error::chain;
use crate::post::{Letter, Post};

/// Between two looks, if nothing calls for one.
const LOOK: Duration = Duration::from_secs(300);

/// From a call to the look: machines of one owner fail together, and get one letter.
const CALM: Duration = Duration::from_secs(5);

/// A machine that was not heard of for so long is silent: one that rests over night is not.
const SILENCE: SignedDuration = SignedDuration::from_hours(24);

/// Between two letters to the same owner.
const REST: SignedDuration = SignedDuration::from_hours(12);

/// Concerns that one look tells of.
const AT_ONCE: u32 = 1000;

/// Machines that a letter names.
const NAMED: usize = 20;

/// Writes letters, for ever, soon after a call. Of several copies of the service one does.
pub async fn run(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    post: Post,
    machines_page: String,
    calls: Arc<Notify>,
) {
    let server = ServerId::random();
    loop {
        let lease = store.take_lease(Job::WriteLetters, server, LOOK * 2).await;
        let done = match lease {
            Ok(LeaseState::Ours { .. }) => {
                tell(store.as_ref(), clock.now(), &post, &machines_page).await
            }
            Ok(LeaseState::Theirs) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            let cause = chain(&error);
            warn!(
                error = cause,
                "cannot tell owners of their machines: {cause}"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = calls.notified() => tokio::time::sleep(CALM).await,
        }
    }
}

/// A letter that did not leave is written again at the next look; one that left while the service
/// died may come twice.
async fn tell(
    store: &dyn Store,
    now: Timestamp,
    post: &Post,
    machines_page: &str,
) -> Result<(), StoreError> {
    let heard = now.saturating_sub(SILENCE).unwrap_or(Timestamp::MIN);
    let rested = now.saturating_sub(REST).unwrap_or(Timestamp::MIN);
    store.forget_past_concerns(heard).await?;
    let untold = store.untold_concerns(heard, rested, AT_ONCE).await?;
    for concerns in untold.chunk_by(|one, next| one.account == next.account) {
        let letter = Letter::Attention {
            lines: &lines(concerns),
            page: machines_page,
        };
        if !post.sent(&concerns[0].email, &letter).await {
            continue;
        }
        let told: Vec<_> = concerns
            .iter()
            .map(|it| (it.machine.clone(), it.concern))
            .collect();
        store.concerns_told(concerns[0].account, &told, now).await?;
    }
    Ok(())
}

/// A line for each concern.
fn lines(concerns: &[UntoldConcern]) -> String {
    let mut lines: Vec<String> = concerns.iter().take(NAMED).map(line).collect();
    let more = concerns.len().saturating_sub(NAMED);
    if more > 0 {
        lines.push(format!("- and {more} more"));
    }
    lines.join("\n")
}

fn line(concern: &UntoldConcern) -> String {
    let what = match concern.concern {
        Concern::ApplyFailed => "a live patch could not be applied",
        Concern::Silent => "nothing was heard of it for a day",
        Concern::OverLimit => "your plan does not cover it, so it gets no new live patches",
    };
    format!("- {}: {what}", concern.hostname)
}

#[cfg(test)]
mod tests {
    use suture_store::AccountId;

    use super::*;

    fn concern(number: usize, concern: Concern) -> UntoldConcern {
        UntoldConcern {
            account: AccountId::random(),
            email: "ada@example.org".parse().unwrap(),
            machine: format!("{:032x}", number + 1).parse().unwrap(),
            hostname: format!("web-{number}").parse().unwrap(),
            concern,
        }
    }

    #[test]
    fn a_letter_names_each_machine_and_stays_short() {
        let few = [
            concern(1, Concern::ApplyFailed),
            concern(2, Concern::Silent),
        ];
        assert_eq!(
            lines(&few),
            "- web-1: a live patch could not be applied\n- web-2: nothing was heard of it for a day"
        );
        let many: Vec<_> = (0..50).map(|it| concern(it, Concern::OverLimit)).collect();
        let text = lines(&many);
        assert_eq!(text.lines().count(), 21);
        assert!(text.ends_with("- and 30 more"), "{text}");
    }
}
