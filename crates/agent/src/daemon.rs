//! The daemon: serves the socket, checks in from time to time, stops when it is told to.

use std::fs::File;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::rand::GetRandomFlags;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::config;
use crate::engine::Engine;
use crate::failure::Failure;
use crate::paths::Paths;
use crate::schedule;
use crate::socket;

/// Between two looks at a patch that settles or is in transition.
const WATCH: Duration = Duration::from_secs(15);
/// Between two looks at the configuration, while there is nothing to check.
const IDLE: Duration = Duration::from_secs(60);
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
    // A task of its own: a stop must not cut it off while the kernel loads a module, or nobody
    // would note the kernel's answer in the journal.
    let work = tokio::spawn(keep_patched(paths.clone(), engine.clone()));
    let ended = tokio::select! {
        () = listener.serve(engine.clone()) => Err(Failure::new("the socket is closed")),
        result = work => Err(loop_ended(result)),
        () = stop => Ok(()),
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    info!("stopping; live patches stay in force");
    engine.stop(STOP_PATIENCE).await;
    ended
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

/// The cache first, which needs no network; then the server, again and again.
async fn keep_patched(paths: Paths, engine: Arc<Engine>) {
    if let Err(failure) = engine.apply_from_cache().await {
        warn!("nothing is applied from the cache: {}", failure.one_line());
    }
    let mut next = Instant::now() + schedule::first_check(random());
    while !engine.is_stopping() {
        if Instant::now() >= next {
            next = Instant::now() + check(&paths, &engine).await;
        }
        if let Err(failure) = engine.watch() {
            warn!("cannot follow the patch: {}", failure.one_line());
        }
        sleep_until(next.min(Instant::now() + WATCH)).await;
    }
}

/// Checks in, and tells how long to wait until the next time.
async fn check(paths: &Paths, engine: &Engine) -> Duration {
    let interval = match config::load(paths) {
        Ok(settings) => settings.check_interval,
        Err(failure) => {
            warn!("the configuration cannot be used: {}", failure.one_line());
            None
        }
    };
    let Some(interval) = interval.filter(|_| engine.is_enabled()) else {
        return IDLE;
    };
    match engine.refresh(false).await {
        Ok(refreshed) => {
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
        Err(failure) => {
            warn!("{}", failure.one_line());
            schedule::retry(interval, 1, random())
        }
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
    async fn a_started_daemon_applies_its_cache_and_checks_in_by_itself() {
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
        let first = service.desk().check_ins[before].clone();
        assert_eq!(
            first.applied,
            Some(version("104.1")),
            "patched before it asked"
        );
        assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
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
        let patience = Duration::from_secs(1);
        let engine = Engine::open(
            tree.paths(),
            kernel,
            Arc::new(BrokenClock::default()),
            patience,
        )
        .unwrap();
        let ended = run(&tree.paths(), Arc::new(engine), std::future::pending()).await;
        let failure = ended.unwrap_err().one_line();
        assert!(
            failure.starts_with("the check-in loop ended by itself: "),
            "{failure}"
        );
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
