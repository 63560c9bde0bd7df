//! What a year of a fleet leaves in the database: every machine takes a version every three weeks
//! and tells of it, and the service forgets as it does each day, or not at all.
//!
//! `bench_year [MACHINES]`. Rows grow with the machines, so what a million would need is a multiple;
//! looks at rollouts do not, and are counted apart. SQLite and PostgreSQL, one after the other.

mod database;

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use suture_kernel::{BuildId, KernelBuild};
use suture_private_postgres::PrivatePostgres;
use suture_protocol::{EventId, EventKind, MachineEvent, MachineId};
use suture_rollout::{Phase, Plan as RolloutPlan, Published, Scope, decide};
use suture_server::{Keep, ServerConfig, forget};
use suture_store::{
    Actor, CheckIn, Look, MachineSecret, NewAccount, NewMachine, NewRollout, Plan, ReportedState,
    Rollout, Store,
};
use suture_store_sql::DatabaseAddress;

use database::Database;

/// A regular update comes about every three weeks.
const DAYS_OF_A_PATCH: i64 = 21;
const PATCHES: i64 = 17;

/// Machines of one account.
const OF_AN_ACCOUNT: usize = 100;

/// Check-ins at the same moment.
const AT_ONCE: usize = 256;

/// From the offer to the check-in that tells of it, and that the rollout waits for.
const TOLD_AFTER: SignedDuration = SignedDuration::from_hours(2);

const BOOT_ID: &str = "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let machines = match std::env::args().nth(1) {
        Some(text) => text
            .parse()
            .context("the argument is a number of machines")?,
        None => 2000,
    };
    println!("{machines} machines, a patch each {DAYS_OF_A_PATCH} days for a year");
    let folder = tempfile::tempdir()?;
    let server = PrivatePostgres::durable();
    let file = |name: &str| Database::File(folder.path().join(name));
    let kept = Year::of(file("all.db"), machines, None).await?;
    kept.print("SQLite, all kept");
    let keep = Keep {
        details_days: ServerConfig::DEFAULT_KEEP_DETAILS_DAYS,
        harm_days: ServerConfig::DEFAULT_KEEP_HARM_DAYS,
    };
    let forgetting = Year::of(file("forgetting.db"), machines, Some(keep)).await?;
    forgetting.print("SQLite");
    let address = Database::Postgres(server.empty_database());
    let postgres = Year::of(address, machines, Some(keep)).await?;
    postgres.print("PostgreSQL");
    println!(
        "after a year {:.2} of what would be there without forgetting",
        forgetting.last() / kept.last()
    );
    Ok(())
}

/// The database's size after each patch.
struct Year {
    machines: usize,
    /// Bytes.
    sizes: Vec<u64>,
    /// The longest piece of forgetting: nothing else is written meanwhile in SQLite.
    longest: Duration,
    seconds: f64,
}

impl Year {
    async fn of(database: Database, machines: usize, keep: Option<Keep>) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let store = suture_store_sql::open(&DatabaseAddress::parse(&database.address())?).await?;
        let mut now: Timestamp = "2026-01-01T00:00:00Z".parse()?;
        let secrets = fill(store.as_ref(), machines, now).await?;
        let mut sizes = Vec::new();
        let longest = Cell::new(Duration::ZERO);
        for patch in 1..=PATCHES {
            bring(&store, &secrets, patch, now).await?;
            now += SignedDuration::from_hours(24 * DAYS_OF_A_PATCH);
            if let Some(keep) = keep {
                let last = Cell::new(Instant::now());
                // Asked before each piece.
                let is_late = || {
                    longest.set(longest.get().max(last.replace(Instant::now()).elapsed()));
                    false
                };
                forget(store.as_ref(), keep, now, is_late).await?;
            }
            database.tidy().await?;
            sizes.push(database.size().await?);
        }
        Ok(Self {
            machines,
            sizes,
            longest: longest.get(),
            seconds: begun.elapsed().as_secs_f64(),
        })
    }

    fn last(&self) -> f64 {
        self.sizes.last().map_or(0.0, |size| *size as f64)
    }

    fn print(&self, name: &str) {
        let of_a_million = |size: u64| size as f64 / self.machines as f64 * 1e6 / 1e9;
        let course: Vec<_> = self
            .sizes
            .iter()
            .map(|size| format!("{:.1}", of_a_million(*size)))
            .collect();
        println!(
            "{name}, GB for a million machines after each patch: {}",
            course.join(" ")
        );
        println!(
            "  after a year {:.0} bytes for each machine; the longest piece of forgetting took \
             {:.0} ms ({:.0} s)",
            self.last() / self.machines as f64,
            self.longest.as_secs_f64() * 1000.0,
            self.seconds
        );
    }
}

impl Database {
    /// What the database does by itself, sooner or later.
    async fn tidy(&self) -> anyhow::Result<()> {
        match self {
            Self::File(path) => {
                let pool = SqlitePool::connect(&format!("sqlite://{}", path.display())).await?;
                sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
                    .execute(&pool)
                    .await?;
                pool.close().await;
            }
            Self::Postgres(address) => {
                let pool = PgPool::connect(address).await?;
                sqlx::query("VACUUM").execute(&pool).await?;
                pool.close().await;
            }
        }
        Ok(())
    }
}

