//! sosreport as Debian ships it: what its plugin asks of `canonical-livepatch`, asked by its own
//! code of the program that was built here.

use std::path::PathBuf;

use super::*;

/// Makes the plugin name its commands, and runs them as sosreport does.
const COLLECT: &str = r#"
import json
from sos.report.plugins.canonical_livepatch import CanonicaLivepatch
from sos.utilities import sos_get_command_output

class Asked(CanonicaLivepatch):
    def __init__(self):
        self.asked = []
    def add_cmd_output(self, commands, **_):
        self.asked += commands
    def add_service_status(self, *_, **__):
        pass

plugin = Asked()
plugin.setup()
print(json.dumps({
    command: [answer["status"], answer["output"]]
    for command in plugin.asked
    for answer in [sos_get_command_output(command, timeout=60, stderr=True)]
}))
"#;

#[test]
fn sosreport_collects_the_status_without_a_secret() {
    let machine = machine();
    let root = machine.path();
    enabled_and_patched(root);
    let _daemon = Daemon::start(root);

    let bin = tempfile::tempdir().unwrap();
    let program = bin.path().join("canonical-livepatch");
    // The program under its other name, for the machine in the folder.
    let script = format!(
        "#!/bin/sh\nexec {} --root-dir {} \"$@\"\n",
        env!("CARGO_BIN_EXE_livepatch"),
        root.display()
    );
    fs::write(&program, script).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();

    let path = format!(
        "{}:{}",
        bin.path().display(),
        std::env::var("PATH").unwrap()
    );
    let python = Command::new("python3")
        .args(["-c", COLLECT])
        .env("PYTHONPATH", sosreport())
        .env("PATH", path)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&python.stderr);
    assert!(python.status.success(), "{errors}");
    let answers: serde_json::Value = serde_json::from_slice(&python.stdout).unwrap();
    let [status, output] = [0, 1].map(|at| &answers["canonical-livepatch status --verbose"][at]);
    assert_eq!(status, 0, "{answers}");
    let output = output.as_str().unwrap();
    for line in [
        "kernel: 6.1.0-53-amd64",
        "patch version: 104.1",
        "patch state: ✓ all applied",
    ] {
        assert!(output.contains(line), "{output}");
    }
    assert!(!answers.to_string().contains(SECRET), "{answers}");
    let version = &answers["canonical-livepatch --version"];
    assert_eq!(version[0], 0);
    assert!(
        version[1]
            .as_str()
            .unwrap()
            .contains(env!("CARGO_PKG_VERSION"))
    );
}

const SECRET: &str = "suture_m_not_for_a_report";

/// What an agent leaves that was enabled and applied a patch; its server is away.
fn enabled_and_patched(root: &Path) {
    let state = root.join("var/lib/livepatch");
    fs::create_dir_all(&state).unwrap();
    let server = "https://localhost:1/";
    let enrolment = serde_json::json!({
        "enrolment": {"server": server, "plan": "free", "at": "2026-11-23T12:00:00Z"},
    });
    fs::write(state.join("state.json"), enrolment.to_string()).unwrap();
    fs::write(state.join("machine-secret"), SECRET).unwrap();
    let config = root.join("etc/livepatch/config.d");
    fs::create_dir_all(&config).unwrap();
    fs::write(
        config.join("50-site.toml"),
        format!("remote-server = '{server}'"),
    )
    .unwrap();
    let patch = root.join("sys/kernel/livepatch/suture_104_1");
    fs::create_dir_all(&patch).unwrap();
    fs::write(patch.join("enabled"), "1\n").unwrap();
    fs::write(patch.join("transition"), "0\n").unwrap();
}

/// Debian's package, unpacked: the folder of its Python modules.
fn sosreport() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sosreport");
    let modules = folder.join("usr/lib/python3/dist-packages");
    if !modules.join("sos/report/plugins").exists() {
        let download = tempfile::tempdir().unwrap();
        let fetched = Command::new("apt-get")
            .args(["download", "-qq", "sosreport"])
            .current_dir(download.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&fetched.stderr);
        assert!(fetched.status.success(), "apt-get download: {errors}");
        let package = fs::read_dir(download.path()).unwrap().next().unwrap();
        let unpacked = Command::new("dpkg-deb")
            .arg("-x")
            .arg(package.unwrap().path())
            .arg(&folder)
            .status()
            .unwrap();
        assert!(unpacked.success());
    }
    modules
}
