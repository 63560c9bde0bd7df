//! The server, and databases on it.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::programs::{Programs, run};

/// Starting takes a second on a quiet machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Runs the server, waits for the end of standard input, which comes when whoever started this
/// has ended, stops the server and removes its folder. The first argument is the folder, the
/// others are the command.
const KEEPER: &str = r#"
trap '' INT TERM HUP
folder=$1
shift
"$@" >"$folder/log" 2>&1 &
server=$!
cat >/dev/null
kill -QUIT "$server"
wait "$server"
rm -rf "$folder"
"#;

const DEFAULT_PORT: u16 = 5432;

/// For tests, which lose nothing when the machine goes down.
const CARELESS: [&str; 2] = ["fsync=off", "full_page_writes=off"];

/// Paths are from the folder of the data.
const TLS: [&str; 4] = [
    "listen_addresses=127.0.0.1",
    "ssl=on",
    "ssl_cert_file=../chain.pem",
    "ssl_key_file=../key.pem",
];

/// The role that owns the databases. Like a service's, it is no administrator.
const OWNER: &str = "suture";

/// Certificate chain and private key of a server, as PEM.
pub struct Certificate<'a> {
    pub chain: &'a str,
    pub key: &'a str,
}

/// A server that ends with this process, or earlier when it is dropped.
pub struct PrivatePostgres {
    programs: Programs,
    folder: PathBuf,
    port: u16,
    databases: AtomicU32,
    keeper: Child,
}

impl PrivatePostgres {
    /// The server of this process, started when it is first asked for.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<PrivatePostgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::launch(None, &CARELESS))
    }

    /// A server as it is installed: what it commits is on the disk.
    pub fn durable() -> Self {
        Self::launch(None, &[])
    }

    /// A server that listens on `127.0.0.1` too, and has this certificate.
    pub fn with_tls(certificate: &Certificate<'_>) -> Self {
        Self::launch(Some(certificate), &CARELESS)
    }

    fn launch(certificate: Option<&Certificate<'_>>, settings: &[&str]) -> Self {
        let programs = Programs::find();
        let folder = tempfile::Builder::new()
            .prefix("suture-postgres-")
            .tempdir()
            .expect("a folder for temporary files")
            .keep();
        let mut own = vec!["max_connections=200".to_owned()];
        let port = match certificate {
            Some(certificate) => {
                private_file(&folder.join("chain.pem"), certificate.chain);
                private_file(&folder.join("key.pem"), certificate.key);
                own.extend(TLS.map(str::to_owned));
                free_port()
            }
            None => {
                own.push("listen_addresses=".to_owned());
                DEFAULT_PORT
            }
        };
        own.push(format!("port={port}"));
        programs.give(&folder);
        let data = folder.join("data");
        run(programs
            .command("initdb")
            .args(["--auth=trust", "--username=postgres", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C.UTF-8", "--pgdata"])
            .arg(&data));
        let mut server = programs.command("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(&folder);
        let own = own.iter().map(String::as_str);
        for setting in own.chain(settings.iter().copied()) {
            server.args(["-c", setting]);
        }
        let keeper = keep(&folder, &server);
        let started = Self {
            programs,
            folder,
            port,
            databases: AtomicU32::new(0),
            keeper,
        };
        started.wait_until_ready();
        started.statement("postgres", &format!("CREATE ROLE {OWNER} LOGIN"));
        started
    }

    /// Makes an empty database and returns its address, `postgres://…`.
    pub fn empty_database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{number}");
        self.statement("postgres", &format!("CREATE DATABASE {name} OWNER {OWNER}"));
        let socket = self.folder.to_str().expect("a folder with a plain name");
        let (socket, port) = (socket.replace('/', "%2F"), self.port);
        format!("postgres://{OWNER}@{socket}:{port}/{name}")
    }

    /// The same database's address over TCP.
    pub fn over_tcp(&self, address: &str) -> String {
        let name = address.rsplit('/').next().expect("an address has a name");
        format!("postgres://{OWNER}@localhost:{}/{name}", self.port)
    }

    /// Executes a statement as administrator and returns what it prints, without ornament.
    pub fn statement(&self, database: &str, statement: &str) -> String {
        let mut psql = self.programs.command("psql");
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"])
            .args(["-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database])
            .arg("-h")
            .arg(&self.folder)
            .args(["-p", &self.port.to_string(), "-c", statement]);
        run(&mut psql).trim_end().to_owned()
    }

    fn wait_until_ready(&self) {
        let begun = Instant::now();
        let is_ready = || {
            let mut ask = self.programs.command("pg_isready");
            ask.arg("-q").arg("-h").arg(&self.folder);
            ask.args(["-p", &self.port.to_string()]);
            ask.status().is_ok_and(|status| status.success())
        };
        while !is_ready() {
            let log = || std::fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            assert!(begun.elapsed() < START_TIMEOUT, "no answer: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for PrivatePostgres {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // There is nobody to tell.
        let _ = self.keeper.wait();
    }
}

fn keep(folder: &Path, server: &Command) -> Child {
    Command::new("sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(folder)
        .arg(server.get_program())
        .args(server.get_args())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("a shell")
}

/// The server refuses a key that others can read.
fn private_file(path: &Path, text: &str) {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(path).expect("a new file");
    file.write_all(text.as_bytes()).expect("room for a file");
}

/// A port that is free now.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}
