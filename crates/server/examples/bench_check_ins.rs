//! Check-ins a second, on SQLite and on PostgreSQL, beside a bare handler of the same framework
//! that answers the same bytes; all in one run, with load and servers on the same processors.
//!
//! Every answered check-in is on the disk. The machines of each connection check in one after the
//! other without a pause, which no machine does: what counts are the ratios. Then they check in at
//! half of that rate, each at its own moment, and the time is counted from that moment on.
//!
//! The processor's time is that of load and service together; PostgreSQL's own is not in it.

mod load;

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use suture_private_postgres::PrivatePostgres;
use suture_repository::InitOptions;
use suture_server::{ServerConfig, Tls};
use suture_store::{
    Actor, Clock as _, MachineSecret, NewAccount, NewMachine, Plan, Store, SystemClock,
};
use suture_store_sql::DatabaseAddress;
use tokio::sync::oneshot;

use load::{Load, Machines};

/// Connections, each of which carries its part of the machines: as many check in at the same
/// moment.
const CONNECTIONS: usize = 256;

const MACHINES: usize = 4096;

/// How long each is measured, and how long at half of its rate.
const TIME: Duration = Duration::from_secs(15);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let options = InitOptions::new(at("repository"), at("keys"), at("root-keys"));
    suture_repository::init(&options, SystemClock.now()).await?;

    let file = at("suture.db").into_os_string();
    let sqlite = measure_service(&file, &at("repository")).await?;
    let server = PrivatePostgres::durable();
    let address = server.empty_database().into();
    let postgres = measure_service(&address, &at("repository")).await?;
    let bare = measure_bare(sqlite.answer.clone()).await?;

    let secs = TIME.as_secs();
    println!("{MACHINES} machines on {CONNECTIONS} connections, {secs} s each");
    for (name, result) in [
        ("bare handler", &bare),
        ("SQLite", &sqlite),
        ("PostgreSQL", &postgres),
    ] {
        let share = 100.0 * result.full.rate() / bare.full.rate();
        println!("{name:<14}{} {share:>4.0} %", result.full);
        println!("  half of that{}", result.half);
    }
    Ok(())
}

/// What came of one thing's measurement.
struct Measured {
    full: Load,
    half: Load,
    /// The last answer's body.
    answer: Vec<u8>,
}

async fn measure_service(
    database: &std::ffi::OsString,
    repository: &Path,
) -> anyhow::Result<Measured> {
    let store = suture_store_sql::open(&DatabaseAddress::parse(database)?).await?;
    let secrets = enrol(store.as_ref()).await?;
    let config = ServerConfig::new("127.0.0.1:0".parse()?, Tls::Plain, repository);
    let (ready, listening) = oneshot::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { drop(stopped.await) };
    let clock = Arc::new(SystemClock);
    let serving = tokio::spawn(suture_server::serve(config, store, clock, ready, shutdown));
    let measured = measure(listening.await?, secrets).await?;
    drop(stop);
    serving.await??;
    Ok(measured)
}

async fn measure_bare(answer: Vec<u8>) -> anyhow::Result<Measured> {
    let answer = Bytes::from(answer);
    let handler = async move |_body: Bytes| ([(CONTENT_TYPE, "application/json")], answer);
    let app = Router::new().route("/v1/check-in", post(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let serving = tokio::spawn(axum::serve(listener, app).into_future());
    let secrets: Vec<_> = (0..MACHINES)
        .map(|_| MachineSecret::generate())
        .collect::<Result<_, _>>()
        .context("the system gives no random bytes")?;
    let measured = measure(address, secrets).await?;
    serving.abort();
    Ok(measured)
}

async fn enrol(store: &dyn Store) -> anyhow::Result<Vec<MachineSecret>> {
    let (by, now) = (Actor::Service, SystemClock.now());
    let new = NewAccount {
        email: "owner@example.org".parse()?,
        plan: Plan::Subscription,
    };
    let account = store.create_account(&new, &by, now).await?;
    let label = "first".parse()?;
    let token = store.create_token(account.id, &label, &by, now).await?;
    let mut secrets = Vec::new();
    for number in 1..=MACHINES {
        let new = NewMachine {
            id: format!("{number:032x}").parse()?,
            hostname: format!("web-{number}").parse()?,
            kernel: load::kernel()?,
            agent_version: "0.1.0".parse()?,
        };
        let enrolled = store.enrol_machine(&token.secret, &new, now).await?;
        secrets.push(enrolled.secret);
    }
    Ok(secrets)
}

async fn measure(address: SocketAddr, secrets: Vec<MachineSecret>) -> anyhow::Result<Measured> {
    let mut machines = Machines {
        number: secrets.len(),
        secret: Arc::new(move |machine| secrets[machine].clone()),
        connections: CONNECTIONS,
        time: TIME,
        rate: None,
    };
    let (full, answer) = load::run(address, &machines).await?;
    machines.rate = Some(full.rate() / 2.0);
    let (half, _) = load::run(address, &machines).await?;
    Ok(Measured { full, half, answer })
}
