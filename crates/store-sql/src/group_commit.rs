//! Group commit: jobs that wait at the same moment are done in one transaction, and so wait for
//! the disk once.
//!
//! ```text
//!  submit(job) ─► queue ─► batch ─► one transaction ─► one sync of the disk ─► each its own answer
//!                   ▲                       │
//!                   └─ what comes meanwhile ┘ is the next batch, which does not wait for the disk
//! ```
//!
//! The queue belongs to the store and outlives every request. A *worker*, a task that is there only
//! while something waits, owns the batch that it took; no two work at once, so a batch meets none
//! of its own process. Nothing waits for a batch to fill: alone, a job goes at once. Whoever stops
//! waiting before its job was taken is left out; a job that was taken is done, and its answer is
//! lost as on a broken connection. A worker that dies drops the answers of all that waited, who
//! then hear of an error.

use std::collections::VecDeque;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::{HashSet, HashSetExt as _};
use suture_store::StoreError;
use tokio::sync::oneshot;

/// Jobs in one transaction. More would save little, and keep the first of them waiting.
const MOST_JOBS: usize = 256;

/// A job that can share a transaction with others.
pub trait Job: Send + 'static {
    type Key: Eq + Hash;
    type Answer: Send + 'static;

    /// Two jobs with the same key are done one after the other, in the order of their coming.
    fn key(&self) -> Self::Key;
}

/// Jobs that wait for the next transaction.
pub struct Queue<J: Job>(Arc<Mutex<Waiting<J>>>);

struct Waiting<J: Job> {
    entries: VecDeque<Entry<J>>,
    is_worked_on: bool,
}

type Told<A> = oneshot::Sender<Result<A, StoreError>>;

struct Entry<J: Job> {
    job: J,
    told: Told<J::Answer>,
}

/// Jobs that were taken together, and where each one's answer goes.
struct Batch<J: Job> {
    jobs: Vec<J>,
    tells: Vec<Told<J::Answer>>,
}

impl<J: Job> Queue<J> {
    /// Has a job done with those that wait, and says what came of it. Only where no worker is
    /// there, one is hired: its first function answers each job of a batch, in order, and the
    /// second waits until what that changed is on the disk.
    pub async fn submit<W, F, S, D>(
        &self,
        job: J,
        hire: impl FnOnce() -> (W, S),
    ) -> Result<J::Answer, StoreError>
    where
        W: Fn(Vec<J>) -> F + Send + 'static,
        F: Future<Output = Vec<Result<J::Answer, StoreError>>> + Send + 'static,
        S: Fn() -> D + Send + 'static,
        D: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        let (told, answer) = oneshot::channel();
        if self.add(Entry { job, told }) {
            let (work, settle) = hire();
            tokio::spawn(Worker::new(self.clone()).run(work, settle));
        }
        answer.await.unwrap_or_else(|lost| {
            Err(StoreError::Database {
                doing: "finish what it was doing",
                source: lost.into(),
            })
        })
    }

    /// Whether a worker is wanted for it.
    fn add(&self, entry: Entry<J>) -> bool {
        let mut waiting = self.lock();
        waiting.entries.push_back(entry);
        !std::mem::replace(&mut waiting.is_worked_on, true)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting<J>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<J: Job> Clone for Queue<J> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<J: Job> Default for Queue<J> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Waiting {
            entries: VecDeque::new(),
            is_worked_on: false,
        })))
    }
}

impl<J: Job> fmt::Debug for Queue<J> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl<J: Job> Waiting<J> {
    /// The next batch, in order; empty if nobody waits.
    fn take(&mut self) -> Batch<J> {
        let most = self.entries.len().min(MOST_JOBS);
        let mut batch = Batch {
            jobs: Vec::with_capacity(most),
            tells: Vec::with_capacity(most),
        };
        let (mut keys, mut later) = (HashSet::with_capacity(most), Vec::new());
        while batch.jobs.len() < MOST_JOBS
            && let Some(entry) = self.entries.pop_front()
        {
            if entry.told.is_closed() {
                continue;
            }
            if keys.insert(entry.job.key()) {
                batch.jobs.push(entry.job);
                batch.tells.push(entry.told);
            } else {
                later.push(entry);
            }
        }
        for entry in later.into_iter().rev() {
            self.entries.push_front(entry);
        }
        batch
    }
}

