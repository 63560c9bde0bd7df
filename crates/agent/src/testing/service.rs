//! A small service over a real listener, with a real repository.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Response, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{delete, get, post};
use jiff::Timestamp;
use object::write::{Object, StandardSegment};
use object::{BinaryFormat, Endianness, SectionKind};
use suture_advisory::PatchVersion;
use suture_kernel::KernelBuild;
use suture_protocol::{
    CheckInRequest, CheckInResponse, EnrolRequest, EnrolResponse, EventKind, Held, KernelNotice,
    MachineId, Manifest, Problem, ProblemKind, SplitRequest, TargetKind, TargetName, Withdrawal,
};
use suture_repository::{Content, InitOptions, NewTarget, Publisher, init};
use suture_rollout::{ChannelName, Offer};
use tempfile::TempDir;

use super::{FakeTree, manifest, time, version};

/// The token that the service knows.
pub const TOKEN: &str = "token-1";
const SECRET: &str = "secret-1";

/// What the service does, and what it saw.
#[derive(Debug)]
pub struct Desk {
    pub offer: Offer,
    /// Answers every API call so, without a problem document, as a broken proxy does.
    pub broken: Option<StatusCode>,
    /// Answers an enrolment so.
    pub enrol_problem: Option<Problem>,
    pub enrolled: bool,
    pub early_group: Option<PatchVersion>,
    pub channel: Option<ChannelName>,
    pub coming: Option<PatchVersion>,
    pub withdrawn: Option<Withdrawal>,
    pub notice: Option<KernelNotice>,
    pub held: Option<Held>,
    /// Other machines have the same secret.
    pub copied: bool,
    /// The ids for which machines were split, and what the next one is refused with.
    pub splits: Vec<MachineId>,
    /// The machine that was enrolled last.
    pub enrolled_id: Option<MachineId>,
    pub split_problem: Option<Problem>,
    /// Keeps what a check-in says, and lets its answer get lost.
    pub loses_answers: bool,
    pub check_ins: Vec<CheckInRequest>,
    /// Whether each fetched module came with the machine's secret.
    pub modules: Vec<bool>,
}

/// The service; it ends with the test's runtime.
pub struct Service {
    repository: TempDir,
    pub desk: Arc<Mutex<Desk>>,
    pub address: SocketAddr,
    pub root: Vec<u8>,
}

#[derive(Clone)]
struct App {
    desk: Arc<Mutex<Desk>>,
    repository: std::path::PathBuf,
}

impl Service {
    /// A service with an empty repository.
    pub async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// As [`Self::start`], at an IPv6 address.
    pub async fn start_v6() -> Self {
        Self::start_at(Ipv6Addr::LOCALHOST.into()).await
    }

    async fn start_at(address: IpAddr) -> Self {
        let (service, app, listener) = Self::prepare(address).await;
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        tokio::spawn(async move { axum::serve(listener, routes(app)).await.unwrap() });
        service
    }

    /// As [`Self::start`], with TLS by a certificate for `localhost`, whose PEM is returned.
    pub async fn start_tls() -> (Self, String) {
        let names = vec!["localhost".to_owned()];
        let issued = rcgen::generate_simple_self_signed(names).unwrap();
        let pem = issued.cert.pem();
        (
            Self::start_tls_with((issued.cert, issued.signing_key)).await,
            pem,
        )
    }

