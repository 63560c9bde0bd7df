//! A vendor's folder: database, repository, plan, accounts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use suture_advisory::PatchVersion;
use suture_fleet::real::{Agent, Flaw, Identity};
use suture_kernel::{BuildId, KernelBuild};
use suture_protocol::{TargetKind, TargetName};
use suture_repository::{Content, InitOptions, NewTarget, Publisher};
use suture_rollout::Plan;
use suture_store::{
    Actor, Clock as _, NewAccount, Rollout, RolloutStore as _, Store as _, SystemClock,
};
use suture_store_sql::SqliteStore;
use tempfile::TempDir;

/// The standard plan's shape with times that a test can wait for.
pub const PLAN: &str = r#"
name = "quick"
signal_secs = 5
silence_secs = 600
settled_share = 0.8
heard_share = 0.6
alpha = 0.01
hold_at = 4.0

[early_group]
share = 0.01
unit = "account"
eligible = "free"

[[steps]]
share = 0.005
early_only = true
soak_secs = 8

[[steps]]
share = 0.02
early_only = true
soak_secs = 8

[[steps]]
share = 0.1
soak_secs = 8

[[steps]]
share = 1.0
soak_secs = 8

[tolerated]
apply_failure = 0.01
stall = 0.02
patch_trouble_per_hour = 1e-6
"#;

pub const VERSION: &str = "1.1";

/// Machines of each account that pays.
const MACHINES_OF_SUBSCRIPTION: usize = 100;

/// Last lines of the server's log that are shown when a story goes wrong.
const SHOWN_LINES: usize = 30;

pub struct Site {
    folder: TempDir,
    /// The server's database, through a connection of our own.
    pub store: SqliteStore,
}

impl Site {
    pub async fn new() -> Self {
        let folder = folder();
        let at = |name: &str| folder.path().join(name);
        let options = InitOptions::new(at("repository"), at("keys"), at("root-keys"));
        suture_repository::init(&options, now()).await.unwrap();
        std::fs::write(at("plan.toml"), PLAN).unwrap();
        let store = SqliteStore::open(&at("suture.db")).await.unwrap();
        Self { folder, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Accounts for so many machines: one in ten machines belongs to a subscription, the others
    /// to free accounts with one, two or three of them.
    pub async fn identities(&self, machines: usize) -> Vec<Identity> {
        let mut all = Vec::with_capacity(machines);
        for account in 0.. {
            if all.len() == machines {
                break;
            }
            let paid = machines / 10 > all.len();
            let (plan, wanted) = if paid {
                let left = machines / 10 - all.len();
                (
                    suture_store::Plan::Subscription,
                    MACHINES_OF_SUBSCRIPTION.min(left),
                )
            } else {
                (suture_store::Plan::Free, account % 3 + 1)
            };
            let token = self.account(account, plan).await;
            for _ in 0..wanted.min(machines - all.len()) {
                all.push(identity(all.len(), account, token.clone()));
            }
        }
        all
    }

    async fn account(&self, number: usize, plan: suture_store::Plan) -> String {
        let email = format!("owner-{number}@example.org").parse().unwrap();
        let by = Actor::Operator("operator".parse().unwrap());
        let new = NewAccount { email, plan };
        let account = self.store.create_account(&new, &by, now()).await.unwrap();
        let label = "first".parse().unwrap();
        let made = self
            .store
            .create_token(account.id, &label, &by, now())
            .await;
        made.unwrap().secret.expose().to_owned()
    }

    /// Publishes the files of [`VERSION`]. Nobody loads them, so that any bytes will do.
    pub async fn publish(&self) {
        let bytes = |kind: TargetKind| format!("{VERSION}{}", kind.suffix()).into_bytes();
        let target = |kind| NewTarget {
            name: TargetName {
                kernel: kernel(),
                version: version(),
                kind,
            },
            content: Content::Bytes(bytes(kind)),
            fixes: vec!["CVE-2026-31402".parse().unwrap()],
        };
        let publisher = Publisher::new(self.path("repository"), self.path("keys"));
        let targets = TargetKind::ALL.map(target).into();
        publisher.publish(targets, now()).await.unwrap();
    }

    /// The rollout, if the server has made it.
    pub async fn rollout(&self) -> Option<Rollout> {
        self.store.rollouts().await.unwrap().into_iter().next()
    }
}

/// Shows what the server said, if the story went wrong.
impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.path("server.log")).unwrap_or_default();
            let from = log.lines().count().saturating_sub(SHOWN_LINES);
            for line in log.lines().skip(from) {
                eprintln!("server: {line}");
            }
        }
    }
}

/// A folder in memory where there is one: how fast the disk keeps things is not the question.
fn folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

pub fn kernel() -> KernelBuild {
    KernelBuild {
        release: "6.1.0-53-amd64".parse().unwrap(),
        architecture: "amd64".parse().unwrap(),
        build_id: BuildId::from_bytes(&[0xab; 20]).unwrap(),
    }
}

pub fn plan() -> Plan {
    let plan: Plan = toml::from_str(PLAN).unwrap();
    plan.check().unwrap();
    plan
}

fn identity(number: usize, account: usize, token: String) -> Identity {
    Identity {
        machine: format!("{:032x}", number + 1).parse().unwrap(),
        hostname: format!("host-{number}"),
        token,
        account,
        kernel: kernel(),
    }
}

/// Agents with these identities, over which a flaw may come.
pub fn agents(identities: Vec<Identity>, flaw: Option<Flaw>) -> Vec<Agent> {
    let flaw = flaw.map(Arc::new);
    let numbered = identities.into_iter().enumerate();
    numbered
        .map(|(number, identity)| Agent::new(identity, flaw.clone(), number as u64, now()))
        .collect()
}

pub fn version() -> PatchVersion {
    VERSION.parse().unwrap()
}

/// Waits until `condition` gives something; its other answer says what is missing.
pub async fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let begin = Instant::now();
    loop {
        match condition().await {
            Ok(found) => return found,
            Err(missing) => assert!(
                begin.elapsed() < limit,
                "{what}: not within {} seconds: {missing}",
                limit.as_secs()
            ),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The system's clock, shared.
pub fn system_clock() -> Arc<SystemClock> {
    Arc::new(SystemClock)
}
