//! The executor: reads, asks the deciding code, records.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use suture_kernel::KernelBuild;
use suture_rollout::{Phase, Plan, Published, RolloutId, Scope};
use suture_store::{Actor, Clock, Job, NewRollout, Rollout, ServerId, Store, StoreError};
use tokio::sync::{Mutex, Notify, RwLock, broadcast};
use tokio::time::Instant;
use tracing::{info, warn};

use super::lease::{Lease, RENEWAL, Turn};
use super::look::{is_looked_at, look};
use super::missing::{Existing, missing};
use crate::error::chain;
use crate::patches::{Patches, Snapshot};
use crate::{ServerConfig, ServerError};

/// Between two looks, however often it is woken: each counts the machines of the fleet.
const LEAST_PAUSE: Duration = Duration::from_secs(5);

/// Messages that wait for a slow reader of [`Executor::changes`].
const CHANGES_KEPT: usize = 64;

/// Makes rollouts of what is published and looks at them. Of several servers on one database one
/// looks, as long as it renews its lease; and should two look all the same, the store keeps one of
/// the looks. A look that fails is logged and done again with the next.
pub struct Executor {
    store: Arc<dyn Store>,
    server: ServerId,
    clock: Arc<dyn Clock>,
    patches: Arc<Patches>,
    changes: broadcast::Sender<RolloutId>,
    default_plan: Option<Plan>,
    pause: Duration,
    woken: Notify,
    /// One at a time in this process.
    looking: Mutex<()>,
    ensured: RwLock<Option<Ensured>>,
}

/// The content of the repository that has its rollouts.
struct Ensured {
    snapshot: Arc<Snapshot>,
    /// Scopes that no machine was there for. Their rollouts are made when the first one asks:
    /// an early group that is drawn from nobody would keep everybody waiting.
    waiting: Vec<Scope>,
}

impl Ensured {
    fn is_for(&self, snapshot: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.snapshot, snapshot)
    }

    fn waits_for(&self, kernel: &KernelBuild) -> bool {
        let published = &self.snapshot.published;
        self.waiting
            .iter()
            .any(|scope| is_about(scope, kernel, published))
    }
}

/// Whether a scope brings something to machines with this kernel build.
fn is_about(scope: &Scope, kernel: &KernelBuild, published: &[Published]) -> bool {
    let of_kernel = |patch: &&Published| patch.kernel == *kernel;
    published
        .iter()
        .filter(of_kernel)
        .any(|patch| scope.covers(patch.version, kernel))
}

