//! A fleet of a million machines that check in hourly, on SQLite and on PostgreSQL: how long they
//! wait, what the service needs of memory and how the database grows, with a rollout under way.
//!
//! `bench_million [MACHINES] [MINUTES]`. The database is filled with machines that were heard of
//! within the last hour; then they check in in that order, a 3,600th of them each second, the time
//! counted from the moment at which each is due. Load, service and database share the processors.

mod database;
mod load;

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;
use suture_private_postgres::PrivatePostgres;
use suture_protocol::{TargetKind, TargetName};
use suture_repository::{Content, InitOptions, NewTarget, Publisher};
use suture_server::{ServerConfig, Tls};
use suture_store::{Clock as _, MachineSecret, SystemClock};
use suture_store_sql::DatabaseAddress;
use tokio::sync::oneshot;

use database::Database;
use load::Machines;

/// As in the `suture` program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Machines of one account.
const OF_AN_ACCOUNT: usize = 100;

/// Rows of one statement that fills the database.
const AT_ONCE: usize = 5000;

/// Connections at the same moment.
const CONNECTIONS: usize = 32;

const HOUR: f64 = 3600.0;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let [word, database, repository] = arguments.as_slice()
        && word == "serve"
    {
        return serve(database, Path::new(repository)).await;
    }
    let number = |place: usize, default: usize| match arguments.get(place) {
        Some(text) => text.to_str().and_then(|text| text.parse().ok()),
        None => Some(default),
    };
    let machines = number(0, 100_000).context("the first argument is a number of machines")?;
    let minutes = number(1, 1).context("the second argument is a number of minutes")?;
    ensure!(
        machines >= OF_AN_ACCOUNT,
        "at least {OF_AN_ACCOUNT} machines"
    );
    let folder = tempfile::tempdir()?;
    let repository = publish(folder.path()).await?;
    println!("{machines} machines that check in hourly, {minutes} min each");

    let file = Database::File(folder.path().join("suture.db"));
    measure("SQLite", file, &repository, machines, minutes).await?;
    let server = PrivatePostgres::durable();
    let address = Database::Postgres(server.empty_database());
    measure("PostgreSQL", address, &repository, machines, minutes).await
}

/// A repository with a live patch for the kernel of all machines.
async fn publish(folder: &Path) -> anyhow::Result<PathBuf> {
    let at = |name: &str| folder.join(name);
    let options = InitOptions::new(at("repository"), at("keys"), at("root-keys"));
    suture_repository::init(&options, SystemClock.now()).await?;
    let kernel = load::kernel()?;
    let kinds = [TargetKind::Module, TargetKind::Manifest, TargetKind::Source];
    let target = |kind| {
        Ok(NewTarget {
            name: TargetName {
                kernel: kernel.clone(),
                version: "1.1".parse()?,
                kind,
            },
            content: Content::Bytes(b"nobody reads it here".to_vec()),
            fixes: Vec::new(),
        })
    };
    let targets = kinds
        .map(target)
        .into_iter()
        .collect::<anyhow::Result<_>>()?;
    let publisher = Publisher::new(at("repository"), at("keys"));
    publisher.publish(targets, SystemClock.now()).await?;
    Ok(at("repository"))
}

/// The service, as a process of its own; it ends with its parent's pipe.
async fn serve(database: &OsString, repository: &Path) -> anyhow::Result<()> {
    let store = suture_store_sql::open(&DatabaseAddress::parse(database)?).await?;
    let config = ServerConfig::new("127.0.0.1:0".parse()?, Tls::Plain, repository);
    let (ready, listening) = oneshot::channel();
    let shutdown = async {
        let closed = || std::io::stdin().read_line(&mut String::new());
        drop(tokio::task::spawn_blocking(closed).await);
    };
    let announce = async {
        // Nothing comes if the start fails; the error then says why.
        if let Ok(address) = listening.await {
            println!("{address}");
        }
    };
    let clock = Arc::new(SystemClock);
    let serving = suture_server::serve(config, store, clock, ready, shutdown);
    let (served, ()) = tokio::join!(serving, announce);
    Ok(served?)
}

impl Database {
    /// Runs a statement whose argument is a JSON list of rows.
    async fn fill(&self, into: &str, of_row: &str, rows: &str) -> anyhow::Result<()> {
        let each = match self {
            Self::File(_) => "json_each($1) AS r",
            Self::Postgres(_) => "jsonb_array_elements(CAST($1 AS jsonb)) AS r(value)",
        };
        let statement = format!("INSERT INTO {into} SELECT {of_row} FROM {each}");
        // Made here of nothing but constants.
        let statement = sqlx::AssertSqlSafe(statement);
        match self {
            Self::File(path) => {
                let pool = SqlitePool::connect(&format!("sqlite://{}", path.display())).await?;
                sqlx::query(statement).bind(rows).execute(&pool).await?;
                pool.close().await;
            }
            Self::Postgres(address) => {
                let pool = PgPool::connect(address).await?;
                sqlx::query(statement).bind(rows).execute(&pool).await?;
                pool.close().await;
            }
        }
        Ok(())
    }

    /// A byte string from hexadecimal digits.
    fn bytes(&self, place: u8) -> String {
        match self {
            Self::File(_) => format!("unhex(r.value ->> {place})"),
            Self::Postgres(_) => format!("decode(r.value ->> {place}, 'hex')"),
        }
    }
}

