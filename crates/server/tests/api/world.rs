//! A service with everything around it.

use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use suture_kernel::{BuildId, KernelBuild};
use suture_protocol::{
    BuildRecord, CheckInRequest, CheckInResponse, EnrolRequest, EnrolResponse, FileHash, Fix,
    MachineState, Manifest, ModuleFile, Problem, SmokeTest, TargetKind, TargetName,
};
use suture_repository::{Content, InitOptions, NewTarget, PublishedTarget, Publisher};
use suture_rollout::Scope;
use suture_server::{
    Executor, MailConfig, OpenIdConfig, ServerConfig, ServerError, StripeConfig, Tls,
};
use suture_store::{
    Account, AccountId, Actor, Clock, IssuedToken, NewAccount, NewRollout, OperatorKey, Plan,
    Rollout, Store,
};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::database::Database;

/// A clock that stands still until it is moved.
pub struct TestClock(Mutex<Timestamp>);

impl TestClock {
    pub fn advance(&self, time: SignedDuration) {
        *self.0.lock().unwrap() += time;
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A service, its folder and a client that trusts its certificate.
pub struct World {
    pub store: Arc<dyn Store>,
    pub clock: Arc<TestClock>,
    pub address: SocketAddr,
    folder: Arc<TempDir>,
    database: Database,
    scheme: &'static str,
    openid: Option<OpenIdConfig>,
    client: ureq::Agent,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<Result<(), ServerError>>,
}

/// What the service answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
    headers: Vec<(String, String)>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        assert_eq!(self.status, 200, "{}", self.text());
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The problem document; its status must be that of the answer.
    pub fn problem(&self) -> Problem {
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem.status, self.status);
        problem
    }
}

/// How e-mails leave.
enum Mail {
    None,
    Folder,
    Server(String),
}

/// What differs from one service to another.
struct Settings {
    with_tls: bool,
    mail: Mail,
    stripe: Option<StripeConfig>,
    openid: Option<OpenIdConfig>,
    /// The file of hooks.
    hooks: Option<String>,
}

impl Settings {
    fn new(with_tls: bool, mail: Mail) -> Self {
        Self {
            with_tls,
            mail,
            stripe: None,
            openid: None,
            hooks: None,
        }
    }
}

impl World {
    /// Behind TLS with a certificate of its own.
    pub async fn new() -> Self {
        Self::start(Settings::new(true, Mail::Folder)).await
    }

    /// As [`World::new`], with e-mails that go to this mail server.
    pub async fn with_mail_server(url: String) -> Self {
        Self::start(Settings::new(true, Mail::Server(url))).await
    }

    /// Over plain HTTP, to send what no client library would.
    pub async fn plain() -> Self {
        Self::start(Settings::new(false, Mail::None)).await
    }

    /// Over plain HTTP, so that Stripe's stand-in can call; subscriptions are sold.
    pub async fn selling(stripe: StripeConfig) -> Self {
        Self::start(Settings {
            stripe: Some(stripe),
            ..Settings::new(false, Mail::Folder)
        })
        .await
    }

    /// As [`World::new`], with a provider of identities.
    pub async fn with_openid(openid: OpenIdConfig) -> Self {
        Self::start(Settings {
            openid: Some(openid),
            ..Settings::new(true, Mail::Folder)
        })
        .await
    }

    /// As [`World::new`], with a file of hooks.
    pub async fn with_hooks(hooks: &str) -> Self {
        Self::start(Settings {
            hooks: Some(hooks.to_owned()),
            ..Settings::new(true, Mail::Folder)
        })
        .await
    }

    async fn start(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let options = InitOptions::new(at("repository"), at("keys"), at("root-keys"));
        suture_repository::init(&options, now()).await.unwrap();
        let database = Database::empty(folder.path());
        let clock = Arc::new(TestClock(Mutex::new(now())));
        Self::serve(Arc::new(folder), database, clock, settings).await
    }

    /// Another server on the same database and repository, over plain HTTP.
    pub async fn beside(&self) -> Self {
        let (folder, clock) = (Arc::clone(&self.folder), Arc::clone(&self.clock));
        let settings = Settings {
            openid: self.openid.clone(),
            ..Settings::new(false, Mail::None)
        };
        Self::serve(folder, self.database.clone(), clock, settings).await
    }

