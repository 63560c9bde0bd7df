//! Check-ins a second, on SQLite and on PostgreSQL, beside a bare handler of the same framework
//! that answers the same bytes; all in one run, with load and servers on the same processors.
//!
//! The three take turns, so that a moment in which the machine is slow strikes all of them.
//!
//! Every answered check-in is on the disk. The machines of each connection check in one after the
//! other without a pause, which no machine does: what counts are the ratios. Then they check in at
//! half of that rate, each at its own moment, and the time is counted from that moment on.
//!
//! The processor's time is that of load and service together; PostgreSQL's own is not in it. The
//! less of it the load takes, the smaller is a service's share of the bare handler: that one does
//! little else than what the load does.

mod load;

use std::ffi::{OsStr, OsString};
use std::future::IntoFuture as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use suture_private_postgres::PrivatePostgres;
use suture_repository::InitOptions;
use suture_server::{ServerConfig, ServerError, Tls};
use suture_store::{
    Actor, Clock as _, MachineSecret, NewAccount, NewMachine, Plan, Store, SystemClock,
};
use suture_store_sql::DatabaseAddress;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use load::{Load, Machines};

/// As in the `suture` program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Connections, each of which carries its part of the machines: as many check in at the same
/// moment.
const CONNECTIONS: usize = 2048;

const MACHINES: usize = 16384;

/// How long a turn is, and how long one at half of the rate.
const TIME: Duration = Duration::from_secs(5);

const TURNS: u32 = 4;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let options = InitOptions::new(at("repository"), at("keys"), at("root-keys"));
    suture_repository::init(&options, SystemClock.now()).await?;

    let file = at("suture.db").into_os_string();
    let sqlite = Service::start(&file, &at("repository")).await?;
    let server = PrivatePostgres::durable();
    let database = OsString::from(server.empty_database());
    let postgres = Service::start(&database, &at("repository")).await?;
    let (_, answer) = sqlite.place.load(Duration::from_secs(1), None).await?;
    let secrets = Arc::clone(&sqlite.place.secrets);
    let mut measured = [
        Measured::new("bare handler", start_bare(answer, secrets).await?),
        Measured::new("SQLite", sqlite.place.clone()),
        Measured::new("PostgreSQL", postgres.place.clone()),
    ];
    for _ in 0..TURNS {
        for one in &mut measured {
            one.full += one.place.load(TIME, None).await?.0;
        }
    }
    for _ in 0..TURNS {
        for one in &mut measured {
            let rate = one.full.rate() / 2.0;
            one.half += one.place.load(TIME, Some(rate)).await?.0;
        }
    }
    print(&measured);
    sqlite.stop().await?;
    postgres.stop().await
}

fn print(measured: &[Measured; 3]) {
    let secs = TIME.as_secs();
    println!("{MACHINES} machines on {CONNECTIONS} connections, {TURNS} turns of {secs} s each");
    let [bare, ..] = measured;
    for one in measured {
        let share = 100.0 * one.full.rate() / bare.full.rate();
        println!("{:<14}{} {share:>4.0} %", one.name, one.full);
        println!("  half of that{}", one.half);
    }
}

/// Where machines check in, and as whom.
#[derive(Clone)]
struct Place {
    address: SocketAddr,
    secrets: Arc<[MachineSecret]>,
}

impl Place {
    /// A turn's load and the last answer's body.
    async fn load(&self, time: Duration, rate: Option<f64>) -> anyhow::Result<(Load, Vec<u8>)> {
        let secrets = Arc::clone(&self.secrets);
        let machines = Machines {
            number: secrets.len(),
            secret: Arc::new(move |machine| secrets[machine].clone()),
            connections: CONNECTIONS,
            time,
            rate,
        };
        load::run(self.address, &machines).await
    }
}

/// What came of the turns at one place.
struct Measured {
    name: &'static str,
    place: Place,
    full: Load,
    half: Load,
}

impl Measured {
    fn new(name: &'static str, place: Place) -> Self {
        let (full, half) = (Load::default(), Load::default());
        Self {
            name,
            place,
            full,
            half,
        }
    }
}

/// The service on a database.
struct Service {
    place: Place,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServerError>>,
}

impl Service {
    async fn start(database: &OsStr, repository: &Path) -> anyhow::Result<Self> {
        let store = suture_store_sql::open(&DatabaseAddress::parse(database)?).await?;
        let secrets = enrol(store.as_ref()).await?.into();
        let config = ServerConfig::new("127.0.0.1:0".parse()?, Tls::Plain, repository);
        let (ready, listening) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let clock = Arc::new(SystemClock);
        let serving = suture_server::serve(config, store, clock, ready, shutdown);
        let serving = tokio::spawn(serving);
        let address = listening.await?;
        Ok(Self {
            place: Place { address, secrets },
            stop,
            serving,
        })
    }

    async fn stop(self) -> anyhow::Result<()> {
        drop(self.stop);
        Ok(self.serving.await??)
    }
}

/// Answers these bytes, whoever asks.
async fn start_bare(answer: Vec<u8>, secrets: Arc<[MachineSecret]>) -> anyhow::Result<Place> {
    let answer = Bytes::from(answer);
    let handler = async move |_body: Bytes| ([(CONTENT_TYPE, "application/json")], answer);
    let app = Router::new().route("/v1/check-in", post(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, app).into_future());
    Ok(Place { address, secrets })
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
            hardware: None,
        };
        let enrolled = store.enrol_machine(&token.secret, &new, now).await?;
        secrets.push(enrolled.secret);
    }
    Ok(secrets)
}
