//! Bad networks, bad disks and bad clocks: nothing is lost, nothing is half done, what is in
//! force stays, and a sentence says what to do.

use std::fs;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount};
use suture_protocol::MachineState;

use crate::failure::Failure;
use crate::http::Patience;
use crate::status::{self, CheckReport, PatchState};
use crate::testing::{Hostile, Machine, Manner, Service, TOKEN, in_own_mounts, version};

const CONFIG: &str = "etc/livepatch/config.d/50-site.toml";

/// A machine with 104.1 in force, to which 104.2 is offered over a proxy.
struct Scene {
    service: Service,
    proxy: Hostile,
    machine: Machine,
}

impl Scene {
    async fn set() -> Self {
        let service = Service::start().await;
        let machine = Machine::with_patch(&service, "104.1").await;
        let proxy = Hostile::before(service.address);
        let file = "etc/livepatch/config.d/60-proxy.toml";
        machine.tree.write(file, proxy.as_proxy().as_bytes());
        *machine.engine.test.patience.lock().unwrap() = Patience {
            call: Duration::from_secs(3),
            connect: Duration::from_secs(3),
            response: Duration::from_secs(1),
        };
        service.offer("104.2").await;
        Self {
            service,
            proxy,
            machine,
        }
    }

    /// Why a check-in failed while `manner` ruled the paths that begin with `path`. The kernel
    /// keeps what it has, nothing half done lies about, and once the network is honest all is
    /// made up for.
    async fn trouble(self, manner: Manner, path: &'static str) -> String {
        self.proxy.behave(manner, path);
        let refreshed = self.machine.engine.refresh(false).await.unwrap();
        let failure = refreshed.check.unwrap_err();
        assert_eq!(
            refreshed.patch,
            Ok(()),
            "the network says nothing of the patch"
        );
        let report = self.machine.engine.report().await.unwrap();
        assert_eq!(report.patch.in_force(), Some(version("104.1")));
        let CheckReport::Failed { message, .. } = &report.check else {
            panic!("{:?}", report.check);
        };
        assert_eq!(*message, failure.one_line(), "status says the same");
        assert!(!matches!(report.patch, PatchState::Failed { .. }));
        assert_eq!(self.machine.kernel.loads(), ["suture_104_1"]);
        self.assert_nothing_is_half_done();
        self.proxy.behave(Manner::Honest, "");
        *self.machine.engine.test.patience.lock().unwrap() = Patience::default();
        let refreshed = self.machine.engine.refresh(false).await.unwrap();
        assert_eq!((refreshed.check, refreshed.patch), (Ok(()), Ok(())));
        assert_eq!(
            self.machine.kernel.loads(),
            ["suture_104_1", "suture_104_2"]
        );
        self.told(&failure)
    }

    fn assert_nothing_is_half_done(&self) {
        for folder in ["", "tuf", "tuf/metadata", "targets"] {
            let folder = self.machine.tree.path("var/lib/livepatch").join(folder);
            for entry in fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                assert!(!name.starts_with('.'), "{name} was left behind");
                assert!(!name.ends_with("_104.2.ko"), "{name} is not proven");
            }
        }
    }

    fn told(&self, failure: &Failure) -> String {
        let text = failure.to_string();
        text.replace(&self.service.address.to_string(), "SERVICE")
    }
}

