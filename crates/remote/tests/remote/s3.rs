//! What plays S3: see `stand_in.py`.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use suture_remote::{Address, Place, Source};

/// The server wants to see who asks, and believes it.
const AUTHORIZATION: &str =
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261001/us-east-1/s3/aws4_request";

/// A running server with a bucket; it ends with this.
pub struct S3 {
    child: Child,
    address: String,
    client: ureq::Agent,
}

impl S3 {
    pub fn start() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(python(here))
            .arg(here.join("tests/s3/stand_in.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let mut address = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut address).unwrap();
        let started = Self {
            child,
            address: address.trim().to_owned(),
            client: ureq::Agent::config_builder().proxy(None).build().into(),
        };
        started.put("patches", b"");
        started
    }

    pub fn place(&self, address: &str) -> Place {
        let address: Address = address.parse().unwrap();
        Place::open(&address, self.environment()).unwrap()
    }

    pub fn source(&self, address: &str) -> Source {
        Source::open(&address.parse().unwrap(), self.environment()).unwrap()
    }

    fn environment(&self) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", self.address.as_str()),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE"),
            (
                "AWS_SECRET_ACCESS_KEY",
                "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            ),
            ("AWS_ALLOW_HTTP", "true"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Writes a file, or makes a bucket, past everything of ours.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let request = self.client.put(format!("{}/{path}", self.address));
        request
            .header("authorization", AUTHORIZATION)
            .send(bytes)
            .unwrap();
    }

    pub fn remove(&self, path: &str) {
        let request = self.client.delete(format!("{}/{path}", self.address));
        request
            .header("authorization", AUTHORIZATION)
            .call()
            .unwrap();
    }

    /// The names of a bucket's files that begin so.
    pub fn list(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let address = format!("{}/{bucket}?list-type=2&prefix={prefix}", self.address);
        let request = self
            .client
            .get(address)
            .header("authorization", AUTHORIZATION);
        let mut answer = request.call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        let keys = text.split("<Key>").skip(1);
        keys.map(|rest| rest.split('<').next().unwrap().to_owned())
            .collect()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The script installs what is missing, once.
fn python(here: &Path) -> PathBuf {
    static INSTALLING: Mutex<()> = Mutex::new(());
    let _guard = INSTALLING.lock();
    let installed = Command::new(here.join("../../scripts/stand-in"))
        .arg("crates/remote/tests/s3")
        .stderr(Stdio::inherit())
        .output()
        .expect("scripts/stand-in");
    assert!(installed.status.success(), "see above");
    PathBuf::from(String::from_utf8(installed.stdout).unwrap().trim())
}
