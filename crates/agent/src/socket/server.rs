//! The daemon's end.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use suture_advisory::PatchVersion;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::message::{Answer, REQUEST_LIMIT, Request, problems};
use crate::engine::Engine;
use crate::failure::Failure;
use crate::files;
use crate::idle;

/// Time for a caller to send its line, and again to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that are served at a time.
const MOST_CONNECTIONS: usize = 64;
/// Connections of one user, other than root, that are served at a time: nobody keeps others, and
/// least of all root, from the daemon.
const MOST_OF_ONE_USER: usize = 8;

/// A bound socket, which everyone may connect to.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

/// Binds the socket; the caller makes sure that no other daemon runs.
pub fn listen(path: &Path) -> io::Result<Listener> {
    if let Some(directory) = path.parent() {
        files::create_dir(directory, 0o755)?;
    }
    files::if_exists(fs::remove_file(path))?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(Listener {
        listener,
        path: path.to_owned(),
    })
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A leftover would be replaced by the next daemon.
        let _ = fs::remove_file(&self.path);
    }
}

impl Listener {
    /// Serves until it is dropped. A command that was begun is carried through, even if its
    /// caller goes away.
    pub async fn serve(&self, engine: Arc<Engine>) {
        let free = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let callers = Callers::default();
        loop {
            let Ok(permit) = free.clone().acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let Some(caller) = callers.admit(&stream) else {
                        continue;
                    };
                    let engine = engine.clone();
                    tokio::spawn(async move {
                        if let Err(error) = connection(stream, caller.uid, &engine).await {
                            debug!(%error, "a caller went away");
                        }
                        drop((caller, permit));
                        idle::give_memory_back();
                    });
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// How many connections each user has.
#[derive(Debug, Clone, Default)]
struct Callers {
    counts: Arc<Mutex<HashMap<u32, usize>>>,
}

/// One connection of a user, until it is dropped.
#[derive(Debug)]
struct Caller {
    uid: u32,
    callers: Callers,
}

impl Callers {
    /// None: the user has connections enough, or is gone.
    fn admit(&self, stream: &UnixStream) -> Option<Caller> {
        self.enter(stream.peer_cred().ok()?.uid())
    }

    fn enter(&self, uid: u32) -> Option<Caller> {
        let mut counts = self.lock();
        let count = counts.entry(uid).or_default();
        if uid != 0 && *count >= MOST_OF_ONE_USER {
            return None;
        }
        *count += 1;
        let callers = self.clone();
        Some(Caller { uid, callers })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let mut counts = self.callers.lock();
        if let Some(count) = counts.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

async fn connection(stream: UnixStream, caller: u32, engine: &Engine) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    let mut bounded = (&mut stream).take(REQUEST_LIMIT);
    tokio::time::timeout(PATIENCE, bounded.read_until(b'\n', &mut line)).await??;
    let answer = match serde_json::from_slice::<Request>(&line) {
        Ok(request) => answer(request, caller, engine).await,
        // The line itself may hold a token, so it is not repeated.
        Err(_) => failed(
            Failure::new("the request is not one that this daemon knows")
                .hint("is the daemon older than this command? `systemctl restart livepatchd`"),
        ),
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    tokio::time::timeout(PATIENCE, stream.write_all(&bytes)).await??;
    stream.shutdown().await
}

fn failed(failure: Failure) -> Answer {
    Answer::Failed { failure }
}

/// Everyone may ask for the status. All else is for root (or, outside of production, for the
/// user that the daemon itself runs as, who could do the same without it).
fn is_allowed(request: &Request, caller: u32, daemon: u32) -> bool {
    matches!(request, Request::Status) || caller == 0 || caller == daemon
}

async fn answer(request: Request, caller: u32, engine: &Engine) -> Answer {
    if !is_allowed(&request, caller, rustix::process::geteuid().as_raw()) {
        return failed(Failure::new("only root may do this").hint("try it with `sudo`"));
    }
    let answer = match request {
        Request::Status => status(engine).await,
        Request::Enable { token } => enable(engine, &token).await,
        Request::Disable => disable(engine).await,
        Request::Refresh { retry_quarantined } => refresh(engine, retry_quarantined).await,
        Request::Lift { version } => engine
            .lift(version)
            .await
            .map(|versions| Answer::Lifted { versions }),
        Request::Load { folder, version } => load(engine, &folder, version).await,
        Request::Reread => {
            engine.wake();
            Ok(Answer::Reread)
        }
    };
    answer.unwrap_or_else(failed)
}

async fn status(engine: &Engine) -> Result<Answer, Failure> {
    Ok(Answer::Status {
        report: engine.report().await?.into(),
    })
}

async fn enable(engine: &Engine, token: &str) -> Result<Answer, Failure> {
    let refreshed = engine.enable(token).await?;
    let report = engine.report().await?.into();
    Ok(Answer::Enabled {
        report,
        problems: problems(refreshed),
    })
}

async fn disable(engine: &Engine) -> Result<Answer, Failure> {
    Ok(Answer::Disabled {
        in_force: engine.disable().await?,
    })
}

async fn refresh(engine: &Engine, retry_quarantined: bool) -> Result<Answer, Failure> {
    let before = engine.report().await?.into();
    let refreshed = engine.refresh(retry_quarantined).await?;
    let after = engine.report().await?.into();
    Ok(Answer::Refreshed {
        before,
        after,
        problems: problems(refreshed),
    })
}

async fn load(
    engine: &Engine,
    folder: &Path,
    version: Option<PatchVersion>,
) -> Result<Answer, Failure> {
    let before = engine.report().await?.into();
    let loaded = engine.load_from(folder, version).await;
    let after = engine.report().await?.into();
    Ok(Answer::Refreshed {
        before,
        after,
        problems: loaded.err().into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_user_keeps_others_out_and_root_always_gets_in() {
        let callers = Callers::default();
        let mut one: Vec<_> = (0..MOST_OF_ONE_USER).map(|_| callers.enter(1000)).collect();
        assert!(one.iter().all(Option::is_some));
        assert!(callers.enter(1000).is_none());
        assert!(callers.enter(1001).is_some());
        let root: Vec<_> = (0..2 * MOST_OF_ONE_USER)
            .map(|_| callers.enter(0))
            .collect();
        assert!(root.iter().all(Option::is_some));
        one.pop();
        let back = callers.enter(1000);
        assert!(back.is_some());
        drop((one, root, back));
        assert!(callers.lock().is_empty());
    }

    #[test]
    fn everyone_may_look_and_only_root_may_act() {
        let acts = [
            Request::Enable {
                token: "t".to_owned(),
            },
            Request::Disable,
            Request::Refresh {
                retry_quarantined: false,
            },
            Request::Lift { version: None },
            Request::Load {
                folder: "/x".into(),
                version: None,
            },
            Request::Reread,
        ];
        assert!(is_allowed(&Request::Status, 1000, 0));
        for act in acts {
            assert!(is_allowed(&act, 0, 0));
            assert!(!is_allowed(&act, 1000, 0));
        }
    }
}
