//! The daemon: serves the socket, checks in from time to time, stops when it is told to.

use std::fs::File;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FlockOperation;
use rustix::rand::GetRandomFlags;
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
    tokio::select! {
        () = listener.serve(engine.clone()) => {}
        () = keep_patched(paths, &engine) => {}
        () = stop => {}
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    info!("stopping; live patches stay in force");
    engine.stop(STOP_PATIENCE).await;
    Ok(())
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
async fn keep_patched(paths: &Paths, engine: &Engine) {
    if let Err(failure) = engine.apply_from_cache().await {
        warn!("nothing is applied from the cache: {}", failure.one_line());
    }
    let mut next = Instant::now() + schedule::first_check(random());
    loop {
        if Instant::now() >= next {
            next = Instant::now() + check(paths, engine).await;
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
