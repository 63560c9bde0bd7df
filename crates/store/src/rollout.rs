//! Rollouts, what is kept of their course, and what machines told.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_protocol::{EventId, EventKind, MachineEvent, MachineId};
use suture_rollout::cohort::{Commitment, Draw, Seed, UnitDigest};
use suture_rollout::{
    ChannelName, Choice, Decision, EarlyPreference, Fleet, Ledger, Phase, Plan, RolloutId, Scope,
    Tick,
};

use crate::{Account, AccountId, Actor, CheckIn, Machine, MachineSecret, StoreError};

/// A rollout as it is kept.
#[derive(Debug, Clone)]
pub struct Rollout {
    pub id: RolloutId,
    pub scope: Scope,
    pub plan: Plan,
    pub phase: Phase,
    pub seed: Seed,
    pub commitment: Commitment,
    pub draw: Draw,
    /// See [`Decision::cap`].
    pub cap: u64,
    /// Machines that were exposed so far. Kept with each exposure, so that the cap holds.
    pub exposed: u64,
    pub ledger: Ledger,
    /// The latest decision; none before the first look.
    pub decision: Option<Decision>,
    pub created: Timestamp,
    /// When it was looked at last; none before the first look.
    pub looked_at: Option<Timestamp>,
    /// Number of looks so far.
    pub looks: u32,
    /// Grows by one with each change by the executor or by hand. Who changes a rollout names the
    /// revision that was read; of two that do so at once, one is refused and reads again.
    pub revision: u64,
}

impl Rollout {
    /// Seconds between two looks from which on the service counts as having been away: fifteen
    /// minutes. Machines that could not reach it are not silent, so a silence counts only if it
    /// began after the service was back.
    pub const AWAY_SECS: i64 = 15 * 60;

    /// Seconds in which falls of one account count once where accounts are drawn: an hour. A
    /// power cut takes a rack down at once, and its machines are one piece of evidence.
    ///
    /// A further crash or kernel trouble within this time after a counted one is kept as an event
    /// and not counted, on whichever side; of silences the first of each hour by the clock
    /// counts. Where machines are drawn, each counts by itself.
    pub const BURST_SECS: i64 = 3600;
}

/// What a rollout is made from. The draw is made in the same transaction, from the accounts and
/// machines that are there then.
#[derive(Debug, Clone)]
pub struct NewRollout {
    pub scope: Scope,
    pub plan: Plan,
    pub starts: Timestamp,
}

/// What was counted for a look.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    pub tick: Tick,
    pub fleet: Fleet,
    /// How far the database's own list of what machines told was read. A check-in that is
    /// recorded while somebody counts is beyond it, and counts at the next look.
    pub seen: u64,
}

/// What a look changes, all at once.
#[derive(Debug, Clone)]
pub struct Look {
    pub observation: Observation,
    pub ledger: Ledger,
    pub decision: Decision,
}

/// A look as it is kept, for the picture and for whoever checks the verdict.
#[derive(Debug, Clone)]
pub struct PastLook {
    /// From 1.
    pub number: u32,
    pub tick: Tick,
    pub fleet: Fleet,
    pub decision: Decision,
}

/// A person's word on a rollout. The store takes the phase's edge, and refuses what is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandChange {
    Halt { reason: String },
    Resume { reason: String },
    Withdraw { reason: String },
}

/// What a machine told, as it is kept.
#[derive(Debug, Clone)]
pub struct KeptEvent {
    /// Grows with arrival, over all machines.
    pub number: u64,
    pub id: EventId,
    pub account: AccountId,
    pub machine: MachineId,
    pub hostname: String,
    /// By this service's clock.
    pub received: Timestamp,
    /// By the machine's.
    pub at: Timestamp,
    pub kind: EventKind,
    /// Whether the machine had been exposed by the rollout that was asked for.
    pub exposed: bool,
}

/// A check-in's answer, as decided in its transaction.
#[derive(Debug)]
pub struct Answer {
    pub account: Arc<Account>,
    pub machine: Arc<Machine>,
    pub choice: Choice,
    /// The version that the choice's `early` is about.
    pub goal: Option<PatchVersion>,
    /// The channel that the machine's group follows.
    pub channel: Option<ChannelName>,
}

