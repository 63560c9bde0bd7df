//! Tells owners by e-mail which of their machines need them.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use suture_store::{Clock, Concern, Job, ServerId, Store, StoreError, UntoldConcern};
use tokio::sync::Notify;
use tracing::warn;

use crate::alone::alone;
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

/// Concerns that are read at once.
const AT_ONCE: u32 = 1000;

/// Machines that a letter names.
const NAMED: usize = 20;

/// Writes letters, for ever, soon after a call. Of several copies of the service one at a
/// time does.
pub async fn run(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    post: Post,
    machines_page: String,
    calls: Arc<Notify>,
) {
    let server = ServerId::random();
    loop {
        let work = tell(store.as_ref(), clock.now(), &post, &machines_page);
        if let Err(error) = alone(store.as_ref(), (Job::WriteLetters, server), work).await {
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
    let mut after = None;
    loop {
        let untold = store.untold_concerns(heard, rested, after, AT_ONCE).await?;
        let untold = of_whole_accounts(&untold, AT_ONCE as usize);
        let Some(last) = untold.last() else {
            return Ok(());
        };
        // Beyond an owner whose mail does not leave there are others.
        after = Some(last.account);
        tell_each(store, untold, now, post, machines_page).await?;
    }
}

async fn tell_each(
    store: &dyn Store,
    untold: &[UntoldConcern],
    now: Timestamp,
    post: &Post,
    machines_page: &str,
) -> Result<(), StoreError> {
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

/// Without the last account's where a full piece may hold a part of them: they come first in the
/// next one. An account that fills a piece by itself gets what is in it, and the rest with its next
/// letter.
fn of_whole_accounts(piece: &[UntoldConcern], full: usize) -> &[UntoldConcern] {
    let (Some(first), Some(last)) = (piece.first(), piece.last()) else {
        return piece;
    };
    if piece.len() < full || first.account == last.account {
        return piece;
    }
    let others = piece.iter().take_while(|it| it.account != last.account);
    &piece[..others.count()]
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
    fn an_owners_concerns_are_not_torn_apart() {
        let mut accounts = [AccountId::random(), AccountId::random()];
        accounts.sort_unstable();
        let of = |account: usize| UntoldConcern {
            account: accounts[account],
            ..concern(1, Concern::Silent)
        };
        let told = |whose: &[usize], full| {
            let piece: Vec<_> = whose.iter().map(|account| of(*account)).collect();
            of_whole_accounts(&piece, full).len()
        };
        assert_eq!(told(&[0, 0, 1], 3), 2, "more of the second may follow");
        assert_eq!(told(&[0, 0, 1], 4), 3, "there are no more");
        assert_eq!(told(&[0, 0, 0], 3), 3, "it fills the piece by itself");
        assert_eq!(told(&[], 3), 0);
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