    /// With TLS by this certificate.
    pub async fn start_tls_with((certificate, key): (rcgen::Certificate, rcgen::KeyPair)) -> Self {
        let (service, app, listener) = Self::prepare(Ipv4Addr::LOCALHOST.into()).await;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = key.serialize_der().try_into().unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        let tls = axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(tls));
        let server = axum_server::from_tcp_rustls(listener, tls).unwrap();
        tokio::spawn(async move { server.serve(routes(app).into_make_service()).await.unwrap() });
        service
    }

    async fn prepare(address: IpAddr) -> (Self, App, TcpListener) {
        let repository = tempfile::tempdir().unwrap();
        let dir = |name: &str| repository.path().join(name);
        let options = InitOptions::new(dir("repository"), dir("keys"), dir("root-keys"));
        let root = init(&options, time(-60)).await.unwrap();
        let listener = TcpListener::bind((address, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Arc::new(Mutex::new(Desk {
            offer: Offer::UpToDate,
            broken: None,
            enrol_problem: None,
            enrolled: false,
            early_group: None,
            channel: None,
            coming: None,
            withdrawn: None,
            notice: None,
            held: None,
            copied: false,
            splits: Vec::new(),
            enrolled_id: None,
            split_problem: None,
            loses_answers: false,
            check_ins: Vec::new(),
            modules: Vec::new(),
        }));
        let app = App {
            desk: desk.clone(),
            repository: dir("repository"),
        };
        (
            Self {
                repository,
                desk,
                address,
                root,
            },
            app,
            listener,
        )
    }

    pub fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The events that it was told, each time that it was told them.
    pub fn events(&self) -> Vec<suture_protocol::MachineEvent> {
        let desk = self.desk();
        let events = desk
            .check_ins
            .iter()
            .flat_map(|request| &request.events.known);
        events.cloned().collect()
    }

    /// What happened by these events.
    pub fn happened(&self) -> Vec<EventKind> {
        self.events().into_iter().map(|event| event.kind).collect()
    }

    /// Publishes a sound patch for the tree's kernel and offers it.
    pub async fn offer(&self, text: &str) {
        let module = module(text, FakeTree::kernel().release.as_str());
        self.publish(&manifest(text, &module), module, time(0))
            .await;
        self.desk().offer = Offer::Version {
            version: version(text),
        };
    }

    /// Publishes for the kernel of the tree, whatever the manifest says.
    pub async fn publish(&self, manifest: &Manifest, module: Vec<u8>, now: Timestamp) {
        let release = FakeTree::kernel().release;
        self.publish_for(release.as_str(), manifest, module, now)
            .await;
    }

    /// Publishes for the tree's kernel under another release.
    pub async fn publish_for(
        &self,
        release: &str,
        manifest: &Manifest,
        module: Vec<u8>,
        now: Timestamp,
    ) {
        let kernel = KernelBuild {
            release: release.parse().unwrap(),
            ..FakeTree::kernel()
        };
        let target = |kind, bytes| NewTarget {
            name: target_name(&kernel, manifest, kind),
            content: Content::Bytes(bytes),
            fixes: Vec::new(),
        };
        let targets = vec![
            target(TargetKind::Manifest, serde_json::to_vec(manifest).unwrap()),
            target(TargetKind::Module, module),
            target(TargetKind::Source, b"source".to_vec()),
        ];
        self.publisher().publish(targets, now).await.unwrap();
    }

    pub fn publisher(&self) -> Publisher {
        Publisher::new(self.repository_dir(), self.repository.path().join("keys"))
    }

    pub fn repository_dir(&self) -> std::path::PathBuf {
        self.repository.path().join("repository")
    }

    /// Changes one byte of each published module.
    pub fn alter_modules(&self) {
        for entry in fs::read_dir(self.repository_dir().join("targets")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "ko") {
                let mut bytes = fs::read(&path).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(&path, bytes).unwrap();
            }
        }
    }
}

fn target_name(kernel: &KernelBuild, manifest: &Manifest, kind: TargetKind) -> TargetName {
    TargetName {
        kernel: kernel.clone(),
        version: manifest.version,
        kind,
    }
}

/// An ELF file whose `.modinfo` is that of a live patch.
pub fn module(text: &str, release: &str) -> Vec<u8> {
    let name = version(text).module_name();
    let build_id = super::FakeTree::kernel().build_id;
    let modinfo = format!(
        "livepatch=Y\0name={name}\0vermagic={release} SMP preempt mod_unload modversions \0\
         suture_release={release}\0suture_architecture=amd64\0suture_build_id={build_id}\0"
    );
    let mut object = Object::new(
        BinaryFormat::Elf,
        object::Architecture::X86_64,
        Endianness::Little,
    );
    let segment = object.segment_name(StandardSegment::Data).to_vec();
    let section = object.add_section(segment, b".modinfo".to_vec(), SectionKind::ReadOnlyData);
    object.set_section_data(section, modinfo.into_bytes(), 1);
    object.write().unwrap()
}

fn routes(app: App) -> axum::Router {
    axum::Router::new()
        .route("/v1/machines", post(enrol))
        .route("/v1/machines/self", delete(release))
        .route("/v1/machines/self/split", post(split))
        .route("/v1/check-in", post(check_in))
        .route("/v1/repository/{folder}/{file}", get(file))
        .with_state(app)
}

