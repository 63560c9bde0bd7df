//! The daemon: serves the socket, checks in from time to time, stops when it is told to.

use std::convert::Infallible;
use std::fs::{File, Permissions};
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::rand::GetRandomFlags;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};

use crate::config;
use crate::engine::{Engine, Refreshed};
use crate::failure::Failure;
use crate::files;
use crate::idle;
use crate::kernel_log::KernelLog;
use crate::mode::Mode;
use crate::paths::Paths;
use crate::schedule;
use crate::socket;
use crate::status;

/// Between two looks at a patch that settles or is in transition.
const WATCH: Duration = Duration::from_secs(15);
/// While there is nothing to check, nothing wakes the daemon but a command. (A year: tokio wants
/// a time.)
const IDLE: Duration = Duration::from_secs(365 * 86_400);
/// How long a started agent waits for the server's word, its turn included, before it applies
/// what it has.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long a stop waits for the kernel's answer about a module.
const STOP_PATIENCE: Duration = Duration::from_secs(20);

/// Runs until `stop` is ready.
pub async fn run(
    paths: &Paths,
    engine: Arc<Engine>,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let _lock = lock(paths)?;
    engine.recover()?;
    let socket = paths.socket();
    let listener = socket::listen(&socket).map_err(|error| {
        Failure::new(format!("cannot listen at `{}`", socket.display())).because(error.to_string())
    })?;
    // Without a service manager there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    info!("listening at {}", socket.display());
    // Before anything is loaded: what was printed so far is not a new patch's doing.
    let mut kernel_log = open_kernel_log(&engine);
    // A task of its own: a stop must not cut it off while the kernel loads a module, or nobody
    // would note the kernel's answer in the journal.
    let work = tokio::spawn(keep_patched(paths.clone(), engine.clone()));
    let ended = tokio::select! {
        () = listener.serve(engine.clone()) => Err(Failure::new("the socket is closed")),
        result = work => Err(loop_ended(result)),
        never = follow(kernel_log.as_mut(), &engine) => match never {},
        () = stop => Ok(()),
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    info!("stopping; live patches stay in force");
    engine.stop(STOP_PATIENCE).await;
    if ended.is_ok() {
        engine.note_regular_stop();
    }
    ended
}

/// The kernel's log with what is in it already heard. A machine that does not let its agent read
/// it is protected all the same.
fn open_kernel_log(engine: &Engine) -> Option<KernelLog> {
    let opened = engine.kernel_log().and_then(|mut log| {
        log.backlog(&mut |trouble| engine.hear(trouble))?;
        Ok(log)
    });
    opened.inspect_err(blind).ok()
}

fn blind(error: &std::io::Error) {
    warn!(%error, "the kernel's log cannot be read; its trouble is not told to the server");
}

/// Never ends; without the log there is nothing to follow.
async fn follow(log: Option<&mut KernelLog>, engine: &Engine) -> Infallible {
    if let Some(log) = log {
        blind(&log.follow(&mut |trouble| engine.hear(trouble)).await);
    }
    std::future::pending().await
}

/// A daemon that no longer checks in must not look as if it had been stopped: the service manager
/// starts it anew after a failure alone.
fn loop_ended(result: Result<(), JoinError>) -> Failure {
    let failure = Failure::new("the check-in loop ended by itself");
    match result {
        Ok(()) => failure,
        Err(error) => failure.because(error.to_string()),
    }
}

/// One daemon at a time, or two of them could load the same patch.
fn lock(paths: &Paths) -> Result<File, Failure> {
    let path = paths.state_dir().join("lock");
    let cannot = |error: std::io::Error| {
        Failure::new(format!("cannot lock `{}`", path.display())).because(error.to_string())
    };
    let file = File::create(&path).map_err(cannot)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(Failure::new("the daemon runs already")
                .hint("`systemctl status livepatchd` shows it"))
        }
        Err(error) => Err(cannot(error.into())),
    }
}

