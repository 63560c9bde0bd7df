//! The host's end of the two lines to the guest: the kernel's console and the requests.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::VmError;
use crate::state::{SharedState, State};
use crate::wire::{Action, Answer, Line, Lines, MAX_ANSWER_LINE, Request, encode_request};

/// Takes the console line by line while the guest runs.
pub type ConsoleSink = Box<dyn FnMut(&str) + Send>;

/// Listens to the console until QEMU closes it.
pub fn follow_console(
    mut stream: UnixStream,
    state: Arc<SharedState>,
    mut sink: Option<ConsoleSink>,
) {
    thread::spawn(move || {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            let mut lines = Vec::new();
            state.change(|state| lines = state.console.push(&buffer[..length]));
            if let Some(sink) = &mut sink {
                lines.iter().for_each(|line| sink(line));
            }
        }
        state.change(|state| state.ended = true);
    });
}

/// Sends requests and waits for their answers; may be used from several threads.
#[derive(Debug)]
pub struct Channel {
    writer: Mutex<UnixStream>,
    state: Arc<SharedState>,
    next_id: AtomicU64,
}

impl Channel {
    pub fn open(stream: UnixStream, state: Arc<SharedState>) -> Result<Self, VmError> {
        let broken = |error| VmError::Io("open the channel to the guest", error);
        let reader = stream.try_clone().map_err(broken)?;
        // A guest that stops reading must not stop the host.
        let limit = Some(Duration::from_secs(60));
        stream.set_write_timeout(limit).map_err(broken)?;
        follow_answers(reader, Arc::clone(&state));
        Ok(Self {
            writer: Mutex::new(stream),
            state,
            next_id: AtomicU64::new(1),
        })
    }

    /// Carries out one action, which the guest must answer within `limit`.
    pub fn ask(&self, action: Action, limit: Duration) -> Result<Answer, VmError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let line = encode_request(&Request { id, action })?;
        let mut before = Epoch::default();
        self.state.change(|state| {
            state.expect(id);
            before = Epoch::of(state);
        });
        let answer = self.send(&line).and_then(|()| self.wait(id, before, limit));
        self.state.change(|state| state.forget(id));
        match answer? {
            Answer::Failed { reason } => Err(VmError::Guest(reason)),
            answer => Ok(answer),
        }
    }

    fn send(&self, line: &[u8]) -> Result<(), VmError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = writer.write_all(line);
        sent.map_err(|error| VmError::Io("write to the guest", error))
    }

    fn wait(&self, id: u64, before: Epoch, limit: Duration) -> Result<Answer, VmError> {
        let deadline = Instant::now() + limit;
        let found = self
            .state
            .wait(deadline, |state| match state.take_answer(id) {
                Some(answer) => Some(Ok(answer)),
                None => before.broken(state).map(Err),
            });
        found.unwrap_or_else(|| Err(no_answer(&self.state, limit)))
    }
}

/// Where in a machine's life something began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epoch {
    boots: u64,
    greetings: u64,
    panics: usize,
    lost_timers: usize,
}

impl Epoch {
    pub fn of(state: &State) -> Self {
        Self {
            boots: state.boots,
            greetings: state.greetings,
            panics: state.console.panics().len(),
            lost_timers: state.console.lost_timers(),
        }
    }

    /// Whether a processor's timer never went off since then.
    pub fn lost_a_timer(self, state: &State) -> bool {
        state.console.lost_timers() > self.lost_timers
    }

    /// From now on, later lost timers count.
    pub fn forget_lost_timers(&mut self, state: &State) {
        self.lost_timers = state.console.lost_timers();
    }

    /// Why nothing that began then can end well any more.
    pub fn broken(self, state: &State) -> Option<VmError> {
        self.crashed(state)
            .or_else(|| (state.greetings > self.greetings).then_some(VmError::Restarted))
    }

    /// Whether the guest panicked, or QEMU ended, since then.
    pub fn crashed(self, state: &State) -> Option<VmError> {
        if let Some(message) = state.console.panics().get(self.panics) {
            return Some(VmError::KernelPanic {
                message: message.clone(),
                console: state.console.tail(),
            });
        }
        self.ended(state)
    }

    /// Whether QEMU ended since then.
    pub fn ended(self, state: &State) -> Option<VmError> {
        state.ended.then(|| VmError::QemuEnded {
            reason: "it closed the console".to_owned(),
            console: state.console.tail(),
        })
    }

    /// Whether the guest has started anew since then and answers.
    pub fn answers_anew(self, state: &State) -> bool {
        state.boots > self.boots
    }
}

