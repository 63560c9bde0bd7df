//! Lets many agents talk to servers.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fastrand::Rng;
use jiff::Timestamp;
use suture_protocol::{CheckInRequest, CheckInResponse, EventKind};
use suture_rollout::Offer;
use suture_store::Clock;

use super::agent::{Agent, Next};
use super::line::{Line, LineError};
use super::record::{Offered, Record, ToldCrash};

/// Agents that talk at the same moment, each over a connection of its own.
const LINES: usize = 24;

/// A look at the clock for whoever has nothing to do.
const IDLE: Duration = Duration::from_millis(10);

/// How long a machine is down.
const DOWN_MILLIS: std::ops::Range<u64> = 2000..5000;

/// From an application to the check-in that tells of it.
const TELL_MILLIS: std::ops::Range<u64> = 100..800;

/// Until a call without an answer is tried again.
const RETRY_MILLIS: std::ops::Range<u64> = 200..700;

/// What the network does to calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Network {
    /// Share of check-ins whose answer is lost, so that they are sent a second time.
    pub twice: f64,
    /// Share of check-ins that tell a part of the events, the latest first.
    pub out_of_order: f64,
}

/// Agents at work, until it is dropped.
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    lines: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    servers: Vec<String>,
    network: Network,
    clock: ClockHandle,
    agents: Vec<Mutex<Member>>,
    queue: Mutex<BinaryHeap<Reverse<(Instant, usize)>>>,
    record: Mutex<Record>,
    calls: AtomicUsize,
    stop: AtomicBool,
}

/// An agent, and what the driver knows of it.
#[derive(Debug)]
struct Member {
    agent: Agent,
    is_down: bool,
    /// When its last answered check-in was sent.
    heard: Option<Instant>,
}

struct ClockHandle(Arc<dyn Clock>);

impl std::fmt::Debug for ClockHandle {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Clock")
    }
}

/// What the lock guards is whole after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Driver {
    /// Lets the agents enrol and check in at `servers` in turn, spread over `spread`.
    pub fn start(
        agents: Vec<Agent>,
        servers: Vec<String>,
        network: Network,
        clock: Arc<dyn Clock>,
        spread: Duration,
    ) -> Self {
        let begin = Instant::now();
        let count = u32::try_from(agents.len()).unwrap_or(u32::MAX).max(1);
        let due = |number: usize| begin + spread / count * u32::try_from(number).unwrap_or(0);
        let queue = (0..agents.len()).map(|number| Reverse((due(number), number)));
        let member = |agent| {
            Mutex::new(Member {
                agent,
                is_down: false,
                heard: None,
            })
        };
        let shared = Arc::new(Shared {
            servers,
            network,
            clock: ClockHandle(clock),
            queue: Mutex::new(queue.collect()),
            agents: agents.into_iter().map(member).collect(),
            record: Mutex::default(),
            calls: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let line = |number: usize| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.work(number))
        };
        let lines = (0..LINES).map(line).collect();
        Self { shared, lines }
    }

    /// What was seen and said so far.
    pub fn record(&self) -> Record {
        lock(&self.shared.record).clone()
    }

    /// Agents whose last answered check-in was not sent after `since`, those that are down
    /// included.
    pub fn unheard_since(&self, since: Instant) -> usize {
        let unheard = |member: &&Mutex<Member>| lock(member).heard.is_none_or(|at| at <= since);
        self.shared.agents.iter().filter(unheard).count()
    }

    /// Agents with something to tell that is not known to have arrived.
    pub fn untold(&self) -> usize {
        let untold = |member: &&Mutex<Member>| {
            let member = lock(member);
            member.is_down || !member.agent.outbox().is_empty()
        };
        self.shared.agents.iter().filter(untold).count()
    }

    /// Lets all agents check in soon. Whose turn is near keeps it, as those that are down do.
    pub fn hurry(&self) {
        let now = Instant::now();
        let mut queue = lock(&self.shared.queue);
        let sooner = queue.drain().map(|Reverse((at, number))| {
            let at = if at > now + Duration::from_secs(5) {
                now
            } else {
                at
            };
            Reverse((at, number))
        });
        let sooner: BinaryHeap<_> = sooner.collect();
        *queue = sooner;
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for line in self.lines.drain(..) {
            // A line that panicked has said why.
            let _ = line.join();
        }
    }
}