/// Works until nobody waits.
struct Worker<J: Job> {
    queue: Queue<J>,
    is_done: bool,
}

impl<J: Job> Worker<J> {
    fn new(queue: Queue<J>) -> Self {
        Self {
            queue,
            is_done: false,
        }
    }

    async fn run<W, F, S, D>(mut self, work: W, settle: S)
    where
        W: Fn(Vec<J>) -> F,
        F: Future<Output = Vec<Result<J::Answer, StoreError>>>,
        S: Fn() -> D,
        D: Future<Output = Result<(), StoreError>> + Send + 'static,
    {
        while let Some(batch) = self.next() {
            let answers = work(batch.jobs).await;
            let settled = settle();
            tokio::spawn(async move { tell(batch.tells, answers, settled.await) });
        }
    }

    fn next(&mut self) -> Option<Batch<J>> {
        let mut waiting = self.queue.lock();
        let batch = waiting.take();
        if batch.jobs.is_empty() {
            waiting.is_worked_on = false;
            self.is_done = true;
            return None;
        }
        Some(batch)
    }
}

fn tell<A>(
    tells: Vec<Told<A>>,
    answers: Vec<Result<A, StoreError>>,
    settled: Result<(), StoreError>,
) {
    let unsettled = settled.err().map(Arc::new);
    for (told, answer) in tells.into_iter().zip(answers) {
        let answer = answer.and_then(|answer| match &unsettled {
            None => Ok(answer),
            Some(error) => Err(StoreError::Database {
                doing: "bring what it was told to the disk",
                source: Arc::clone(error).into(),
            }),
        });
        // Whoever went away meanwhile need not know.
        let _ = told.send(answer);
    }
}

