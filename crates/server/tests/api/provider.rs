//! A provider of identities: see `tests/openid/stand_in.py`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use suture_server::OpenIdConfig;

use crate::stand_in::python;

/// A running stand-in; it ends with this, or with the tests.
pub struct Provider {
    child: Child,
    address: String,
    client: ureq::Agent,
    id: String,
    pub secret: String,
}

impl Provider {
    /// One for all tests: it takes its time to start.
    pub fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<Provider>> = OnceLock::new();
        Arc::clone(SHARED.get_or_init(|| Arc::new(Self::start())))
    }

    pub fn start() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(python("openid"))
            .arg(here.join("tests/openid/stand_in.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the stand-in starts");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let address = line.trim().to_owned();
        assert!(address.starts_with("http://"), "the stand-in listens");
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false);
        let client: ureq::Agent = config.build().into();
        let back = "https://patches.example.org/sign-in/openid/back";
        let wanted = serde_json::json!({ "redirect_uris": [back] });
        let registered = client.post(format!("{address}/oauth2/clients"));
        let mut registered = registered.send_json(wanted).unwrap();
        let registered: serde_json::Value = registered.body_mut().read_json().unwrap();
        let text = |name: &str| registered[name].as_str().unwrap().to_owned();
        Self {
            child,
            address,
            client,
            id: text("client_id"),
            secret: text("client_secret"),
        }
    }

    pub fn config(&self) -> OpenIdConfig {
        OpenIdConfig {
            issuer: self.address.clone(),
            client_id: self.id.clone(),
            client_secret: self.secret.clone().into(),
            name: "Example ID".to_owned(),
            domains: vec!["example.org".to_owned()],
        }
    }

    /// How the service names itself to the provider (source: RFC 7617, 2).
    pub fn basic(&self) -> String {
        STANDARD.encode(format!("{}:{}", self.id, self.secret))
    }

    /// From now on the provider knows a person by this subject.
    pub fn knows(&self, subject: &str, claims: serde_json::Value) {
        let address = format!("{}/users/{subject}", self.address);
        let told = self.client.put(address).send_json(claims).unwrap();
        assert_eq!(told.status(), 204);
    }

    /// What somebody does on the provider's page; the path and query that it leads back to.
    pub fn act(&self, page: &str, field: &str, value: &str) -> String {
        let mut sent = self.client.post(page).send_form([(field, value)]).unwrap();
        let text = sent.body_mut().read_to_string().unwrap();
        assert_eq!(sent.status(), 302, "{page}: {text}");
        let to = sent.headers()["location"].to_str().unwrap();
        let own = to.strip_prefix("https://patches.example.org");
        own.unwrap_or_else(|| panic!("{to}")).to_owned()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