    async fn serve(
        folder: Arc<TempDir>,
        database: Database,
        clock: Arc<TestClock>,
        settings: Settings,
    ) -> Self {
        let Settings {
            with_tls,
            mail,
            stripe,
            openid,
            hooks,
        } = settings;
        let at = |name: &str| folder.path().join(name);
        let store = database.open().await;
        let names = vec!["127.0.0.1".to_owned()];
        let pair = rcgen::generate_simple_self_signed(names).unwrap();
        std::fs::write(at("cert.pem"), pair.cert.pem()).unwrap();
        std::fs::write(at("key.pem"), pair.signing_key.serialize_pem()).unwrap();
        let pem = Tls::Pem {
            cert: at("cert.pem"),
            key: at("key.pem"),
        };
        let tls = if with_tls { pem } else { Tls::Plain };
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut config = ServerConfig::new(listen, tls, at("repository"));
        config.mail = match mail {
            Mail::None => None,
            Mail::Folder => Some(MailConfig::Folder { folder: at("mail") }),
            Mail::Server(url) => Some(MailConfig::Smtp {
                url: url.into(),
                from: "Suture <suture@example.org>".to_owned(),
            }),
        };
        config.stripe = stripe;
        config.openid = openid.clone();
        config.public_url = Some("https://patches.example.org/".to_owned());
        std::fs::write(at("notices.toml"), "").unwrap();
        config.notices = Some(at("notices.toml"));
        config.hooks = hooks.map(|text| {
            let path = at("hooks.toml");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            path
        });

        let (ready, listening) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let serve = suture_server::serve(
            config,
            Arc::clone(&store),
            Arc::clone(&clock) as _,
            ready,
            shutdown,
        );
        let serving = tokio::spawn(serve);
        let address = listening.await.unwrap();
        let scheme = if with_tls { "https" } else { "http" };
        let client = client(pair.cert.der());
        Self {
            store,
            clock,
            address,
            folder,
            database,
            scheme,
            openid,
            client,
            stop: Some(stop),
            serving,
        }
    }

    pub async fn account(&self, plan: Plan) -> (Account, IssuedToken) {
        let by = operator();
        let email = "owner@example.org".parse().unwrap();
        let account = self
            .store
            .create_account(&NewAccount { email, plan }, &by, now())
            .await;
        let account = account.unwrap();
        let label = "first".parse().unwrap();
        let token = self
            .store
            .create_token(account.id, &label, &by, now())
            .await
            .unwrap();
        (account, token)
    }

    /// The cookie of a new session of the account's owner.
    pub async fn session_of(&self, account: AccountId) -> String {
        let (now, day) = (self.clock.now(), SignedDuration::from_hours(12));
        let begun = self.store.begin_account_session(account, now + day, now);
        format!("__Host-suture-session={}", begun.await.unwrap().expose())
    }

    /// Looks at the rollouts now, as a second server on the same database would.
    pub async fn look(&self) {
        let listen = "127.0.0.1:0".parse().unwrap();
        let config = ServerConfig::new(listen, Tls::Plain, self.repository());
        let store = Arc::clone(&self.store);
        let executor = Executor::open(&config, store, Arc::clone(&self.clock) as _).await;
        executor.unwrap().look_now().await;
    }

    /// A door of its own to the database.
    pub async fn open_database(&self) -> Arc<dyn Store> {
        self.database.open().await
    }

    /// Takes the database away from under the service.
    pub async fn lose_database(&self) {
        self.database.lose().await;
    }

    /// Where its e-mails lie.
    pub fn mail(&self) -> PathBuf {
        self.folder.path().join("mail")
    }

    pub fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    pub fn notices(&self) -> PathBuf {
        self.folder.path().join("notices.toml")
    }