/// The error for a deadline that has passed.
pub fn no_answer(state: &SharedState, after: Duration) -> VmError {
    VmError::NoAnswer {
        after,
        console: state.lock().console.tail(),
    }
}

/// A line that is no message is noise that drivers leave on the port while a machine starts.
fn follow_answers(mut stream: UnixStream, state: Arc<SharedState>) {
    thread::spawn(move || {
        let mut lines = Lines::new(MAX_ANSWER_LINE);
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            for line in lines.push(&buffer[..length]) {
                if let Ok(line) = serde_json::from_slice::<Line>(&line) {
                    state.change(|state| take(state, line));
                }
            }
        }
        state.change(|state| state.ended = true);
    });
}

fn take(state: &mut State, line: Line) {
    match line {
        Line::Ready(ready) => {
            // A server that was started anew within the same boot is still the same guest.
            let same = state
                .ready
                .as_ref()
                .is_some_and(|last| last.boot_id == ready.boot_id);
            state.boots += u64::from(!same);
            state.greetings += 1;
            state.ready = Some(ready);
        }
        Line::Answer { id, answer } => state.deliver(id, answer),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};

    use super::*;
    use crate::wire::{Ready, encode};

    const LIMIT: Duration = Duration::from_secs(60);

    fn ready(boot_id: &str) -> Line {
        Line::Ready(Ready {
            boot_id: boot_id.into(),
            kernel_release: "6.1.0-53-amd64".into(),
        })
    }

    /// A channel whose guest does with each request's id as it is told.
    fn channel(
        mut guest: impl FnMut(u64, &mut UnixStream) + Send + 'static,
    ) -> (Channel, Arc<SharedState>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let state = Arc::new(SharedState::default());
        let channel = Channel::open(ours, Arc::clone(&state)).unwrap();
        thread::spawn(move || {
            let mut writer = theirs.try_clone().unwrap();
            for line in BufReader::new(theirs).lines() {
                let request: Request = serde_json::from_str(&line.unwrap()).unwrap();
                guest(request.id, &mut writer);
            }
        });
        (channel, state)
    }

    fn read() -> Action {
        Action::ReadFile {
            path: "/a".into(),
            offset: 0,
        }
    }

    fn answer(id: u64) -> Vec<u8> {
        let answer = Answer::Started {
            pid: u32::try_from(id).unwrap(),
        };
        encode(&Line::Answer { id, answer }).unwrap()
    }

    #[test]
    fn answers_find_their_request_in_any_order_and_through_noise() {
        let mut first = None;
        let (channel, _) = channel(move |id, writer| match first.take() {
            None => first = Some(id),
            Some(earlier) => {
                writer.write_all(b"\xff\0noise\n").unwrap();
                writer.write_all(&answer(id)).unwrap();
                writer.write_all(&answer(earlier)).unwrap();
            }
        });
        thread::scope(|scope| {
            let asked: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| channel.ask(read(), LIMIT)))
                .collect();
            let mut pids: Vec<_> = asked
                .into_iter()
                .map(|asked| match asked.join().unwrap() {
                    Ok(Answer::Started { pid }) => pid,
                    other => panic!("{other:?}"),
                })
                .collect();
            pids.sort_unstable();
            assert_eq!(pids, [1, 2]);
        });
    }

    #[test]
    fn a_panic_ends_a_request_at_once() {
        let (channel, state) = channel(|_, _| {});
        thread::scope(|scope| {
            scope.spawn(|| {
                let deadline = Instant::now() + LIMIT;
                state.wait(deadline, |state| state.is_waiting().then_some(()));
                state.change(|state| {
                    state.console.push(b"Kernel panic - not syncing: hole\n");
                });
            });
            let error = channel.ask(read(), LIMIT).unwrap_err();
            assert!(matches!(error, VmError::KernelPanic { .. }), "{error}");
        });
    }

    #[test]
    fn a_restart_ends_a_request_and_so_does_a_new_server_in_the_same_boot() {
        let (channel, state) = channel(|id, writer| {
            let greeting = ready(if id == 1 { "one" } else { "two" });
            writer.write_all(&encode(&greeting).unwrap()).unwrap();
        });
        state.change(|state| take(state, ready("one")));
        for boots in [1, 2] {
            let error = channel.ask(read(), LIMIT).unwrap_err();
            assert!(matches!(error, VmError::Restarted), "{error}");
            assert_eq!(state.lock().boots, boots);
        }
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let (channel, _) = channel(|_, _| {});
        let error = channel.ask(read(), Duration::from_millis(20)).unwrap_err();
        assert!(matches!(error, VmError::NoAnswer { .. }), "{error}");
    }
}
