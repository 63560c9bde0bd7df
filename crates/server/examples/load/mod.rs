//! Machines that check in, many at the same moment, and how long they wait.

use std::fmt;
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use suture_kernel::{BuildId, KernelBuild};
use suture_protocol::{CheckInRequest, MachineEvents, MachineState};
use suture_store::{Clock as _, MachineSecret, SystemClock};
use tokio::net::TcpStream;

/// Bytes of an answer.
const MAX_ANSWER: usize = 1 << 20;

/// `USER_HZ` of the Linux kernel.
const TICKS_A_SECOND: u64 = 100;

/// What check in, and how.
#[derive(Clone)]
pub struct Machines {
    pub number: usize,
    /// The secret of each, from 0.
    pub secret: Arc<dyn Fn(usize) -> MachineSecret + Send + Sync>,
    /// As many check in at the same moment.
    pub connections: usize,
    pub time: Duration,
    /// Of all, in a second; none: each connection without a pause.
    pub rate: Option<f64>,
}

/// What came of one load, or of several that took turns.
#[derive(Default)]
pub struct Load {
    /// Sorted.
    pub times: Vec<Duration>,
    took: Duration,
    /// Of all processors, by this process.
    cpu: Duration,
}

impl Load {
    pub fn rate(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }

    /// Milliseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        let place = self.times.len() * percent / 100;
        let time = self.times.get(place).or(self.times.last());
        time.map_or(0.0, Duration::as_secs_f64) * 1000.0
    }
}

/// Another turn.
impl AddAssign for Load {
    fn add_assign(&mut self, turn: Self) {
        self.times.extend(turn.times);
        self.times.sort_unstable();
        self.took += turn.took;
        self.cpu += turn.cpu;
    }
}

impl fmt::Display for Load {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.cpu.as_secs_f64() * 1e6 / self.times.len().max(1) as f64;
        write!(
            formatter,
            "{:>7.0} a second   median {:>6.1} ms   99 of 100 below {:>6.1} ms   \
             {micros:>4.0} µs of processor",
            self.rate(),
            self.percentile(50),
            self.percentile(99),
        )
    }
}

/// The time that this process has had of all processors.
fn cpu_time() -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // After the name, which may hold spaces (source: proc_pid_stat(5): 14 is utime, 15 stime).
    let (_, fields) = stat
        .rsplit_once(") ")
        .context("/proc/self/stat is unlike its manual")?;
    let ticks: u64 = fields
        .split_ascii_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap_or(0))
        .sum();
    Ok(Duration::from_millis(ticks * 1000 / TICKS_A_SECOND))
}

/// Machines check in one after the other, the first again after the last. Also gives the last
/// answer's body.
///
/// They have one thread of their own, so that what they need is little and nothing of the service
/// waits in their queue.
pub async fn run(address: SocketAddr, machines: &Machines) -> anyhow::Result<(Load, Vec<u8>)> {
    let machines = machines.clone();
    let running = move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build()?;
        runtime.block_on(load(address, &machines))
    };
    tokio::task::spawn_blocking(running).await?
}

async fn load(address: SocketAddr, machines: &Machines) -> anyhow::Result<(Load, Vec<u8>)> {
    let body = Bytes::from(serde_json::to_vec(&request()?)?);
    let opening = (0..machines.connections)
        .map(|number| tokio::spawn(open(address, machines.clone(), number, body.clone())));
    let mut services = Vec::new();
    for service in opening.collect::<Vec<_>>() {
        services.push(service.await??);
    }
    let (begun, cpu) = (Instant::now(), cpu_time()?);
    let connections = services.into_iter().enumerate().map(|(number, service)| {
        let own = Connection::new(machines.clone(), number, begun);
        tokio::spawn(own.check_in(service, body.clone()))
    });
    let connections: Vec<_> = connections.collect();
    let (mut times, mut answer) = (Vec::new(), Vec::new());
    for connection in connections {
        let (own, last) = connection.await??;
        times.extend(own);
        answer = last;
    }
    let (took, cpu) = (begun.elapsed(), cpu_time()?.saturating_sub(cpu));
    times.sort_unstable();
    Ok((Load { times, took, cpu }, answer))
}

