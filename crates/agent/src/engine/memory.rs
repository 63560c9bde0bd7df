//! State, journal and evidence in memory, each change on disk before it counts.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::evidence::Evidence;
use crate::failure::Failure;
use crate::lifecycle::Load;
use crate::state::{State, StateDir, StateError};

#[derive(Debug)]
pub struct Memory {
    inner: Mutex<Inner>,
    /// Why the last change could not be kept.
    unwritten: Mutex<Option<Failure>>,
}

#[derive(Debug, Clone)]
struct Inner {
    state: State,
    journal: Option<Load>,
    evidence: Evidence,
}

impl Memory {
    pub fn read(dir: &StateDir) -> Result<Self, StateError> {
        let inner = Inner {
            state: dir.state()?,
            journal: dir.journal()?,
            evidence: dir.evidence()?,
        };
        Ok(Self {
            inner: Mutex::new(inner),
            unwritten: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the last change could not be kept, until one can.
    pub fn unwritten(&self) -> Option<Failure> {
        let unwritten = self.unwritten.lock();
        unwritten.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how a write went: a disk that is full shows in status, where it can't be kept.
    fn noted(&self, written: Result<(), StateError>) -> Result<(), Failure> {
        let outcome = written.map_err(|error| Failure::from_error(&error));
        let unwritten = self.unwritten.lock();
        *unwritten.unwrap_or_else(PoisonError::into_inner) = outcome.clone().err();
        outcome
    }

    pub fn state(&self) -> State {
        self.lock().state.clone()
    }

    pub fn journal(&self) -> Option<Load> {
        self.lock().journal.clone()
    }

    pub fn evidence(&self) -> Evidence {
        self.lock().evidence.clone()
    }

    /// Changes the evidence; on disk first, and not at all if `change` fails.
    pub fn witness<T>(
        &self,
        dir: &StateDir,
        change: impl FnOnce(&mut Evidence) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut inner = self.lock();
        let mut evidence = inner.evidence.clone();
        let answer = change(&mut evidence)?;
        if evidence != inner.evidence {
            self.noted(dir.write_evidence(&evidence))?;
            inner.evidence = evidence;
        }
        Ok(answer)
    }

    /// Whether the kernel was asked to load a module and has not answered.
    pub fn is_loading(&self) -> bool {
        matches!(self.lock().journal, Some(Load::Begun { .. }))
    }

    pub fn change(&self, dir: &StateDir, change: impl FnOnce(&mut State)) -> Result<(), Failure> {
        let mut inner = self.lock();
        let mut state = inner.state.clone();
        change(&mut state);
        if state != inner.state {
            self.noted(dir.write_state(&state))?;
            inner.state = state;
        }
        Ok(())
    }

    pub fn record(&self, dir: &StateDir, load: Load) -> Result<(), Failure> {
        let mut inner = self.lock();
        self.noted(dir.write_journal(&load))?;
        inner.journal = Some(load);
        Ok(())
    }

    /// Takes the record one step on, if there is one and the step changes it.
    pub fn step(&self, dir: &StateDir, step: impl FnOnce(Load) -> Load) -> Result<(), Failure> {
        let mut inner = self.lock();
        let Some(before) = inner.journal.clone() else {
            return Ok(());
        };
        let after = step(before.clone());
        if after != before {
            self.noted(dir.write_journal(&after))?;
            inner.journal = Some(after);
        }
        Ok(())
    }

    pub fn forget_record(&self, dir: &StateDir) -> Result<(), Failure> {
        let mut inner = self.lock();
        self.noted(dir.clear_journal())?;
        inner.journal = None;
        Ok(())
    }
}