#[tokio::test]
async fn a_web_page_in_the_place_of_an_answer_is_no_answer() {
    let scene = Scene::set().await;
    insta::assert_snapshot!(scene.trouble(Manner::WebPage, "/v1/check-in").await, @r"
    error: something between here and `http://SERVICE/` answered with a web page

    hint: a proxy's message, or a network that wants a login first: open a page in a browser there, or check `livepatch config https-proxy`
    ");
    let scene = Scene::set().await;
    let told = scene.trouble(Manner::DisguisedPage, "/v1/check-in").await;
    assert!(told.contains("answered with a web page"), "{told}");
}

#[tokio::test]
async fn a_web_page_in_the_place_of_metadata_or_a_module_blames_no_patch() {
    let scene = Scene::set().await;
    let told = scene.trouble(Manner::WebPage, "/v1/repository/metadata/timestamp.json");
    insta::assert_snapshot!(told.await, @r"
    error: cannot fetch `http://SERVICE/v1/repository/metadata/timestamp.json`
      Transport 'other' error fetching 'http://SERVICE/v1/repository/metadata/timestamp.json': something on the way answered with a web page

    hint: a proxy's message, or a network that wants a login first: open a page in a browser there, or check `livepatch config https-proxy`
    ");
    let scene = Scene::set().await;
    let told = scene
        .trouble(Manner::DisguisedPage, "/v1/repository/targets/")
        .await;
    assert!(told.contains("answered with a web page"), "{told}");
}

#[tokio::test]
async fn a_network_that_wants_a_login_first_gets_nothing() {
    let scene = Scene::set().await;
    insta::assert_snapshot!(scene.trouble(Manner::Login, "").await, @r"
    error: `http://SERVICE/` answered 302 Found, which leads to `https://login.hotel.example/`

    hint: a network that wants a login first, or a service that moved: its own address belongs into `livepatch config remote-server=`; nothing was sent elsewhere
    ");
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let scene = Scene::set().await;
    insta::assert_snapshot!(scene.trouble(Manner::Endless, "/v1/check-in").await, @r"
    error: the answer of `http://SERVICE/` is larger than 65536 bytes

    hint: is `remote-server` right? `livepatch config remote-server` shows it
    ");
    let scene = Scene::set().await;
    scene.machine.engine.test.patience.lock().unwrap().call = Duration::from_secs(60);
    let told = scene
        .trouble(Manner::Endless, "/v1/repository/metadata/")
        .await;
    insta::assert_snapshot!(told, @r"
    error: cannot fetch `http://SERVICE/v1/repository/metadata/timestamp.json`
      Transport 'other' error fetching 'http://SERVICE/v1/repository/metadata/timestamp.json': the file is larger than 67108864 bytes

    hint: check the network; it is tried again at the next check-in
    ");
}

#[tokio::test]
async fn an_answer_that_trickles_ends_with_the_time_of_a_call() {
    let scene = Scene::set().await;
    insta::assert_snapshot!(scene.trouble(Manner::Trickle, "/v1/check-in").await, @r"
    error: cannot reach `http://SERVICE/`
      timeout: global

    hint: check the network and the proxy settings; it is tried again by itself
    ");
    let scene = Scene::set().await;
    let told = scene.trouble(Manner::Trickle, "/v1/repository/metadata/timestamp.json");
    insta::assert_snapshot!(told.await, @r"
    error: cannot fetch `http://SERVICE/v1/repository/metadata/timestamp.json`
      Transport 'other' error fetching 'http://SERVICE/v1/repository/metadata/timestamp.json': timeout: global

    hint: check the network and the proxy settings; it is tried again by itself
    ");
}

#[tokio::test]
async fn a_server_that_never_answers_is_not_waited_for() {
    let scene = Scene::set().await;
    insta::assert_snapshot!(scene.trouble(Manner::Silent, "").await, @r"
    error: cannot reach `http://SERVICE/`
      timeout: receive response

    hint: check the network and the proxy settings; it is tried again by itself
    ");
}

#[tokio::test]
async fn a_connection_that_is_cut_is_told_so() {
    let scene = Scene::set().await;
    insta::assert_snapshot!(scene.trouble(Manner::Half, "/v1/check-in").await, @r"
    error: cannot reach `http://SERVICE/`
      io: Peer disconnected

    hint: the connection was cut: check the network and the proxy; it is tried again by itself
    ");
    let scene = Scene::set().await;
    let told = scene.trouble(Manner::Half, "/v1/repository/targets/").await;
    assert!(told.contains("hint: the connection was cut"), "{told}");
}

#[tokio::test]
async fn a_name_without_an_address_is_told_so() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    // RFC 2606 keeps this name free for ever.
    let config = "remote-server = \"https://livepatch.invalid\"\n";
    machine.tree.write(CONFIG, config.as_bytes());
    let failure = machine.engine.enable(TOKEN).await.unwrap_err();
    assert!(failure.message.contains("livepatch.invalid"), "{failure}");
    let hint = failure.hint.unwrap();
    assert!(hint.contains("name servers"), "{hint}");
}

#[tokio::test]
async fn a_service_with_an_ipv6_address_alone_is_reached() {
    let service = Service::start_v6().await;
    let machine = Machine::new(&service);
    assert!(service.url().starts_with("http://[::1]:"));
    service.offer("104.1").await;
    let refreshed = machine.engine.enable(TOKEN).await.unwrap();
    assert_eq!((refreshed.check, refreshed.patch), (Ok(()), Ok(())));
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
}

/// A proxy that looks into TLS shows a certificate for the service's name, signed by the
/// company's own authority.
#[tokio::test]
async fn a_company_that_looks_into_tls_is_trusted_only_when_its_authority_is_named() {
    let company = Authority::new("Example Corp. TLS inspection");
    let service = Service::start_tls_with(company.certificate("localhost")).await;
    let machine = Machine::new(&service);
    let port = service.address.port();
    let config = format!("remote-server = \"https://localhost:{port}\"\n");
    machine.tree.write(CONFIG, config.as_bytes());
    let failure = machine.engine.enable(TOKEN).await.unwrap_err();
    insta::assert_snapshot!(failure.to_string().replace(&port.to_string(), "PORT"), @r"
    error: cannot reach `https://localhost:PORT/`
      io: invalid peer certificate: UnknownIssuer

    hint: if the service, or a proxy that looks into TLS, has a certificate authority of its own, name it: `livepatch config ca-certs=/path/to/ca.pem`
    ");
    assert!(!service.desk().enrolled, "nothing was sent");
    let pem = format!("{config}ca-certs = '''{}'''\n", company.pem);
    machine.tree.write(CONFIG, pem.as_bytes());
    service.offer("104.1").await;
    let refreshed = machine.engine.enable(TOKEN).await.unwrap();
    assert_eq!((refreshed.check, refreshed.patch), (Ok(()), Ok(())));
}

#[tokio::test]
async fn a_portals_certificate_is_somebody_elses() {
    let hotel = Authority::new("Hotel");
    let service = Service::start_tls_with(hotel.certificate("login.hotel.example")).await;
    let machine = Machine::new(&service);
    let port = service.address.port();
    // Even a portal whose authority everybody trusts is not the service.
    let config = format!(
        "remote-server = \"https://localhost:{port}\"\nca-certs = '''{}'''\n",
        hotel.pem
    );
    machine.tree.write(CONFIG, config.as_bytes());
    let failure = machine.engine.enable(TOKEN).await.unwrap_err();
    let hint = failure.hint.clone().unwrap();
    assert!(hint.starts_with("somebody else answers"), "{failure}");
    assert!(!service.desk().enrolled);
}

/// To a machine in 1970 no certificate has begun; to one far ahead all are over.
#[tokio::test]
async fn a_certificate_out_of_its_time_points_to_the_clock() {
    for (from, until) in [(2100, 2110), (2001, 2002)] {
        let authority = Authority::new("Example");
        let certificate = authority.certificate_of("localhost", Some((from, until)));
        let service = Service::start_tls_with(certificate).await;
        let machine = Machine::new(&service);
        let port = service.address.port();
        let config = format!(
            "remote-server = \"https://localhost:{port}\"\nca-certs = '''{}'''\n",
            authority.pem
        );
        machine.tree.write(CONFIG, config.as_bytes());
        let failure = machine.engine.enable(TOKEN).await.unwrap_err();
        let hint = failure.hint.clone().unwrap();
        assert!(hint.starts_with("check this machine's clock"), "{failure}");
    }
}

/// Seconds from the stories' present to 1970, and a year.
const TO_1970: i64 = -1_795_435_200;
const YEAR: i64 = 365 * 24 * 3600;

#[tokio::test]
async fn a_clock_in_1970_neither_loses_the_patch_nor_what_was_seen() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    machine.clock.set(TO_1970);
    service.offer("104.2").await;
    let refreshed = machine.engine.refresh(false).await.unwrap();
    assert_eq!((refreshed.check, refreshed.patch), (Ok(()), Ok(())));
    // By a battery-backed clock that is set again, all goes on.
    machine.clock.set(2000);
    service.offer("104.3").await;
    let refreshed = machine.engine.refresh(false).await.unwrap();
    assert_eq!((refreshed.check, refreshed.patch), (Ok(()), Ok(())));
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.patch.in_force(), Some(version("104.3")));
    assert_eq!(report.uptime_secs, 2000 + 273_600);
}

#[tokio::test]
async fn a_clock_a_year_ahead_refuses_and_recovers() {
    let service = Service::start().await;
    let machine = Machine::with_patch(&service, "104.1").await;
    machine.clock.set(YEAR);
    service.offer("104.2").await;
    let refreshed = machine.engine.refresh(false).await.unwrap();
    insta::assert_snapshot!(refreshed.patch.unwrap_err(), @r"
    error: the timestamp metadata of the repository expired at 2026-11-30T12:00:00Z

    hint: check this machine's clock; if it is right, the publisher must refresh the repository
    ");
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.patch.in_force(), Some(version("104.1")));
    machine.clock.set(2000);
    let refreshed = machine.engine.refresh(false).await.unwrap();
    assert_eq!((refreshed.check, refreshed.patch), (Ok(()), Ok(())));
    assert_eq!(machine.kernel.loads(), ["suture_104_1", "suture_104_2"]);
}

/// Runs a story on the only thread of its runtime.
fn block_on(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(story);
}

#[test]
fn a_full_disk_keeps_what_is_there_and_says_so() {
    let name = "engine::tests::circumstances::a_full_disk_keeps_what_is_there_and_says_so";
    in_own_mounts(name, || block_on(full_disk()));
}

async fn full_disk() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    let state = machine.tree.path("var/lib/livepatch");
    // Small, as a disk that is nearly full; the agent's files move onto it.
    mount(
        c"tmpfs",
        &state,
        c"tmpfs",
        MountFlags::empty(),
        Some(c"size=256k"),
    )
    .unwrap();
    let machine = machine.restart_agent();
    machine.engine.recover().unwrap();
    service.offer("104.1").await;
    let refreshed = machine.engine.enable(TOKEN).await.unwrap();
    assert_eq!((refreshed.check, refreshed.patch), (Ok(()), Ok(())));

    let files = snapshot(&state);
    let hog = state.join("hog");
    fs::write(&hog, vec![0; 1 << 20]).unwrap_err();
    service.offer("104.2").await;
    let told = machine
        .engine
        .refresh(false)
        .await
        .unwrap()
        .check
        .unwrap_err();
    let file = state.join("state.json");
    assert_eq!(told.message, format!("cannot write `{}`", file.display()));
    assert!(
        told.causes[0].starts_with("No space left on device"),
        "{told}"
    );
    assert!(told.to_string().contains("hint: make room"), "{told}");
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.patch.in_force(), Some(version("104.1")));
    let shown = status::human(&report, false);
    assert!(
        shown.contains("nothing new is applied: cannot write"),
        "{shown}"
    );
    assert!(shown.contains("No space left on device"), "{shown}");
    assert!(shown.contains("hint: make room"), "{shown}");
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);
    let failure = machine.engine.enable(TOKEN).await.unwrap_err();
    assert!(failure.to_string().contains("hint: make room"), "{failure}");
    fs::remove_file(hog).unwrap();
    assert_eq!(
        snapshot(&state),
        files,
        "no file changed, none is half there"
    );

    // With room again all goes on, with the same secret.
    let refreshed = machine.engine.refresh(false).await.unwrap();
    assert_eq!((refreshed.check, refreshed.patch), (Ok(()), Ok(())));
    assert_eq!(machine.kernel.loads(), ["suture_104_1", "suture_104_2"]);
    assert_eq!(machine.engine.report().await.unwrap().unwritten, None);
    let last = service.desk().check_ins.last().cloned().unwrap();
    assert_eq!(last.state, MachineState::Applied);
    unmount(&state, UnmountFlags::DETACH).unwrap();
}

#[test]
fn a_file_system_that_turns_read_only_keeps_the_patch_and_says_so() {
    let name = "engine::tests::circumstances::\
                a_file_system_that_turns_read_only_keeps_the_patch_and_says_so";
    in_own_mounts(name, || block_on(read_only()));
}

async fn read_only() {
    let service = Service::start().await;
    let machine = Machine::new(&service);
    let state = machine.tree.path("var/lib/livepatch");
    mount(
        c"tmpfs",
        &state,
        c"tmpfs",
        MountFlags::empty(),
        Some(c"size=1m"),
    )
    .unwrap();
    let machine = machine.restart_agent();
    machine.engine.recover().unwrap();
    service.offer("104.1").await;
    machine.engine.enable(TOKEN).await.unwrap();
    // As the kernel does after an error of the disk.
    mount_remount(&state, MountFlags::RDONLY, c"").unwrap();
    service.offer("104.2").await;
    let told = machine
        .engine
        .refresh(false)
        .await
        .unwrap()
        .check
        .unwrap_err();
    let file = state.join("state.json");
    assert_eq!(told.message, format!("cannot write `{}`", file.display()));
    assert!(
        told.causes[0].starts_with("Read-only file system"),
        "{told}"
    );
    assert!(
        told.to_string()
            .contains("hint: make the file system writable"),
        "{told}"
    );
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.patch.in_force(), Some(version("104.1")));
    let shown = status::human(&report, false);
    assert!(
        shown.contains("hint: make the file system writable"),
        "{shown}"
    );
    assert_eq!(machine.kernel.loads(), ["suture_104_1"]);

    // An agent that starts so can still tell what is in force.
    let machine = machine.restart_agent();
    let report = machine.engine.report().await.unwrap();
    assert_eq!(report.patch.in_force(), Some(version("104.1")));
    mount_remount(&state, MountFlags::empty(), c"").unwrap();
    machine.engine.recover().unwrap();
    let refreshed = machine.engine.refresh(false).await.unwrap();
    assert_eq!((refreshed.check, refreshed.patch), (Ok(()), Ok(())));
    assert_eq!(machine.engine.report().await.unwrap().unwritten, None);
    unmount(&state, UnmountFlags::DETACH).unwrap();
}

/// All files of a folder with their content.
fn snapshot(folder: &std::path::Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    files.sort();
    files
}

/// A certificate authority that no system knows.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, key);
        Self { issuer, pem }
    }

    fn certificate(&self, host: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        self.certificate_of(host, None)
    }

    /// `years`: when it begins and ends.
    fn certificate_of(
        &self,
        host: &str,
        years: Option<(i32, i32)>,
    ) -> (rcgen::Certificate, rcgen::KeyPair) {
        let mut params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        if let Some((from, until)) = years {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(until, 1, 1);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}