/// A machine that a rollout exposed.
#[derive(Debug, Clone)]
pub struct ExposedMachine {
    pub account: AccountId,
    pub machine: MachineId,
    /// None: it was released since.
    pub hostname: Option<String>,
    pub early: bool,
    pub exposed: Timestamp,
    pub last_check_in: Option<Timestamp>,
    /// The version in force by its last check-in.
    pub applied: Option<PatchVersion>,
}

/// Sizes that a plan's preview needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FleetSizes {
    pub free_accounts: u64,
    pub paid_accounts: u64,
    /// Machines of free accounts with a covered kernel build that were heard of lately.
    pub free_machines: u64,
    pub paid_machines: u64,
}

/// Rollouts, exposures and events, in a database. As in [`crate::Store`], every method is one
/// transaction.
#[async_trait]
pub trait RolloutStore: Send + Sync {
    /// Makes a rollout and draws its early group. Refused if one that is not withdrawn covers
    /// the scope already ([`StoreError::RolloutExists`]).
    async fn create_rollout(
        &self,
        new: &NewRollout,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Rollout, StoreError>;

    /// All rollouts, the newest first.
    async fn rollouts(&self) -> Result<Vec<Rollout>, StoreError>;

    async fn rollout(&self, id: RolloutId) -> Result<Rollout, StoreError>;

    /// Takes a machine's report and events, decides what it is told ([`suture_rollout::choose`])
    /// and records an exposure, in one transaction, which it may share with the check-ins of other
    /// machines. An event that is known by its id is not taken twice, whatever it says.
    async fn check_in(
        &self,
        secret: &MachineSecret,
        check_in: &CheckIn,
        events: &[MachineEvent],
        published: &Arc<[suture_rollout::Published]>,
        now: Timestamp,
    ) -> Result<Answer, StoreError>;

    /// Counts what came in since the rollout's last look. Reads only; asking twice counts the
    /// same things again until [`RolloutStore::record_look`] moves the look on.
    ///
    /// Machines at risk of a crash or of kernel trouble were heard of in the last
    /// `silence_secs` and have not fallen so on their side before. At risk of silence are, of
    /// them, those heard of since the service was back last ([`Rollout::AWAY_SECS`]); exposed
    /// ones only from `silence_secs` after their exposure on, since none can fall earlier.
    async fn observe(
        &self,
        rollout: &Rollout,
        published: &[suture_rollout::Published],
        now: Timestamp,
    ) -> Result<Observation, StoreError>;

    /// Keeps a look and what it decided. False, and nothing is kept, if the rollout changed
    /// since `rollout` was read: then somebody else looked.
    async fn record_look(
        &self,
        rollout: &Rollout,
        look: &Look,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Halts, resumes or withdraws by hand, with an entry in the audit log. Resuming begins a new
    /// ledger.
    async fn change_rollout(
        &self,
        id: RolloutId,
        change: &HandChange,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Rollout, StoreError>;

    /// Looks of a rollout, oldest first; thinned out evenly to at most `at_most`, the last one
    /// always included.
    async fn looks(&self, id: RolloutId, at_most: u32) -> Result<Vec<PastLook>, StoreError>;

    /// Events of machines that the rollout covers, newest first, that arrived before the event
    /// with this number (none: the latest). `harm_only` leaves out what tells no harm.
    async fn rollout_events(
        &self,
        id: RolloutId,
        before: Option<u64>,
        harm_only: bool,
        at_most: u32,
    ) -> Result<Vec<KeptEvent>, StoreError>;

    /// Machines that the rollout exposed, the latest first.
    async fn exposed_machines(
        &self,
        id: RolloutId,
        at_most: u32,
    ) -> Result<Vec<ExposedMachine>, StoreError>;

    /// The list of the draw, sorted.
    async fn draw_list(&self, id: RolloutId) -> Result<Vec<UnitDigest>, StoreError>;

    async fn fleet_sizes(
        &self,
        scope: &Scope,
        published: &[suture_rollout::Published],
        now: Timestamp,
    ) -> Result<FleetSizes, StoreError>;

    /// Sets what an account wants of early groups.
    async fn set_early_preference(
        &self,
        account: AccountId,
        preference: EarlyPreference,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Account, StoreError>;

    /// Puts a machine into an operator's group, or out of any.
    async fn set_machine_group(
        &self,
        account: AccountId,
        machine: &MachineId,
        group: Option<&crate::GroupName>,
        by: &Actor,
        now: Timestamp,
    ) -> Result<Machine, StoreError>;
}