async fn measure(
    name: &str,
    database: Database,
    repository: &Path,
    machines: usize,
    minutes: usize,
) -> anyhow::Result<()> {
    let begun = Instant::now();
    fill(&database, machines).await?;
    let filled = database.size().await?;
    println!(
        "{name}: filled with {} in {:.0} s",
        megabytes(filled),
        begun.elapsed().as_secs_f64()
    );

    let begun = Instant::now();
    let service = Service::start(&database.address(), repository)?;
    let memory = service.memory()?;
    println!(
        "  service ready after {:.0} s, {}",
        begun.elapsed().as_secs_f64(),
        megabytes(memory)
    );
    let before = database.size().await?;
    let load = Machines {
        number: machines,
        secret: Arc::new(secret),
        connections: CONNECTIONS,
        time: Duration::from_secs(minutes as u64 * 60),
        rate: Some(machines as f64 / HOUR),
    };
    let (load, _) = load::run(service.address, &load).await?;
    println!("  {load}");
    let [half, most, worst] = [90, 99, 100].map(|percent| load.percentile(percent));
    println!("  90 % below {half:.1} ms, 99 % below {most:.1} ms, the slowest {worst:.1} ms");
    println!(
        "  service at the end {}, at most {}",
        megabytes(service.memory()?),
        megabytes(service.peak()?)
    );
    service.stop()?;
    let grown = database.size().await?.saturating_sub(before);
    let hourly = grown as f64 / load.times.len() as f64 * machines as f64;
    println!(
        "  the database grew by {}: {} an hour at this rate, a rollout's exposures included",
        megabytes(grown),
        megabytes(hourly as u64)
    );
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// A machine's secret: random for nobody, and so only fit for this.
fn secret(machine: usize) -> MachineSecret {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&(machine as u64).to_le_bytes());
    let text = format!("{}{}", MachineSecret::PREFIX, URL_SAFE_NO_PAD.encode(bytes));
    text.parse()
        .unwrap_or_else(|error| unreachable!("it has the form: {error}"))
}

/// Makes the tables, then accounts, tokens and machines.
async fn fill(database: &Database, machines: usize) -> anyhow::Result<()> {
    let store = suture_store_sql::open(&DatabaseAddress::parse(&database.address())?).await?;
    drop(store);
    let now = SystemClock.now().as_millisecond();
    let accounts: Vec<usize> = (0..machines.div_ceil(OF_AN_ACCOUNT)).collect();
    for some in accounts.chunks(AT_ONCE) {
        let rows: Vec<_> = some
            .iter()
            .map(|account| {
                let hash = format!("{account:064x}");
                (
                    id(*account),
                    format!("owner-{account}@example.org"),
                    now,
                    hash,
                )
            })
            .collect();
        let rows = serde_json::to_string(&rows)?;
        let account = "account (id, email, plan, created_ms)";
        let of_row = "r.value ->> 0, r.value ->> 1, 'subscription', CAST(r.value ->> 2 AS bigint)";
        database.fill(account, of_row, &rows).await?;
        let token = "token (id, account_id, label, secret_sha256, created_ms)";
        let hash = database.bytes(3);
        let of_row =
            format!("r.value ->> 0, r.value ->> 0, '', {hash}, CAST(r.value ->> 2 AS bigint)");
        database.fill(token, &of_row, &rows).await?;
    }
    let all: Vec<usize> = (0..machines).collect();
    for some in all.chunks(AT_ONCE) {
        fill_machines(database, some, machines, now).await?;
    }
    Ok(())
}

async fn fill_machines(
    database: &Database,
    some: &[usize],
    machines: usize,
    now: i64,
) -> anyhow::Result<()> {
    let kernel = load::kernel()?;
    let rows: Vec<_> = some
        .iter()
        .map(|machine| {
            // Spread, as ids are.
            let id_of =
                (*machine as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
            let hash = secret(*machine).hash();
            let ago = HOUR * 1000.0 * (machines - machine) as f64 / machines as f64;
            let hash: String = hash
                .as_bytes()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            (
                id(machine / OF_AN_ACCOUNT),
                format!("{id_of:032x}"),
                hash,
                now - ago as i64,
            )
        })
        .collect();
    let into = "machine (account_id, machine_id, hostname, release, architecture, build_id,
        agent_version, token_id, secret_sha256, created_ms, enrolled_ms, steady_since_ms,
        checked_in_ms, boot_id, boot_ms, state)";
    let of_row = format!(
        "r.value ->> 0, r.value ->> 1, 'web-1.example.org', '{}', '{}', '{}', '0.1.0',
         r.value ->> 0, {}, 0, 0, 0, CAST(r.value ->> 3 AS bigint), '{}', 0, 'unapplied'",
        kernel.release,
        kernel.architecture,
        kernel.build_id,
        database.bytes(2),
        load::BOOT_ID,
    );
    database
        .fill(into, &of_row, &serde_json::to_string(&rows)?)
        .await
}

/// An account's id, with the form of a random UUID.
fn id(account: usize) -> String {
    let bits = (account as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    uuid::Builder::from_random_bytes(bits.to_be_bytes())
        .into_uuid()
        .to_string()
}

/// The service under load.
struct Service {
    child: Child,
    address: SocketAddr,
}

impl Service {
    fn start(database: &OsString, repository: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .arg(database)
            .arg(repository)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().context("its output is a pipe")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        let address = line.trim().parse().context("the service did not start")?;
        Ok(Self { child, address })
    }

    fn status(&self, field: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kilobytes = line.and_then(|rest| rest.split_ascii_whitespace().nth(0)?.parse().ok());
        let kilobytes: u64 = kilobytes.context("the kernel does not tell a process's memory")?;
        Ok(kilobytes * 1024)
    }

    /// Bytes that are resident now.
    fn memory(&self) -> anyhow::Result<u64> {
        self.status("VmRSS:")
    }

    fn peak(&self) -> anyhow::Result<u64> {
        self.status("VmHWM:")
    }

    fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        ensure!(self.child.wait()?.success(), "the service failed");
        Ok(())
    }
}
