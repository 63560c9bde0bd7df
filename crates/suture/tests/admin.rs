//! `suture admin` on a database and at a running service: the same commands, the same answers.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::{Value, json};
use suture_repository::InitOptions;
use suture_server::{ServerConfig, Tls};
use suture_store::{Clock as _, NewMachine, Store as _, SystemClock};
use suture_store_sql::SqliteStore;
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A service with its database, and an operator's key for it.
struct Service {
    folder: TempDir,
    store: Arc<SqliteStore>,
    address: SocketAddr,
    key: String,
    _stop: oneshot::Sender<()>,
}

/// A file with a hook where nobody listens.
fn hooks(path: &Path) -> PathBuf {
    let text = "[[hook]]\nname = 'on-call'\nkind = 'webhook'\nurl = 'http://127.0.0.1:9/'\n\
                secret = 'whsec_Ml8rcSpTZcxPdnmc5qhQ1dCYvUdhXgTmW8nF0jx2b6c='\n";
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    path.to_owned()
}

impl Service {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let options = InitOptions::new(at("repository"), at("keys"), at("root-keys"));
        let now = SystemClock.now();
        suture_repository::init(&options, now).await.unwrap();
        let store = Arc::new(SqliteStore::open(&at("suture.db")).await.unwrap());
        let pair = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(at("cert.pem"), pair.cert.pem()).unwrap();
        std::fs::write(at("key.pem"), pair.signing_key.serialize_pem()).unwrap();
        let (cert, key) = (at("cert.pem"), at("key.pem"));
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut config = ServerConfig::new(listen, Tls::Pem { cert, key }, at("repository"));
        config.hooks = Some(hooks(&at("hooks.toml")));
        let (ready, listening) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let clock = Arc::new(SystemClock);
        tokio::spawn(suture_server::serve(
            config,
            Arc::clone(&store) as _,
            clock,
            ready,
            shutdown,
        ));
        let address = listening.await.unwrap();
        let mut service = Self {
            folder,
            store,
            address,
            key: String::new(),
            _stop: stop,
        };
        service.key = text(&service.on_database(&["operator-key", "create", "ada"]));
        service
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn admin(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_suture"));
        command.env_remove("SUTURE_DATABASE").arg("admin");
        command
    }

    fn on_database(&self, arguments: &[&str]) -> Output {
        let mut command = self.admin();
        command.arg("--database").arg(self.path("suture.db"));
        command.args(arguments).output().unwrap()
    }

    fn at_server(&self, key: &str, arguments: &[&str]) -> Output {
        let mut command = self.admin();
        command
            .arg(format!("--server=https://{}", self.address))
            .arg("--ca")
            .arg(self.path("cert.pem"))
            .env("SUTURE_OPERATOR_KEY", key);
        command.args(arguments).output().unwrap()
    }