impl Shared {
    fn work(&self, number: usize) {
        let line = Line::default();
        let mut rng = Rng::with_seed(number as u64);
        while !self.stop.load(Ordering::Relaxed) {
            let Some(agent) = self.due() else {
                std::thread::sleep(IDLE);
                continue;
            };
            let rest = self.turn(&line, &mut rng, agent);
            lock(&self.queue).push(Reverse((Instant::now() + rest, agent)));
        }
    }

    fn due(&self) -> Option<usize> {
        let mut queue = lock(&self.queue);
        let Reverse((at, _)) = queue.peek()?;
        if *at > Instant::now() {
            return None;
        }
        queue.pop().map(|Reverse((_, number))| number)
    }

    /// One call of an agent; says until when it rests.
    fn turn(&self, line: &Line, rng: &mut Rng, number: usize) -> Duration {
        let mut member = lock(&self.agents[number]);
        if std::mem::take(&mut member.is_down) {
            member.agent.come_back(self.now());
        }
        let done = match member.agent.secret().map(str::to_owned) {
            None => self.enrol(line, &mut member.agent),
            Some(secret) => self.check_in(line, rng, number, &mut member, &secret),
        };
        done.unwrap_or_else(|error| self.failed(rng, number, &error))
    }

    fn failed(&self, rng: &mut Rng, number: usize, error: &LineError) -> Duration {
        let mut record = lock(&self.record);
        record.unanswered += 1;
        if let LineError::Refused { .. } = error {
            record.refused.push(format!("agent {number}: {error}"));
        }
        millis(rng, RETRY_MILLIS)
    }

    fn enrol(&self, line: &Line, agent: &mut Agent) -> Result<Duration, LineError> {
        let token = &agent.identity().token;
        let answer = line.enrol(self.server(), token, &agent.enrolment())?;
        agent.enrolled(answer.machine_secret);
        lock(&self.record).enrolled += 1;
        Ok(Duration::ZERO)
    }

    fn check_in(
        &self,
        line: &Line,
        rng: &mut Rng,
        number: usize,
        member: &mut Member,
        secret: &str,
    ) -> Result<Duration, LineError> {
        let in_order = rng.f64() >= self.network.out_of_order;
        let request = member.agent.check_in(in_order);
        self.note_sent(number, member, &request, in_order);
        let asked = Instant::now();
        if rng.f64() < self.network.twice {
            // Its answer is lost, whatever it says.
            line.check_in(self.server(), secret, &request)?;
            lock(&self.record).repeated += 1;
        }
        let answer = line.check_in(self.server(), secret, &request)?;
        member.heard = Some(asked);
        self.note_answer(number, &request, &answer, asked);
        let next = member.agent.answered(&request, &answer, self.now());
        Ok(self.rest(rng, number, member, next, &answer))
    }

    fn rest(
        &self,
        rng: &mut Rng,
        number: usize,
        member: &mut Member,
        next: Next,
        answer: &CheckInResponse,
    ) -> Duration {
        match next {
            Next::Rest => {
                let wanted = Duration::from_secs(answer.next_check_in_secs);
                wanted.mul_f64(0.8 + 0.4 * rng.f64())
            }
            Next::Tell => millis(rng, TELL_MILLIS),
            Next::Down => {
                member.is_down = true;
                lock(&self.record).went_down.push(number);
                millis(rng, DOWN_MILLIS)
            }
        }
    }

    fn note_sent(&self, number: usize, member: &Member, request: &CheckInRequest, in_order: bool) {
        let mut record = lock(&self.record);
        if !in_order && !request.events.known.is_empty() {
            record.out_of_order += 1;
        }
        for event in &request.events.known {
            if let EventKind::Restarted { clean: false, .. } = event.kind {
                record.crashes.entry(event.id).or_insert(ToldCrash {
                    agent: number,
                    account: member.agent.identity().account,
                    sent: self.now(),
                    answered: None,
                });
            }
        }
    }

    fn note_answer(
        &self,
        number: usize,
        request: &CheckInRequest,
        answer: &CheckInResponse,
        asked: Instant,
    ) {
        let now = self.now();
        let mut record = lock(&self.record);
        record.check_ins += 1;
        if let Offer::Version { version } = answer.offer {
            record.offers.push(Offered {
                agent: number,
                version,
                asked,
            });
        }
        for event in &request.events.known {
            if let Some(crash) = record.crashes.get_mut(&event.id) {
                crash.answered.get_or_insert(now);
            }
        }
    }

    /// The servers in turn.
    fn server(&self) -> &str {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        &self.servers[call % self.servers.len()]
    }

    fn now(&self) -> Timestamp {
        self.clock.0.now()
    }
}

fn millis(rng: &mut Rng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.u64(range))
}