fn bearer(headers: &HeaderMap) -> &str {
    let value = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    value
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default()
}

fn problem(kind: ProblemKind, status: StatusCode, detail: &str) -> Response<Body> {
    let problem = Problem {
        kind,
        title: "No".to_owned(),
        status: status.as_u16(),
        detail: detail.to_owned(),
    };
    (status, Json(problem)).into_response()
}

fn broken(status: StatusCode) -> Response<Body> {
    (status, "<html><h1>Bad gateway</h1></html>").into_response()
}

async fn enrol(
    State(app): State<App>,
    headers: HeaderMap,
    Json(request): Json<EnrolRequest>,
) -> Response<Body> {
    let mut desk = app.desk.lock().unwrap();
    if let Some(status) = desk.broken {
        return broken(status);
    }
    if let Some(answer) = desk.enrol_problem.clone() {
        return (StatusCode::FORBIDDEN, Json(answer)).into_response();
    }
    if bearer(&headers) != TOKEN {
        let detail = "Unknown Auth-Token";
        return problem(ProblemKind::UnknownToken, StatusCode::UNAUTHORIZED, detail);
    }
    desk.enrolled = true;
    desk.enrolled_id = Some(request.machine_id);
    let answer = EnrolResponse {
        machine_secret: SECRET.to_owned(),
        plan: "free".to_owned(),
    };
    Json(answer).into_response()
}

async fn split(
    State(app): State<App>,
    headers: HeaderMap,
    Json(request): Json<SplitRequest>,
) -> Response<Body> {
    let mut desk = app.desk.lock().unwrap();
    if bearer(&headers) != SECRET {
        return unknown_machine();
    }
    desk.splits.push(request.machine_id);
    if let Some(answer) = desk.split_problem.clone() {
        return (StatusCode::FORBIDDEN, Json(answer)).into_response();
    }
    desk.copied = false;
    let answer = EnrolResponse {
        machine_secret: SECRET.to_owned(),
        plan: "free".to_owned(),
    };
    Json(answer).into_response()
}

async fn release(State(app): State<App>, headers: HeaderMap) -> Response<Body> {
    let mut desk = app.desk.lock().unwrap();
    if let Some(status) = desk.broken {
        return broken(status);
    }
    if bearer(&headers) != SECRET || !desk.enrolled {
        return unknown_machine();
    }
    desk.enrolled = false;
    StatusCode::NO_CONTENT.into_response()
}

fn unknown_machine() -> Response<Body> {
    problem(
        ProblemKind::UnknownMachine,
        StatusCode::UNAUTHORIZED,
        "It was released.",
    )
}

async fn check_in(
    State(app): State<App>,
    headers: HeaderMap,
    Json(request): Json<CheckInRequest>,
) -> Response<Body> {
    let mut desk = app.desk.lock().unwrap();
    if let Some(status) = desk.broken {
        return broken(status);
    }
    if bearer(&headers) != SECRET || !desk.enrolled {
        return unknown_machine();
    }
    let has_newest =
        matches!(&desk.offer, Offer::Version { version } if request.applied >= Some(*version));
    let offer = if has_newest {
        Offer::UpToDate
    } else {
        desk.offer.clone()
    };
    desk.check_ins.push(request);
    if desk.loses_answers {
        return broken(StatusCode::GATEWAY_TIMEOUT);
    }
    Json(CheckInResponse {
        offer,
        next_check_in_secs: 3600,
        early_group: desk.early_group,
        channel: desk.channel.clone(),
        coming: desk.coming,
        withdrawn: desk.withdrawn.clone(),
        notice: desk.notice.clone(),
        held: desk.held.clone(),
        copied: desk.copied,
    })
    .into_response()
}

async fn file(
    State(app): State<App>,
    Path((folder, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response<Body> {
    if file.ends_with(".ko") {
        let authentic = bearer(&headers) == SECRET;
        app.desk.lock().unwrap().modules.push(authentic);
        if !authentic {
            return unknown_machine();
        }
    }
    match fs::read(app.repository.join(folder).join(file)) {
        Ok(bytes) => bytes.into_response(),
        Err(_) => StatusCode::NOT_FOUND.into_response(),
    }
}