    /// Publishes the three files of a live patch, as another process would.
    pub async fn publish(&self, kernel: &KernelBuild, version: &str) -> Vec<PublishedTarget> {
        let manifest = manifest(kernel, version);
        let fixes: Vec<_> = manifest.fixes.iter().map(|fix| fix.cve.clone()).collect();
        let target = |kind: TargetKind, bytes: Vec<u8>| NewTarget {
            name: TargetName {
                kernel: kernel.clone(),
                version: manifest.version,
                kind,
            },
            content: Content::Bytes(bytes),
            fixes: fixes.clone(),
        };
        let publisher = Publisher::new(self.repository(), self.folder.path().join("keys"));
        let targets = vec![
            target(TargetKind::Module, module_bytes()),
            target(TargetKind::Manifest, serde_json::to_vec(&manifest).unwrap()),
            target(TargetKind::Source, b"a source archive".to_vec()),
        ];
        publisher.publish(targets, now()).await.unwrap().added
    }

    pub fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    pub fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.client.get(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.call())
    }

    pub fn head(&self, path: &str) -> Answer {
        answer(self.client.head(self.url(path)).call())
    }

    /// As a browser with this cookie asks, but stays where a redirect is answered.
    pub fn visit(&self, path: &str, cookie: &str) -> Answer {
        let request = self.client.get(self.url(path)).header("cookie", cookie);
        let config = request
            .config()
            .max_redirects(0)
            .max_redirects_will_error(false);
        answer(config.build().call())
    }

    pub fn delete(&self, path: &str, bearer: &str) -> Answer {
        let request = self.client.delete(self.url(path));
        answer(
            request
                .header("authorization", format!("Bearer {bearer}"))
                .call(),
        )
    }

    /// A request with a JSON body by any method.
    pub fn send(
        &self,
        method: &str,
        path: &str,
        bearer: &str,
        body: &impl serde::Serialize,
    ) -> Answer {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(self.url(path))
            .header("authorization", format!("Bearer {bearer}"))
            .header("content-type", "application/json")
            .body(serde_json::to_vec(body).unwrap());
        answer(self.client.run(request.unwrap()))
    }

    pub fn post(&self, path: &str, bearer: &str, body: &impl serde::Serialize) -> Answer {
        self.post_bytes(
            path,
            bearer,
            "application/json",
            &serde_json::to_vec(body).unwrap(),
        )
    }

    pub fn post_bytes(&self, path: &str, bearer: &str, media_type: &str, body: &[u8]) -> Answer {
        let request = self
            .client
            .post(self.url(path))
            .header("content-type", media_type);
        answer(
            request
                .header("authorization", format!("Bearer {bearer}"))
                .send(body),
        )
    }

    /// A request with a JSON body to a whole address, with these headers and no bearer.
    pub fn post_raw(&self, address: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = self.client.post(address);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(
            request
                .header("content-type", "application/json")
                .send(body),
        )
    }

    /// Sends a form as a browser does, and stays where a redirect is answered.
    pub fn post_form(&self, path: &str, headers: &[(&str, &str)], form: &[(&str, &str)]) -> Answer {
        let mut request = self.client.post(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let config = request
            .config()
            .max_redirects(0)
            .max_redirects_will_error(false);
        answer(config.build().send_form(form.iter().copied()))
    }

    /// A rollout by the standard plan that starts now.
    pub async fn rollout(&self, version: &str) -> Rollout {
        let scope = Scope {
            version: version.parse().unwrap(),
            kernel: None,
        };
        let new = NewRollout {
            scope,
            plan: suture_rollout::Plan::standard(),
            starts: now(),
        };
        let made = self.store.create_rollout(&new, &operator(), now()).await;
        made.unwrap()
    }

    pub async fn operator_key(&self) -> OperatorKey {
        let (name, by) = ("ada".parse().unwrap(), operator());
        let made = self.store.create_operator_key(&name, &by, now()).await;
        made.unwrap().1
    }

    /// Enrols machine number `number`.
    pub fn enrol(&self, token: &IssuedToken, number: u8) -> Answer {
        self.post(
            "/v1/machines",
            token.secret.expose(),
            &enrol_request(number),
        )
    }

    /// Enrols and returns the machine's secret.
    pub fn enrolled(&self, token: &IssuedToken, number: u8) -> String {
        self.enrol(token, number)
            .json::<EnrolResponse>()
            .machine_secret
    }

    pub fn check_in(&self, secret: &str, request: &CheckInRequest) -> CheckInResponse {
        self.post("/v1/check-in", secret, request).json()
    }

    /// Sends bytes as they are over plain HTTP and reads until the service closes.
    pub fn raw(&self, request: &str) -> String {
        let mut stream = self.connect().unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(stream)
    }

    /// Calls for the end.
    pub fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits for the end.
    pub async fn ended(self) -> Result<(), ServerError> {
        self.serving.await.unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }
}

