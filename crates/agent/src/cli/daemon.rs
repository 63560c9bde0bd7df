//! `livepatch daemon`.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

use crate::clock::SystemClock;
use crate::config;
use crate::daemon;
use crate::engine::Engine;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::paths::Paths;
use crate::privileged::{self, RemoteKernel};
use crate::sandbox;

/// Time for blocking work, such as a download, to notice that the daemon ends.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Be the part without rights; the part with rights starts it with a socket for its input.
    #[arg(long, hide = true)]
    unprivileged: bool,
}

pub fn run(paths: Paths, args: &Args) -> Result<ExitCode, Failure> {
    if !args.unprivileged {
        return privileged::run(&paths);
    }
    let socket = std::io::stdin().as_fd().try_clone_to_owned();
    let socket = socket
        .map_err(|error| Failure::new("the daemon has no keeper").because(error.to_string()))?;
    let confinement = sandbox::confine_daemon(&paths)?;
    let settings = config::load(&paths)?;
    start_log(settings.log_level);
    info!("confined: {confinement}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start the daemon").because(error.to_string()))?;
    let result = runtime.block_on(async {
        let stop = stop_signal()?;
        let kernel = Arc::new(RemoteKernel::new(socket));
        let clock = Arc::new(SystemClock);
        let engine = Engine::open(paths.clone(), kernel, clock)?;
        daemon::run(&paths, Arc::new(engine), stop).await
    });
    runtime.shutdown_timeout(LAST_PATIENCE);
    result.map(|()| ExitCode::Success)
}

/// The service manager's log adds the time. A log that goes away is no reason to die: without
/// `log_internal_errors(false)` it would be one.
fn start_log(level: config::LogLevel) {
    let filter = EnvFilter::new(format!("warn,suture_agent={}", level.as_str()));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(false)
        .without_time()
        .log_internal_errors(false)
        .init();
}

fn stop_signal() -> Result<impl Future<Output = ()>, Failure> {
    let cannot = |error: std::io::Error| {
        Failure::new("cannot listen for signals").because(error.to_string())
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