impl Executor {
    /// An executor for a repository and a store, that does nothing by itself yet.
    pub async fn open(
        config: &ServerConfig,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, ServerError> {
        let patches = Arc::new(Patches::load(&config.repository).await?);
        Ok(Arc::new(Self {
            store,
            server: ServerId::random(),
            clock,
            patches,
            changes: broadcast::Sender::new(CHANGES_KEPT),
            default_plan: config.default_plan.clone(),
            pause: Duration::from_secs(config.look_interval_secs).max(LEAST_PAUSE),
            woken: Notify::new(),
            looking: Mutex::new(()),
            ensured: RwLock::new(None),
        }))
    }

    pub(crate) fn patches(&self) -> &Arc<Patches> {
        &self.patches
    }

    /// Where the ids of rollouts are told that changed.
    pub fn changes(&self) -> &broadcast::Sender<RolloutId> {
        &self.changes
    }

    /// Looks soon: something was told that may matter.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Looks again and again while it is this server's turn, until it is dropped.
    pub async fn run(self: Arc<Self>) {
        let mut lease = Lease::new(Arc::clone(&self.store), self.server);
        let mut told = HashMap::new();
        let (mut woken, mut acted) = (false, Instant::now());
        loop {
            woken = self.wait(woken, acted).await;
            match lease.renew().await {
                Turn::Ours { called } => {
                    woken |= called;
                    let rested = acted.elapsed();
                    if rested >= self.pause || woken && rested >= LEAST_PAUSE {
                        lease.renewed_during(self.look_now()).await;
                        (woken, acted) = (false, Instant::now());
                    }
                }
                Turn::Theirs => {
                    if woken {
                        lease.call_holder().await;
                        (woken, acted) = (false, Instant::now());
                    }
                }
            }
            self.tell_what_others_did(&mut told).await;
        }
    }

    /// Waits until the lease is to be renewed, or until something can be done sooner: because it
    /// is time for it, or because it was woken, which is the answer.
    async fn wait(&self, mut woken: bool, acted: Instant) -> bool {
        if !woken {
            let left = self.pause.saturating_sub(acted.elapsed());
            let wait = if left.is_zero() {
                RENEWAL
            } else {
                RENEWAL.min(left)
            };
            woken = tokio::time::timeout(wait, self.woken.notified())
                .await
                .is_ok();
        }
        if woken {
            tokio::time::sleep(LEAST_PAUSE.saturating_sub(acted.elapsed())).await;
        }
        woken
    }

    /// Lets another server look at once, since this one stops.
    pub(crate) async fn give_up(&self) {
        let given_up = self.store.give_up_lease(Job::LookAtRollouts, self.server);
        if let Err(error) = given_up.await {
            let cause = chain(&error);
            warn!(error = cause, "cannot give up the lease on looks: {cause}");
        }
    }

    /// Tells those who follow a page here what another server changed.
    async fn tell_what_others_did(&self, told: &mut HashMap<RolloutId, (u64, u64)>) {
        if self.changes.receiver_count() == 0 {
            return;
        }
        // A database that does not answer is logged by whoever needs it.
        for rollout in self.store.rollouts().await.unwrap_or_default() {
            let now = (rollout.revision, rollout.exposed);
            if told.insert(rollout.id, now).is_some_and(|then| then != now) {
                self.tell(rollout.id);
            }
        }
    }

    /// Makes the rollouts that are missing and looks at all that can change by themselves.
    pub async fn look_now(&self) {
        let _one_at_a_time = self.looking.lock().await;
        let snapshot = self.patches.current().await;
        if self.ensure(&snapshot, None).await {
            self.look_at_all(&snapshot.published).await;
        }
    }

    /// The repository's content now, for a machine with this kernel build. A check-in that comes
    /// right after a change waits here until what was published has its rollout, so that the
    /// first machine is not told that there is nothing for it.
    pub(crate) async fn published(&self, kernel: &KernelBuild) -> Arc<Snapshot> {
        let snapshot = self.patches.current().await;
        if self.is_ensured(&snapshot, kernel).await {
            return snapshot;
        }
        let _one_at_a_time = self.looking.lock().await;
        if !self.is_ensured(&snapshot, kernel).await && self.ensure(&snapshot, Some(kernel)).await {
            self.look_at_all(&snapshot.published).await;
        }
        snapshot
    }

    async fn is_ensured(&self, snapshot: &Arc<Snapshot>, kernel: &KernelBuild) -> bool {
        let ensured = self.ensured.read().await;
        ensured
            .as_ref()
            .is_some_and(|known| known.is_for(snapshot) && !known.waits_for(kernel))
    }

    /// Whether every version that wants a rollout has one now, or waits for a machine. A machine
    /// with the kernel build `asking` is there.
    async fn ensure(&self, snapshot: &Arc<Snapshot>, asking: Option<&KernelBuild>) -> bool {
        match self.create_missing(&snapshot.published, asking).await {
            Ok(waiting) => {
                let snapshot = Arc::clone(snapshot);
                *self.ensured.write().await = Some(Ensured { snapshot, waiting });
                true
            }
            Err(error) => {
                let cause = chain(&error);
                warn!(error = cause, "cannot make rollouts: {cause}");
                false
            }
        }
    }

    /// The scopes that still wait for a machine.
    async fn create_missing(
        &self,
        published: &[Published],
        asking: Option<&KernelBuild>,
    ) -> Result<Vec<Scope>, StoreError> {
        let mut waiting = Vec::new();
        let Some(plan) = &self.default_plan else {
            return Ok(waiting);
        };
        let known = self.store.rollouts().await?.into_iter();
        let known: Vec<_> = known
            .map(|rollout| Existing::new(rollout.scope, &rollout.phase))
            .collect();
        for scope in missing(published, &known, plan.kernels_apart) {
            let asked = asking.is_some_and(|kernel| is_about(&scope, kernel, published));
            if asked || self.has_machines(&scope, published).await? {
                self.create(scope, plan).await?;
            } else {
                waiting.push(scope);
            }
        }
        Ok(waiting)
    }

    async fn has_machines(
        &self,
        scope: &Scope,
        published: &[Published],
    ) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let sizes = self.store.fleet_sizes(scope, published, now).await?;
        Ok(sizes.free_machines + sizes.paid_machines > 0)
    }