fn client(certificate: &[u8]) -> ureq::Agent {
    let root = Certificate::from_der(certificate).to_owned();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder()
        .root_certs(RootCerts::from([root]))
        .unversioned_rustls_crypto_provider(provider)
        .build();
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(20)));
    config.build().into()
}

fn answer(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = result.unwrap();
    let header = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let headers = response.headers().iter().map(header).collect();
    let body = response.body_mut().read_to_vec().unwrap();
    Answer {
        status: response.status().as_u16(),
        body,
        headers,
    }
}

pub fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

pub fn operator() -> Actor {
    Actor::Operator("operator".parse().unwrap())
}

pub fn kernel() -> KernelBuild {
    KernelBuild {
        release: "6.12.117+deb13-amd64".parse().unwrap(),
        architecture: "amd64".parse().unwrap(),
        build_id: BuildId::from_bytes(&[0xab; 20]).unwrap(),
    }
}

pub fn module_bytes() -> Vec<u8> {
    // More than one piece of a stream.
    (0..300_000_u32).flat_map(u32::to_le_bytes).collect()
}

pub fn enrol_request(number: u8) -> EnrolRequest {
    EnrolRequest {
        machine_id: format!("{number:032x}").parse().unwrap(),
        hostname: format!("web-{number}"),
        kernel: kernel(),
        agent_version: "0.1.0".to_owned(),
        hardware: None,
    }
}

pub fn check_in_request() -> CheckInRequest {
    CheckInRequest {
        kernel: kernel(),
        boot_id: "6b0c1b62-8b0b-4b0e-9d58-2d5ff6c4f2a1".to_owned(),
        boot_time: now(),
        agent_version: "0.1.0".to_owned(),
        state: MachineState::Unapplied,
        applied: None,
        failure: None,
        events: Vec::new().into(),
    }
}

fn manifest(kernel: &KernelBuild, version: &str) -> Manifest {
    let file = || FileHash {
        sha256: "0".repeat(64),
        length: 1,
    };
    let version = version.parse().unwrap();
    let fixes = serde_json::json!([
        {
            "cve": "CVE-2026-31402",
            "title": "netfilter: check the length of an <option>",
            "claims": [],
            "decisive": { "severity": "high", "score": 7.8, "author": "cisa-adp" },
        },
        {
            "cve": "CVE-2026-31413",
            "title": "net: fix a use after free on release",
            "claims": [],
            "decisive": { "severity": "critical", "score": 9.8, "author": "cisa-adp" },
        },
    ]);
    let objects = serde_json::json!([{
        "name": "nf_tables",
        "functions": [{
            "name": "nft_exthdr_eval",
            "sympos": 0,
            "unit": "net/netfilter/nft_exthdr.c",
            "old_size": 300,
            "new_size": 320,
            "shipped_sha256": "0".repeat(64),
        }],
    }]);
    Manifest {
        schema: Manifest::SCHEMA,
        version,
        kernel: kernel.clone(),
        module: ModuleFile {
            name: version.module_name(),
            unsigned_sha256: "0".repeat(64),
            file: file(),
        },
        fixes: serde_json::from_value::<Vec<Fix>>(fixes).unwrap(),
        objects: serde_json::from_value(objects).unwrap(),
        build: BuildRecord {
            compiler: "gcc-14 (Debian 14.2.0-19) 14.2.0".to_owned(),
            source_package: "linux-source-6.12 6.12.117-1".to_owned(),
            inputs: Vec::new(),
            suture: "0.1.0".to_owned(),
        },
        source: file(),
        smoke_test: Some(SmokeTest::Skipped {
            why: "no virtual machine".to_owned(),
        }),
        left_out: Vec::new(),
        created: now(),
    }
}
