//! What is published now, read again as soon as it changes.

mod card;
mod list;
mod manifest;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use suture_protocol::TargetKind;
use suture_repository::{Catalogue, Layout};
use suture_rollout::Published;
use tokio::sync::{Mutex, RwLock};
use tracing::{info, warn};

use crate::ServerError;
use crate::error::chain;

pub use card::{FixLine, PatchCard};
pub use list::{MAX_PIECE, PatchInFull, PatchList, PatchQuery, Piece};

/// How long the folder is taken for what it was when somebody looked: many ask at the same moment.
const LOOKED: Duration = Duration::from_millis(1);

/// The repository's content, as of its last change.
pub struct Patches {
    layout: Layout,
    current: RwLock<Arc<Snapshot>>,
    begun: Instant,
    /// Microseconds after the beginning until which nobody looks again.
    looked_until: AtomicU64,
    /// Held while the repository is read again, so that one request does it for all.
    reloading: Mutex<()>,
}

/// The content at one moment.
pub struct Snapshot {
    pub catalogue: Catalogue,
    /// The live patches, as far as the choice for a machine needs them.
    pub published: Arc<[Published]>,
    /// The same for people.
    pub list: PatchList,
}

impl Snapshot {
    async fn load(dir: &Path) -> Result<Self, suture_repository::RepositoryError> {
        let catalogue = Catalogue::load(dir, None).await?;
        let modules = catalogue.targets().iter();
        let published = modules
            .filter(|target| target.name.kind == TargetKind::Module)
            .map(|target| Published {
                kernel: target.name.kernel.clone(),
                version: target.name.version,
            })
            .collect();
        Ok(Self {
            list: PatchList::new(&catalogue),
            catalogue,
            published,
        })
    }

    /// A piece of the list, read off the threads that serve.
    pub async fn piece(self: &Arc<Self>, query: PatchQuery) -> Piece {
        let work = move |snapshot: &Self| snapshot.list.piece(&snapshot.catalogue, &query);
        self.read(work).await.unwrap_or_default()
    }

    /// The patch with this name, read off the threads that serve.
    pub async fn in_full(self: &Arc<Self>, name: String) -> Option<PatchInFull> {
        let work = move |snapshot: &Self| PatchInFull::read(&snapshot.catalogue, &name);
        self.read(work).await.flatten()
    }

    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let snapshot = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&snapshot)).await;
        done.inspect_err(|error| warn!("cannot read the live patches: {error}"))
            .ok()
    }
}

impl Patches {
    pub async fn load(dir: &Path) -> Result<Self, ServerError> {
        let snapshot = Snapshot::load(dir)
            .await
            .map_err(|source| ServerError::Repository {
                path: dir.into(),
                source,
            })?;
        Ok(Self {
            layout: Layout::new(dir),
            current: RwLock::new(Arc::new(snapshot)),
            begun: Instant::now(),
            looked_until: AtomicU64::new(0),
            reloading: Mutex::new(()),
        })
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The content now; costs a stat(2) every millisecond if nothing is published.
    ///
    /// A repository that can't be read at this moment leaves the last content in force: machines
    /// prove what they fetch by themselves.
    pub async fn current(&self) -> Arc<Snapshot> {
        let known = self.known().await;
        let now = self.begun.elapsed();
        if micros(now) < self.looked_until.load(Ordering::Relaxed) {
            return known;
        }
        if known.catalogue.is_current() {
            self.looked_until
                .store(micros(now + LOOKED), Ordering::Relaxed);
            return known;
        }
        let _one_at_a_time = self.reloading.lock().await;
        let known = self.known().await;
        if known.catalogue.is_current() {
            return known;
        }
        match Snapshot::load(self.layout.dir()).await {
            Ok(snapshot) => self.replace(snapshot).await,
            Err(error) => {
                let cause = chain(&error);
                warn!(error = cause, "cannot read the repository again: {cause}");
                known
            }
        }
    }

    async fn known(&self) -> Arc<Snapshot> {
        Arc::clone(&*self.current.read().await)
    }

    async fn replace(&self, snapshot: Snapshot) -> Arc<Snapshot> {
        let snapshot = Arc::new(snapshot);
        *self.current.write().await = Arc::clone(&snapshot);
        let patches = snapshot.published.len();
        info!(
            patches,
            "the repository changed and holds {patches} live patches"
        );
        snapshot
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
