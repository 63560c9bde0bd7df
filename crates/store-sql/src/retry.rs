//! Transactions that lost a race and are done again.
//!
//! A database that lets several write at the same time refuses one of two transactions that could
//! not have happened one after the other. That one has changed nothing, and is done again from its
//! beginning. It then waits in a line with those of this process to which the same happened, and
//! goes alone among them: who only tried again would meet the same neighbours at a busy row.

use std::sync::Arc;
use std::time::Duration;

use suture_store::StoreError;
use tokio::sync::{Mutex, OwnedMutexGuard};

/// Times that a transaction is done again. With the pauses this is some ten seconds, which is how
/// long SQLite waits for a writer too.
const MOST_REPEATS: u32 = 50;

const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);

/// The line of those that lost a race in this process.
#[derive(Debug, Clone, Default)]
pub struct Line(Arc<Mutex<()>>);

/// One transaction's repeats.
#[derive(Debug, Default)]
pub struct Repeats {
    done: u32,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Repeats {
    /// Waits for the next try; gives the error back if there is to be none.
    pub async fn next(
        &mut self,
        line: &Line,
        error: StoreError,
        lost_race: bool,
    ) -> Result<(), StoreError> {
        if !lost_race || self.done >= MOST_REPEATS {
            return Err(error);
        }
        if self.turn.is_none() {
            self.turn = Some(Arc::clone(&line.0).lock_owned().await);
        }
        tokio::time::sleep(pause(self.done, fastrand::f64())).await;
        self.done += 1;
        Ok(())
    }
}

/// Between half and all of a time that doubles; `random` is from 0 to 1. Others, in other
/// processes, pause as well and must not come back at the same moment.
fn pause(done: u32, random: f64) -> Duration {
    let doubled = SHORTEST_PAUSE * 2_u32.pow(done.min(10));
    doubled.min(LONGEST_PAUSE).mul_f64(0.5 + random / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        assert_eq!(pause(0, 0.0), Duration::from_millis(1));
        assert_eq!(pause(3, 1.0), Duration::from_millis(16));
        for done in 7..MOST_REPEATS {
            assert_eq!(pause(done, 1.0), LONGEST_PAUSE);
            assert_eq!(pause(done, 0.0), LONGEST_PAUSE / 2);
        }
    }

    #[tokio::test]
    async fn what_is_no_lost_race_is_not_done_again() {
        let mut repeats = Repeats::default();
        let line = Line::default();
        let refused = repeats.next(&line, StoreError::UnknownToken, false).await;
        assert!(matches!(refused, Err(StoreError::UnknownToken)));
        let again = repeats.next(&line, StoreError::UnknownToken, true).await;
        assert!(again.is_ok());
        assert!(line.0.try_lock().is_err(), "it goes alone");
        drop(repeats);
        assert!(line.0.try_lock().is_ok());
    }
}
