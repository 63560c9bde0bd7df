//! Check-ins a second, on SQLite and on PostgreSQL, beside a bare handler of the same framework
//! that answers the same bytes; all in one run, with load and servers on the same processors.
//!
//! Every answered check-in is on the disk. The machines of each connection check in one after the
//! other without a pause, which no machine does: what counts are the ratios.

use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use jiff::Timestamp;
use suture_kernel::{BuildId, KernelBuild};
use suture_private_postgres::PrivatePostgres;
use suture_protocol::{CheckInRequest, MachineState};
use suture_repository::InitOptions;
use suture_server::{ServerConfig, Tls};
use suture_store::{
    Actor, Clock as _, MachineSecret, NewAccount, NewMachine, Plan, Store, SystemClock,
};
use suture_store_sql::DatabaseAddress;
use tokio::sync::oneshot;

/// Connections, each of which carries its part of the machines.
const CONNECTIONS: usize = 16;

const MACHINES: usize = 2000;

/// How long each of the three is measured.
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
        println!(
            "{name:<14}{:>7.0} a second {:>5.0} %   median {:>6.1} ms   99 of 100 below {:>6.1} ms",
            result.rate(),
            100.0 * result.rate() / bare.rate(),
            result.percentile(50),
            result.percentile(99),
        );
    }
    Ok(())
}

/// What came of one measurement.
struct Measured {
    /// Sorted.
    times: Vec<Duration>,
    took: Duration,
    /// The last answer's body.
    answer: Vec<u8>,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }

    /// Milliseconds.
    fn percentile(&self, percent: usize) -> f64 {
        let place = self.times.len() * percent / 100;
        let time = self.times.get(place).or(self.times.last());
        time.map_or(0.0, Duration::as_secs_f64) * 1000.0
    }
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
    let measured = load(listening.await?, &secrets).await?;
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
    let measured = load(address, &secrets).await?;
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
            kernel: kernel()?,
            agent_version: "0.1.0".parse()?,
        };
        let enrolled = store.enrol_machine(&token.secret, &new, now).await?;
        secrets.push(enrolled.secret);
    }
    Ok(secrets)
}

/// Every machine checks in again and again.
async fn load(address: SocketAddr, secrets: &[MachineSecret]) -> anyhow::Result<Measured> {
    let url = format!("http://{address}/v1/check-in");
    let body = serde_json::to_vec(&request(SystemClock.now())?)?;
    let begun = Instant::now();
    let connections: Vec<_> = secrets
        .chunks(secrets.len().div_ceil(CONNECTIONS))
        .map(|secrets| {
            let bearer = |secret: &MachineSecret| format!("Bearer {}", secret.expose());
            let bearers: Vec<_> = secrets.iter().map(bearer).collect();
            let (url, body) = (url.clone(), body.clone());
            tokio::task::spawn_blocking(move || connection(&url, &bearers, &body, begun))
        })
        .collect();
    let (mut times, mut answer) = (Vec::new(), Vec::new());
    for connection in connections {
        let (own, last) = connection.await??;
        times.extend(own);
        answer = last;
    }
    let took = begun.elapsed();
    times.sort_unstable();
    Ok(Measured {
        times,
        took,
        answer,
    })
}

fn connection(
    url: &str,
    bearers: &[String],
    body: &[u8],
    begun: Instant,
) -> anyhow::Result<(Vec<Duration>, Vec<u8>)> {
    let config = ureq::Agent::config_builder().proxy(None);
    let agent: ureq::Agent = config.build().into();
    let (mut times, mut answer) = (Vec::new(), Vec::new());
    for bearer in bearers.iter().cycle() {
        if begun.elapsed() >= TIME {
            break;
        }
        let sent = Instant::now();
        let request = agent.post(url).header("content-type", "application/json");
        let answered = request.header("authorization", bearer).send(body)?;
        answer = answered.into_body().read_to_vec()?;
        times.push(sent.elapsed());
    }
    Ok((times, answer))
}

fn request(now: Timestamp) -> anyhow::Result<CheckInRequest> {
    Ok(CheckInRequest {
        kernel: kernel()?,
        boot_id: "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1".to_owned(),
        boot_time: now,
        agent_version: "0.1.0".to_owned(),
        state: MachineState::Unapplied,
        applied: None,
        failure: None,
        events: Vec::new(),
    })
}

fn kernel() -> anyhow::Result<KernelBuild> {
    Ok(KernelBuild {
        release: "6.12.117+deb13-amd64".parse()?,
        architecture: "amd64".parse()?,
        build_id: BuildId::from_bytes(&[0xab; 20]).context("a build id has 20 bytes")?,
    })
}