/// Accounts with their machines.
async fn fill(
    store: &dyn Store,
    machines: usize,
    now: Timestamp,
) -> anyhow::Result<Vec<MachineSecret>> {
    let by = Actor::Service;
    let mut secrets = Vec::with_capacity(machines);
    for number in 0..machines.div_ceil(OF_AN_ACCOUNT) {
        let new = NewAccount {
            email: format!("owner-{number}@example.org").parse()?,
            plan: Plan::Subscription,
        };
        let account = store.create_account(&new, &by, now).await?;
        let token = store
            .create_token(account.id, &"".parse()?, &by, now)
            .await?;
        let left = machines - secrets.len();
        for _ in 0..left.min(OF_AN_ACCOUNT) {
            let id = format!("{:032x}", fastrand::u128(..));
            let machine = NewMachine {
                id: id.parse::<MachineId>()?,
                hostname: "web-1.example.org".parse()?,
                kernel: kernel()?,
                agent_version: "0.1.0".parse()?,
                hardware: None,
            };
            let enrolled = store.enrol_machine(&token.secret, &machine, now).await?;
            secrets.push(enrolled.secret);
        }
    }
    Ok(secrets)
}

/// A version comes to all machines, and they tell of it.
async fn bring(
    store: &Arc<dyn Store>,
    secrets: &[MachineSecret],
    patch: i64,
    now: Timestamp,
) -> anyhow::Result<()> {
    let version = format!("{patch}.1");
    let published: Arc<[Published]> = Arc::new([Published {
        kernel: kernel()?,
        version: version.parse()?,
    }]);
    let new = NewRollout {
        scope: Scope {
            version: version.parse()?,
            kernel: None,
        },
        plan: RolloutPlan::immediate(),
        starts: now,
    };
    let mut rollout = store.create_rollout(&new, &Actor::Service, now).await?;
    rollout = look(store.as_ref(), &rollout, &published, now).await?;
    let one = |secret: &MachineSecret| {
        let (store, secret, published) =
            (Arc::clone(store), secret.clone(), Arc::clone(&published));
        async move { take(store.as_ref(), &secret, patch, &published, now).await }
    };
    stream::iter(secrets.iter().map(one))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    let mut at = now + TOLD_AFTER;
    for _ in 0..12 {
        at += SignedDuration::from_mins(30);
        rollout = look(store.as_ref(), &rollout, &published, at).await?;
        if let Phase::Complete { .. } = rollout.phase {
            return Ok(());
        }
    }
    bail!("the rollout never completed: {:?}", rollout.decision)
}

/// What an agent sends around an update.
async fn take(
    store: &dyn Store,
    secret: &MachineSecret,
    patch: i64,
    published: &Arc<[Published]>,
    now: Timestamp,
) -> anyhow::Result<()> {
    let before = (patch > 1).then(|| format!("{}.1", patch - 1).parse());
    let version = format!("{patch}.1").parse()?;
    let mut report = CheckIn {
        kernel: kernel()?,
        boot_id: BOOT_ID.parse()?,
        boot_time: now,
        agent_version: "0.1.0".parse()?,
        state: ReportedState::Applied,
        applied: before.transpose()?,
    };
    store.check_in(secret, &report, &[], published, now).await?;
    let now = now + TOLD_AFTER;
    report.applied = Some(version);
    let events = [
        EventKind::Fetched { version },
        EventKind::Verified { version },
        EventKind::Applied { version },
        EventKind::TransitionFinished {
            version,
            millis: 812,
        },
    ];
    let events = events.map(|kind| MachineEvent {
        id: EventId::from_random_bytes(fastrand::u128(..).to_le_bytes()),
        at: now,
        boot_id: BOOT_ID.to_owned(),
        kind,
    });
    store
        .check_in(secret, &report, &events, published, now)
        .await?;
    Ok(())
}

async fn look(
    store: &dyn Store,
    rollout: &Rollout,
    published: &[Published],
    now: Timestamp,
) -> anyhow::Result<Rollout> {
    let observation = store.observe(rollout, published, now).await?;
    let mut ledger = rollout.ledger.clone();
    ledger.absorb(&observation.tick, &rollout.plan);
    let decision = decide(
        &rollout.plan,
        &rollout.phase,
        &ledger,
        observation.fleet,
        now,
    );
    let look = Look {
        observation,
        ledger,
        decision,
    };
    store.record_look(rollout, &look, now).await?;
    Ok(store.rollout(rollout.id).await?)
}

fn kernel() -> anyhow::Result<KernelBuild> {
    let build_id: BuildId = "ab".repeat(20).parse()?;
    Ok(KernelBuild {
        release: "6.1.0-53-amd64".parse()?,
        architecture: "amd64".parse()?,
        build_id,
    })
}
