//! The server, and databases on it.

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

/// The role that owns the databases. Like a service's, it is no administrator.
const OWNER: &str = "suture";

/// A server that ends with this process, or earlier when it is dropped.
pub struct PrivatePostgres {
    programs: Programs,
    folder: PathBuf,
    databases: AtomicU32,
    keeper: Child,
}

impl PrivatePostgres {
    /// The server of this process, started when it is first asked for.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<PrivatePostgres> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&["fsync=off", "full_page_writes=off"]))
    }

    /// Starts a server with these settings, each like `fsync=off`.
    pub fn start(settings: &[&str]) -> Self {
        let programs = Programs::find();
        let folder = tempfile::Builder::new()
            .prefix("suture-postgres-")
            .tempdir()
            .expect("a folder for temporary files")
            .keep();
        programs.give(&folder);
        let data = folder.join("data");
        run(programs
            .command("initdb")
            .args(["--auth=trust", "--username=postgres", "--no-sync"])
            .args(["--encoding=UTF8", "--locale=C.UTF-8", "--pgdata"])
            .arg(&data));
        let mut server = programs.command("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(&folder);
        let fixed = ["listen_addresses=", "max_connections=200"];
        for setting in fixed.iter().chain(settings) {
            server.args(["-c", setting]);
        }
        let keeper = keep(&folder, &server);
        let started = Self {
            programs,
            folder,
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
        format!("postgres://{OWNER}@{}/{name}", socket.replace('/', "%2F"))
    }

    /// Executes a statement as administrator and returns what it prints, without ornament.
    pub fn statement(&self, database: &str, statement: &str) -> String {
        let mut psql = self.programs.command("psql");
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"])
            .args(["-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database])
            .arg("-h")
            .arg(&self.folder)
            .args(["-c", statement]);
        run(&mut psql).trim_end().to_owned()
    }

    fn wait_until_ready(&self) {
        let begun = Instant::now();
        let is_ready = || {
            let mut ask = self.programs.command("pg_isready");
            ask.arg("-q").arg("-h").arg(&self.folder);
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