    async fn create(&self, scope: Scope, plan: &Plan) -> Result<(), StoreError> {
        let now = self.clock.now();
        let new = NewRollout {
            scope,
            plan: plan.clone(),
            starts: now,
        };
        match self.store.create_rollout(&new, &Actor::Service, now).await {
            Ok(rollout) => {
                self.tell_made(&rollout);
                Ok(())
            }
            // Another server on the same database was faster.
            Err(StoreError::RolloutExists { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn tell_made(&self, rollout: &Rollout) {
        let Rollout {
            id, scope, plan, ..
        } = rollout;
        info!(rollout.id = %id, plan = plan.name, "made rollout {id} of {scope}");
        self.tell(*id);
    }

    async fn look_at_all(&self, published: &[Published]) {
        let rollouts = match self.store.rollouts().await {
            Ok(rollouts) => rollouts,
            Err(error) => {
                let cause = chain(&error);
                warn!(error = cause, "cannot look at the rollouts: {cause}");
                return;
            }
        };
        for rollout in rollouts {
            let id = rollout.id;
            if let Err(error) = self.look_at(rollout, published).await {
                let cause = chain(&error);
                warn!(rollout.id = %id, error = cause, "cannot look at rollout {id}: {cause}");
            }
        }
    }

    /// Looks until nothing changes any more, so that a rollout starts, and leaves out a step
    /// that is for nobody, in one go.
    async fn look_at(
        &self,
        mut rollout: Rollout,
        published: &[Published],
    ) -> Result<(), StoreError> {
        // A start, then at most every step; one more for each look that another server did.
        let mut looks_left = 2 * (rollout.plan.steps.len() + 2);
        while is_looked_at(&rollout.phase) && looks_left > 0 {
            looks_left -= 1;
            let now = self.clock.now();
            let observation = self.store.observe(&rollout, published, now).await?;
            let look = look(&rollout, observation, now);
            if self.store.record_look(&rollout, &look, now).await? {
                self.tell(rollout.id);
                if look.decision.phase == rollout.phase {
                    return Ok(());
                }
                log_change(&rollout, &look.decision.phase, &look.decision.sentence);
            }
            rollout = self.store.rollout(rollout.id).await?;
        }
        Ok(())
    }

    fn tell(&self, id: RolloutId) {
        // Nobody need be listening.
        let _ = self.changes.send(id);
    }
}

fn log_change(rollout: &Rollout, phase: &Phase, sentence: &str) {
    let Rollout { id, scope, .. } = rollout;
    let phase_name = phase.as_str();
    if matches!(phase, Phase::Halted { .. }) {
        warn!(rollout.id = %id, phase = phase_name, "rollout {id} of {scope}: {sentence}");
    } else {
        info!(rollout.id = %id, phase = phase_name, "rollout {id} of {scope}: {sentence}");
    }
}