/// The server first, and the cache where it does not answer; then the server, again and again.
async fn keep_patched(paths: Paths, engine: Arc<Engine>) {
    let mut next = Instant::now() + start(&paths, &engine).await;
    let mut early = Early::default();
    while !engine.is_stopping() {
        if Instant::now() >= next {
            next = Instant::now() + check(&paths, &engine).await;
            // One check-in carries so many events and no more.
            if engine.has_untold_harm() && engine.failed_checks() == 0 {
                next = early.bring_forward(next);
            }
        }
        if let Err(failure) = engine.watch() {
            warn!("cannot follow the patch: {}", failure.one_line());
        }
        write_login_message(&paths, &engine).await;
        idle::give_memory_back();
        let look = if engine.has_to_watch() {
            next.min(Instant::now() + WATCH)
        } else {
            next
        };
        tokio::select! {
            () = sleep_until(look) => {}
            // The machine was enabled or disabled, or a setting was changed.
            () = engine.woken() => next = replanned(&paths, &engine, next),
            () = engine.harm_noted() => if engine.has_untold_harm() {
                next = early.bring_forward(next);
            }
        }
    }
}

/// The next check-in after a change of what it depends on: no later than a new interval says.
fn replanned(paths: &Paths, engine: &Engine, next: Instant) -> Instant {
    let now = Instant::now();
    match interval(paths, engine) {
        None => now + IDLE,
        Some(interval) => next.min(now + schedule::next_check(interval, None, random())),
    }
}

/// Brings check-ins forward, not too often.
#[derive(Debug, Default)]
struct Early {
    /// The last check-in that was brought forward, done or to come.
    last: Option<Instant>,
}

impl Early {
    fn bring_forward(&mut self, next: Instant) -> Instant {
        let now = Instant::now();
        let since_last = self.last.map(|last| now.saturating_duration_since(last));
        let early = now + schedule::early_check(since_last, random());
        if early >= next {
            return next;
        }
        self.last = Some(early);
        early
    }
}

/// The interval of check-ins, if there are any.
fn interval(paths: &Paths, engine: &Engine) -> Option<Duration> {
    let interval = match config::load(paths) {
        Ok(settings) => settings.check_interval,
        Err(failure) => {
            warn!("the configuration cannot be used: {}", failure.one_line());
            None
        }
    };
    interval.filter(|_| engine.is_enabled())
}

/// The first round, and how long to wait until the next.
async fn start(paths: &Paths, engine: &Engine) -> Duration {
    let interval = interval(paths, engine);
    let brake = engine.brake();
    if brake.mode != Mode::Normal {
        warn!("a brake is on: {brake}; {}", brake.hint());
    }
    let Some(interval) = interval.filter(|_| brake.mode.may_check()) else {
        if let Err(failure) = engine.apply_from_cache().await {
            warn!("nothing is applied from the cache: {}", failure.one_line());
        }
        return interval.unwrap_or(IDLE);
    };
    let turn = schedule::first_check(random());
    sleep(turn).await;
    if engine.is_stopping() {
        return IDLE;
    }
    let patience = START_PATIENCE.saturating_sub(turn);
    after_round(engine, interval, engine.start(patience).await)
}

/// Checks in, and tells how long to wait until the next time.
async fn check(paths: &Paths, engine: &Engine) -> Duration {
    match interval(paths, engine) {
        // It may be released by then.
        Some(interval) if !engine.brake().mode.may_check() => interval,
        Some(interval) => after_round(engine, interval, engine.refresh_on_time().await),
        None => IDLE,
    }
}

/// Keeps what logins and the node exporter are told in files, so that none has to ask and wait.
async fn write_login_message(paths: &Paths, engine: &Engine) {
    let Ok(report) = engine.report().await else {
        return;
    };
    let message = status::login_message(&report).unwrap_or_default();
    show(&paths.login_message(), &message);
    show(&paths.metrics(), &status::metrics(&report));
}

/// Leaves a text for others' programs to find.
fn show(path: &Path, text: &str) {
    if files::read_text(path, 4096).is_ok_and(|before| before == text) {
        return;
    }
    let written = files::write_atomic(path, text.as_bytes(), 0o644)
        // The unit's umask keeps it from everyone otherwise.
        .and_then(|()| std::fs::set_permissions(path, Permissions::from_mode(0o644)));
    if let Err(error) = written {
        warn!(%error, "cannot write `{}`", path.display());
    }
}

/// Logs what did not go well, and tells how long to wait until the next round.
fn after_round(engine: &Engine, interval: Duration, round: Result<Refreshed, Failure>) -> Duration {
    let refreshed = match round {
        Ok(refreshed) => refreshed,
        Err(failure) => {
            warn!("{}", failure.one_line());
            return schedule::retry(interval, 1, random());
        }
    };
    let failures = [&refreshed.check, &refreshed.patch];
    for failure in failures
        .into_iter()
        .filter_map(|result| result.as_ref().err())
    {
        warn!("{}", failure.one_line());
    }
    match refreshed.check {
        Ok(()) => schedule::next_check(interval, refreshed.next_check_in, random()),
        Err(_) => schedule::retry(interval, engine.failed_checks(), random()),
    }
}

