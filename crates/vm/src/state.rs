//! What is known of a running guest. Threads that listen write it, callers wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::console::Console;
use crate::wire::{Answer, Ready};

/// The state and the bell that rings at each change.
#[derive(Debug, Default)]
pub struct SharedState {
    state: Mutex<State>,
    changed: Condvar,
}

/// What is known of a running guest.
#[derive(Debug, Default)]
pub struct State {
    pub console: Console,
    /// How many boots of the guest said that they are ready.
    pub boots: u64,
    /// How often the guest's server said so; it forgets its requests when it is started anew.
    pub greetings: u64,
    /// What it said last.
    pub ready: Option<Ready>,
    /// QEMU closed its end.
    pub ended: bool,
    waiting: BTreeSet<u64>,
    answers: BTreeMap<u64, Answer>,
}

impl State {
    /// Announces that somebody waits for this answer; others are dropped.
    pub fn expect(&mut self, id: u64) {
        self.waiting.insert(id);
    }

    pub fn deliver(&mut self, id: u64, answer: Answer) {
        if self.waiting.contains(&id) {
            self.answers.insert(id, answer);
        }
    }

    pub fn take_answer(&mut self, id: u64) -> Option<Answer> {
        self.answers.remove(&id)
    }

    /// Whether any request is open.
    #[cfg(test)]
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Nobody waits for this answer any more.
    pub fn forget(&mut self, id: u64) {
        self.waiting.remove(&id);
        self.answers.remove(&id);
    }
}

impl SharedState {
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes all who wait.
    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `check` has an answer; `None` when the deadline came first.
    pub fn wait<T>(
        &self,
        deadline: Instant,
        mut check: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(found) = check(&mut state) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let woken = self.changed.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_nobody_waits_for_are_dropped() {
        let mut state = State::default();
        state.deliver(1, Answer::Written);
        assert_eq!(state.take_answer(1), None);
        state.expect(2);
        state.deliver(2, Answer::Written);
        assert_eq!(state.take_answer(2), Some(Answer::Written));
    }

    #[test]
    fn waiting_ends_at_the_deadline_or_with_the_change() {
        let shared = SharedState::default();
        let soon = Instant::now() + Duration::from_millis(20);
        assert_eq!(shared.wait(soon, |state| state.ended.then_some(())), None);
        std::thread::scope(|scope| {
            scope.spawn(|| shared.change(|state| state.ended = true));
            let late = Instant::now() + Duration::from_secs(60);
            assert_eq!(
                shared.wait(late, |state| state.ended.then_some(())),
                Some(())
            );
        });
    }
}