/// A connection that was answered once: that the service takes thousands of new ones is no part of
/// the time that machines wait.
async fn open(
    address: SocketAddr,
    machines: Machines,
    number: usize,
    body: Bytes,
) -> anyhow::Result<SendRequest<Body>> {
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut service, connection) = http1::handshake(stream).await?;
    tokio::spawn(connection);
    let secret = (machines.secret)(number % machines.number);
    ask(&mut service, &secret, body).await?;
    Ok(service)
}

/// Checks in, and gives the answer's body.
async fn ask(
    service: &mut SendRequest<Body>,
    secret: &MachineSecret,
    body: Bytes,
) -> anyhow::Result<Bytes> {
    let request = Request::post("/v1/check-in")
        .header(HOST, "localhost")
        .header(CONTENT_TYPE, "application/json")
        .header(AUTHORIZATION, format!("Bearer {}", secret.expose()))
        .body(Body::from(body))?;
    let answered = service.send_request(request).await?;
    anyhow::ensure!(answered.status().is_success(), "{answered:?}");
    Ok(to_bytes(Body::new(answered.into_body()), MAX_ANSWER).await?)
}

/// One of the connections: takes every so-manieth machine.
struct Connection {
    machines: Machines,
    number: usize,
    begun: Instant,
    /// Between two of its check-ins.
    every: Option<Duration>,
}

impl Connection {
    fn new(machines: Machines, number: usize, begun: Instant) -> Self {
        let connections = machines.connections as f64;
        let every = machines
            .rate
            .map(|rate| Duration::from_secs_f64(connections / rate));
        Self {
            machines,
            number,
            begun,
            every,
        }
    }

    /// Waits for its check-in of this number, and says since when it is due.
    async fn wait(&self, number: u32) -> Instant {
        let Some(every) = self.every else {
            return Instant::now();
        };
        let share = self.number as f64 / self.machines.connections as f64;
        let due = self.begun + every.mul_f64(share + f64::from(number));
        tokio::time::sleep_until(due.into()).await;
        due
    }

    async fn check_in(
        self,
        mut service: SendRequest<Body>,
        body: Bytes,
    ) -> anyhow::Result<(Vec<Duration>, Vec<u8>)> {
        let (mut times, mut answer) = (Vec::new(), Vec::new());
        let Machines {
            number,
            connections,
            ..
        } = self.machines;
        let own = (self.number..)
            .step_by(connections)
            .map(|place| place % number);
        for (turn, machine) in (0..).zip(own) {
            let secret = (self.machines.secret)(machine);
            let due = self.wait(turn).await;
            if self.begun.elapsed() >= self.machines.time {
                break;
            }
            let bytes = ask(&mut service, &secret, body.clone()).await?;
            answer = bytes.to_vec();
            times.push(due.elapsed());
        }
        Ok((times, answer))
    }
}

fn request() -> anyhow::Result<CheckInRequest> {
    Ok(CheckInRequest {
        kernel: kernel()?,
        boot_id: BOOT_ID.to_owned(),
        boot_time: SystemClock.now(),
        agent_version: "0.1.0".to_owned(),
        state: MachineState::Unapplied,
        applied: None,
        failure: None,
        events: MachineEvents::default(),
    })
}

/// All machines are of one boot, which nothing here tells apart.
pub const BOOT_ID: &str = "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1";

pub fn kernel() -> anyhow::Result<KernelBuild> {
    Ok(KernelBuild {
        release: "6.12.117+deb13-amd64".parse()?,
        architecture: "amd64".parse()?,
        build_id: BuildId::from_bytes(&[0xab; 20]).context("a build id has 20 bytes")?,
    })
}