/// A random number; without the kernel's randomness, which no running system lacks, the fleet
/// is spread by its start times alone.
fn random() -> u64 {
    let mut bytes = [0; 8];
    match rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty()) {
        Ok(8) => u64::from_ne_bytes(bytes),
        _ => u64::MAX / 2,
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::socket::{Answer, Request};
    use crate::status::PatchState;
    use crate::testing::{Machine, Service, TOKEN, version};

    /// A daemon that runs in this test.
    struct Daemon {
        stop: oneshot::Sender<()>,
        task: JoinHandle<Result<(), Failure>>,
    }

    impl Daemon {
        async fn start(machine: &Machine) -> Self {
            let (stop, stopped) = oneshot::channel::<()>();
            let (paths, engine) = (machine.tree.paths(), machine.engine.clone());
            let stopped = async {
                let _ = stopped.await;
            };
            let task = tokio::spawn(async move { run(&paths, engine, stopped).await });
            while !machine.tree.paths().socket().exists() && !task.is_finished() {
                tokio::task::yield_now().await;
            }
            Self { stop, task }
        }

        async fn stop(self) {
            self.stop.send(()).unwrap();
            self.task.await.unwrap().unwrap();
        }
    }

    async fn call(machine: &Machine, request: Request) -> Result<Answer, Failure> {
        let socket = machine.tree.paths().socket();
        let patience = Duration::from_secs(20);
        tokio::task::spawn_blocking(move || socket::call(&socket, &request, patience))
            .await
            .unwrap()
    }

    async fn status(machine: &Machine) -> PatchState {
        match call(machine, Request::Status).await.unwrap() {
            Answer::Status { report } => report.patch,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_command_goes_over_the_socket_and_comes_back() {
        let service = Service::start().await;
        let machine = Machine::new(&service);
        let daemon = Daemon::start(&machine).await;
        assert_eq!(status(&machine).await, PatchState::NotChecked);
        let failure = call(
            &machine,
            Request::Refresh {
                retry_quarantined: false,
            },
        )
        .await;
        assert_eq!(failure.unwrap_err().message, "this machine is not enabled");
        service.offer("104.1").await;
        let enable = Request::Enable {
            token: TOKEN.to_owned(),
        };
        let Answer::Enabled { report, problems } = call(&machine, enable).await.unwrap() else {
            panic!("another answer");
        };
        assert_eq!(problems, []);
        assert_eq!(
            report.patch,
            PatchState::Applied {
                version: version("104.1")
            }
        );
        let disabled = call(&machine, Request::Disable).await.unwrap();
        assert_eq!(
            disabled,
            Answer::Disabled {
                in_force: Some(version("104.1"))
            }
        );
        daemon.stop().await;
        assert!(!machine.tree.paths().socket().exists());
        let failure = call(&machine, Request::Status).await.unwrap_err();
        assert_eq!(failure.message, "the livepatch daemon is not running");
        assert_eq!(
            failure.hint.unwrap(),
            "start it: `systemctl start livepatchd`"
        );
    }

    #[tokio::test]
    async fn a_started_daemon_asks_the_server_and_applies_what_it_says() {
        let service = Service::start().await;
        let machine = Machine::with_patch(&service, "104.1").await.reboot();
        let before = service.desk().check_ins.len();
        let daemon = Daemon::start(&machine).await;
        let all = async {
            while service.desk().check_ins.len() == before {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), all)
            .await
            .unwrap();
        let asked = |n: usize| service.desk().check_ins.get(n).map(|it| it.applied);
        assert_eq!(asked(before), Some(None), "it asked before it applied");
        while asked(before + 1).is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(asked(before + 1), Some(Some(version("104.1"))));
        assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
        daemon.stop().await;
    }

    #[tokio::test]
    async fn trouble_in_the_kernel_is_told_within_seconds() {
        use rustix::fs::{CWD, FileType, Mode};
        use std::io::Write;
        let service = Service::start().await;
        let machine = Machine::with_patch(&service, "104.1").await;
        let path = machine.tree.paths().kernel_log();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let open = File::options().read(true).write(true).open(&path);
        let mut kernel_log = open.unwrap();
        let before = service.desk().check_ins.len();
        let daemon = Daemon::start(&machine).await;
        while service.desk().check_ins.len() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let warning = "4,9,9,-;WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2 [suture_104_1]\n\
                       4,10,10,-;---[ end trace 0000000000000000 ]---\n";
        kernel_log.write_all(warning.as_bytes()).unwrap();
        let told = async {
            while !service
                .happened()
                .iter()
                .any(|it| it.as_str() == "kernel-trouble")
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), told)
            .await
            .unwrap();
        daemon.stop().await;
    }

    #[tokio::test]
    async fn a_stop_in_the_middle_of_a_load_waits_for_the_kernel_and_blames_nothing() {
        let service = Service::start().await;
        let machine = Machine::with_patch(&service, "104.1").await.reboot();
        let gate = machine.kernel.hold();
        let daemon = Daemon::start(&machine).await;
        while machine.kernel.loads().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let stopped = tokio::spawn(daemon.stop());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!stopped.is_finished(), "it waits for the kernel");
        drop(gate);
        stopped.await.unwrap();
        let machine = machine.reboot();
        machine.engine.recover().unwrap();
        assert!(machine.engine.report().await.unwrap().quarantine.is_empty());
        machine.engine.apply_from_cache().await.unwrap();
        assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
    }

    #[tokio::test]
    async fn a_loop_that_breaks_down_ends_the_daemon_with_a_failure() {
        /// It breaks down once, at the loop's first look at it.
        #[derive(Debug, Default)]
        struct BrokenClock(std::sync::atomic::AtomicBool);
        impl crate::clock::Clock for BrokenClock {
            fn now(&self) -> jiff::Timestamp {
                let broke_before = self.0.swap(true, std::sync::atomic::Ordering::SeqCst);
                assert!(broke_before, "the clock is broken");
                crate::testing::time(0)
            }
        }
        let tree = Arc::new(crate::testing::FakeTree::new());
        let kernel = Arc::new(crate::testing::FakeKernel::new(tree.clone()));
        let clock = Arc::new(BrokenClock::default());
        let engine = Engine::open(tree.paths(), kernel, clock).unwrap();
        let ended = run(&tree.paths(), Arc::new(engine), std::future::pending()).await;
        let failure = ended.unwrap_err().one_line();
        assert!(
            failure.starts_with("the check-in loop ended by itself: "),
            "{failure}"
        );
    }

    #[tokio::test]
    async fn a_login_finds_its_message_in_a_file() {
        let service = Service::start().await;
        let machine = Machine::with_patch(&service, "104.1").await;
        service.desk().offer = suture_rollout::Offer::NotCovered;
        let path = machine.tree.paths().login_message();
        let daemon = Daemon::start(&machine).await;
        let told = async {
            while !std::fs::read_to_string(&path).is_ok_and(|it| it.contains("have ended")) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), told)
            .await
            .unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        daemon.stop().await;
    }

    #[tokio::test]
    async fn two_daemons_never_run_on_one_machine() {
        let service = Service::start().await;
        let machine = Machine::new(&service);
        let daemon = Daemon::start(&machine).await;
        let paths = machine.tree.paths();
        let second = run(&paths, machine.engine.clone(), std::future::pending());
        assert_eq!(second.await.unwrap_err().message, "the daemon runs already");
        assert_eq!(
            status(&machine).await,
            PatchState::NotChecked,
            "the first one still serves"
        );
        daemon.stop().await;
    }

    #[tokio::test]
    async fn a_line_that_is_no_request_gets_an_answer_without_its_content() {
        use std::io::{Read, Write};
        let service = Service::start().await;
        let machine = Machine::new(&service);
        let daemon = Daemon::start(&machine).await;
        let socket = machine.tree.paths().socket();
        let send = move |bytes: Vec<u8>| {
            let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
            // The daemon stops reading at its limit and may close before all is sent.
            let _ = stream.write_all(&bytes);
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer);
            answer
        };
        let short = send.clone();
        let answer = tokio::task::spawn_blocking(move || short(b"secret-token\n".to_vec()));
        let answer = answer.await.unwrap();
        assert!(
            answer.contains("not one that this daemon knows"),
            "{answer}"
        );
        assert!(!answer.contains("secret-token"));
        tokio::task::spawn_blocking(move || send(vec![b'x'; 1 << 20]))
            .await
            .unwrap();
        assert_eq!(
            status(&machine).await,
            PatchState::NotChecked,
            "it still serves"
        );
        daemon.stop().await;
    }
}