    /// By the service.
    fn done(&self, arguments: &[&str]) -> Output {
        let output = self.at_server(&self.key, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn refusal(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_does_the_same_on_a_database_and_at_a_service() {
    let service = Service::new().await;
    let grace = "grace@example.org";
    let made = text(&service.done(&["account", "create", grace]));
    assert!(made.starts_with("grace@example.org\tfree\t"), "{made}");
    text(&service.done(&["account", "set-plan", grace, "subscription"]));
    text(&service.done(&["account", "early", grace, "never"]));
    text(&service.on_database(&["account", "create", "linus@example.org"]));
    let secret = text(&service.done(&["token", "create", grace, "--label", "web servers"]));
    assert!(secret.starts_with("suture_t_"), "{secret}");
    let kernel = json!({
        "release": "6.1.0-53-amd64", "architecture": "amd64", "build_id": "ab".repeat(20),
    });
    let machine = format!("{:032x}", 7);
    let new = NewMachine {
        id: machine.parse().unwrap(),
        hostname: "web-7".parse().unwrap(),
        kernel: serde_json::from_value(kernel).unwrap(),
        agent_version: "0.1.0".parse().unwrap(),
        hardware: None,
    };
    let (token, now) = (secret.parse().unwrap(), SystemClock.now());
    service
        .store
        .enrol_machine(&token, &new, now)
        .await
        .unwrap();
    text(&service.done(&["group", grace, &machine, "canary"]));
    let limited = text(&service.done(&["account", "set-limit", grace, "7"]));
    assert!(limited.ends_with("\t7"), "{limited}");
    let held = text(&service.done(&["policy", "canary", "--hold", "--pin", "104.1"]));
    assert_eq!(held, "nothing new, nothing later than 104.1");
    let waits = [
        "policy",
        "slow",
        "--delay-days",
        "7",
        "--cut-off",
        "2026-12-31",
    ];
    text(&service.on_database(&waits));
    let follows = ["policy", "follows", "--channel", "stable"];
    let policy = text(&service.done(&follows));
    assert_eq!(policy, "what was promoted to `stable`");
    for version in ["8.1", "9.1"] {
        text(&service.on_database(&["promote", version, "beta"]));
    }

    for command in [
        &["account", "list"][..],
        &["token", "list", grace],
        &["machines"],
        &["machines", grace, "--kernel", "6.1.0", "--silent", "1"],
        &["operator-key", "list"],
        &["groups"],
        &["channels"],
        &["audit"],
        &["audit", "--last", "2"],
    ] {
        for format in ["text", "json"] {
            let command = [command, &["--format", format]].concat();
            let here = text(&service.on_database(&command));
            assert_eq!(here, text(&service.done(&command)), "{command:?}");
            assert!(!here.is_empty() && !here.contains("suture_"), "{here}");
        }
    }
    let listed: Value =
        serde_json::from_str(&text(&service.done(&["machines", "--format", "json"]))).unwrap();
    assert_eq!(listed[0]["group"], "canary");
    assert_eq!(listed[0]["owner"], grace);
    let nothing = service.done(&["machines", "--state", "applied", "--format", "json"]);
    assert_eq!(text(&nothing), "[]");
    let fleet = text(&service.done(&["fleet"]));
    assert!(fleet.contains("machines\t1") && fleet.contains("kernel\t6.1.0-53-amd64\t1"));

    let groups = text(&service.done(&["groups"]));
    let slow = "slow\t0\t7 days later, nothing whose rollout began after 2026-12-31";
    assert!(
        groups.starts_with("canary\t1\tnothing new")
            && groups.ends_with(slow)
            && groups.contains("\nfollows\t0\twhat was promoted to `stable`\n"),
        "{groups}"
    );
    let channels = text(&service.done(&["channels"]));
    assert_eq!(channels, "beta\t-\t9.1,8.1\nstable\tfollows\t-");
    let unpublished = service.at_server(&service.key, &["promote", "9.1", "stable"]);
    let said = refusal(&unpublished);
    assert!(said.contains("one that is published"), "{said}");
    text(&service.on_database(&["promote-all", "beta", "stable"]));
    let left = service.done(&["demote", "9.1", "stable"]);
    assert_eq!(text(&left), "stable\tfollows\t8.1");
    for group in ["canary", "slow", "follows"] {
        text(&service.done(&["policy", group, "--none"]));
    }
    assert_eq!(
        text(&service.done(&["groups"])),
        "canary\t1\teverything in its turn"
    );
    let unlimited = text(&service.done(&["account", "set-limit", grace, "plan"]));
    assert!(unlimited.ends_with("\t-"), "{unlimited}");

    text(&service.done(&["release", grace, &machine]));
    let gone = refusal(&service.at_server(&service.key, &["release", grace, &machine]));
    assert!(gone.contains("no such machine"), "{gone}");
    // The log names the key's owner for what was done by the key.
    let audit = text(&service.done(&["audit", "--last", "1"]));
    assert!(
        audit.contains("\toperator:ada\trelease-machine\t"),
        "{audit}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_told_with_a_way_out() {
    let service = Service::new().await;
    let wrong = service.key.replace("suture_o_", "suture_t_");
    let refused = refusal(&service.at_server(&wrong, &["account", "list"]));
    assert!(refused.contains("operator-key create"), "{refused}");
    let revoked = text(&service.done(&["operator-key", "create", "grace"]));
    let keys = text(&service.done(&["operator-key", "list"]));
    let id = keys.lines().find(|line| line.contains("grace")).unwrap();
    text(&service.done(&["operator-key", "revoke", id.split('\t').next().unwrap()]));
    let refused = refusal(&service.at_server(&revoked, &["account", "list"]));
    assert!(
        refused.contains("never issued, or was revoked"),
        "{refused}"
    );

    let no_key = service
        .admin()
        .args(["--server=https://127.0.0.1:1", "account", "list"])
        .env_remove("SUTURE_OPERATOR_KEY")
        .output()
        .unwrap();
    assert!(refusal(&no_key).contains("--key-file"));
    let key_file = service.path("operator.key");
    std::fs::write(&key_file, &service.key).unwrap();
    let mut unknown_ca = service.admin();
    unknown_ca
        .arg(format!("--server=https://{}", service.address))
        .arg("--key-file")
        .arg(&key_file)
        .args(["account", "list"]);
    let refused = refusal(&unknown_ca.output().unwrap());
    assert!(refused.contains("cannot reach"), "{refused}");
    let unknown = refusal(&service.at_server(&service.key, &["token", "list", "x@example.org"]));
    assert!(unknown.contains("no such account"), "{unknown}");
    let plan = refusal(&service.at_server(&service.key, &["account", "set-plan", "a@b.c", "gold"]));
    assert!(plan.contains("`free` or `subscription`"), "{plan}");
    let delay = ["policy", "slow", "--delay-days", "400"];
    for refused in [
        service.at_server(&service.key, &delay),
        service.on_database(&delay),
    ] {
        let refused = refusal(&refused);
        assert!(refused.contains("at most 366 days"), "{refused}");
    }
    let nothing = refusal(&service.at_server(&service.key, &["policy", "slow"]));
    assert!(nothing.contains("--none"), "{nothing}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_are_asked_of_the_running_service() {
    let service = Service::new().await;
    let listed = text(&service.done(&["hooks"]));
    assert_eq!(listed, "on-call\twebhook at 127.0.0.1\tnever\t0\t-");
    let untaken = service.at_server(&service.key, &["test-hook", "on-call"]);
    let refused = refusal(&untaken);
    assert!(refused.contains("test of `on-call` failed"), "{refused}");
    let said = String::from_utf8_lossy(&untaken.stdout);
    assert!(
        said.starts_with("on-call did not take the test: "),
        "{said}"
    );
    let unknown = service.at_server(&service.key, &["test-hook", "nobody"]);
    let unknown = refusal(&unknown);
    assert!(unknown.contains("has none with this name"), "{unknown}");
    let here = refusal(&service.on_database(&["hooks"]));
    assert!(here.contains("--server"), "{here}");
}