impl<J: Job> Drop for Worker<J> {
    fn drop(&mut self) {
        if !self.is_done {
            let mut waiting = self.queue.lock();
            waiting.entries.clear();
            waiting.is_worked_on = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::{mpsc, watch};

    use super::*;

    /// A number with a key.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Numbered(u32, char);

    impl Job for Numbered {
        type Key = char;
        type Answer = u32;

        fn key(&self) -> char {
            self.1
        }
    }

    /// Batches that the test sees and answers itself.
    struct Desk {
        queue: Queue<Numbered>,
        /// Each settling waits until this says how it ends.
        disk: Disk,
        batches: mpsc::Receiver<OnDesk>,
        to_desk: mpsc::Sender<OnDesk>,
    }

    type Disk = watch::Sender<Option<Result<(), ()>>>;
    type Answers = Vec<Result<u32, StoreError>>;
    type OnDesk = (Vec<Numbered>, oneshot::Sender<Answers>);

    impl Desk {
        fn new() -> Self {
            let (to_desk, batches) = mpsc::channel(1);
            Self {
                queue: Queue::default(),
                disk: watch::Sender::new(Some(Ok(()))),
                batches,
                to_desk,
            }
        }

        /// Submits a job, and returns once it lies in the queue or with the worker.
        async fn submit(
            &self,
            number: u32,
            key: char,
        ) -> tokio::task::JoinHandle<Result<u32, StoreError>> {
            let (queue, to_desk) = (self.queue.clone(), self.to_desk.clone());
            let disk = self.disk.subscribe();
            let (asking, asked) = oneshot::channel();
            let task = tokio::spawn(async move {
                let work = move |batch: Vec<Numbered>| {
                    let to_desk = to_desk.clone();
                    async move {
                        let (answer, answered) = oneshot::channel();
                        to_desk.send((batch, answer)).await.unwrap();
                        answered.await.unwrap()
                    }
                };
                let settle = move || {
                    let mut disk = disk.clone();
                    async move {
                        let settled = *disk.wait_for(Option::is_some).await.unwrap();
                        settled.unwrap().map_err(|()| StoreError::NoRandomBytes)
                    }
                };
                let submitted = queue.submit(Numbered(number, key), || (work, settle));
                asking.send(()).unwrap();
                submitted.await
            });
            asked.await.unwrap();
            // Its first poll ends where it waits for the answer.
            tokio::task::yield_now().await;
            task
        }
    }

    #[tokio::test]
    async fn what_comes_during_a_commit_is_the_next_batch() {
        let mut desk = Desk::new();
        let first = desk.submit(1, 'a').await;
        let (batch, answer) = desk.batches.recv().await.unwrap();
        assert_eq!(batch, [Numbered(1, 'a')], "alone, it goes at once");
        let second = desk.submit(2, 'b').await;
        let third = desk.submit(3, 'c').await;
        answer.send(vec![Ok(10)]).unwrap();
        assert_eq!(first.await.unwrap().unwrap(), 10);

        let (batch, answer) = desk.batches.recv().await.unwrap();
        assert_eq!(batch, [Numbered(2, 'b'), Numbered(3, 'c')]);
        let refused = Err(StoreError::UnknownMachine);
        answer.send(vec![refused, Ok(30)]).unwrap();
        let refused = second.await.unwrap().unwrap_err();
        assert!(matches!(refused, StoreError::UnknownMachine));
        assert_eq!(third.await.unwrap().unwrap(), 30, "its neighbour's refusal");
    }

    #[tokio::test]
    async fn the_next_batch_does_not_wait_for_the_disk_and_everyone_who_asked_does() {
        for settled in [Ok(()), Err(())] {
            let mut desk = Desk::new();
            desk.disk.send_replace(None);
            let first = desk.submit(1, 'a').await;
            let (_, answer) = desk.batches.recv().await.unwrap();
            let second = desk.submit(2, 'b').await;
            answer.send(vec![Ok(10)]).unwrap();
            let (batch, answer) = desk.batches.recv().await.unwrap();
            assert_eq!(batch, [Numbered(2, 'b')]);
            answer.send(vec![Err(StoreError::UnknownMachine)]).unwrap();
            tokio::task::yield_now().await;
            assert!(!first.is_finished(), "it is not on the disk");

            desk.disk.send_replace(Some(settled));
            let first = first.await.unwrap();
            match settled {
                Ok(()) => assert_eq!(first.unwrap(), 10),
                Err(()) => assert!(first.unwrap_err().to_string().contains("to the disk")),
            }
            let refused = second.await.unwrap().unwrap_err();
            assert!(matches!(refused, StoreError::UnknownMachine));
        }
    }

    #[tokio::test]
    async fn jobs_of_one_key_follow_each_other_in_order() {
        let mut desk = Desk::new();
        let _first = desk.submit(1, 'x').await;
        let (_, answer) = desk.batches.recv().await.unwrap();
        for (number, key) in [(2, 'a'), (3, 'a'), (4, 'b'), (5, 'a')] {
            desk.submit(number, key).await;
        }
        answer.send(vec![Ok(0)]).unwrap();
        let mut batches = Vec::new();
        for _ in 0..3 {
            let (batch, answer) = desk.batches.recv().await.unwrap();
            answer.send(batch.iter().map(|_| Ok(0)).collect()).unwrap();
            batches.push(batch.iter().map(|job| job.0).collect::<Vec<_>>());
        }
        assert_eq!(batches, [vec![2, 4], vec![3], vec![5]]);
    }

    #[tokio::test]
    async fn who_stopped_waiting_is_left_out() {
        let mut desk = Desk::new();
        let _first = desk.submit(1, 'x').await;
        let (_, answer) = desk.batches.recv().await.unwrap();
        let impatient = desk.submit(2, 'a').await;
        let patient = desk.submit(3, 'b').await;
        impatient.abort();
        assert!(impatient.await.unwrap_err().is_cancelled());
        answer.send(vec![Ok(0)]).unwrap();
        let (batch, answer) = desk.batches.recv().await.unwrap();
        assert_eq!(batch, [Numbered(3, 'b')]);
        answer.send(vec![Ok(3)]).unwrap();
        assert_eq!(patient.await.unwrap().unwrap(), 3);
    }

    #[tokio::test]
    async fn a_worker_that_dies_keeps_nobody_waiting() {
        let mut desk = Desk::new();
        let first = desk.submit(1, 'a').await;
        let (_, answer) = desk.batches.recv().await.unwrap();
        let second = desk.submit(2, 'b').await;
        drop(answer);
        for task in [first, second] {
            let error = task.await.unwrap().unwrap_err();
            assert!(matches!(error, StoreError::Database { .. }), "{error}");
        }
        let third = desk.submit(3, 'a').await;
        let (_, answer) = desk.batches.recv().await.unwrap();
        answer.send(vec![Ok(3)]).unwrap();
        assert_eq!(
            third.await.unwrap().unwrap(),
            3,
            "the next has a new worker"
        );
    }
}
