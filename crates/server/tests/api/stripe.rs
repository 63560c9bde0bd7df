//! What plays Stripe: see `tests/stripe/stand_in.py`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde::Deserialize;
use suture_server::StripeConfig;

use crate::stand_in::python;

pub const WEBHOOK_SECRET: &str = "whsec_4cDf0bR5ukTq7pYw";
pub const KEY: &str = "sk_test_oVq6nX1rG8cJ2m";

/// A running stand-in; it ends with this.
pub struct Stripe {
    child: Child,
    addresses: Addresses,
    client: ureq::Agent,
}

#[derive(Deserialize)]
struct Addresses {
    api: String,
}

impl Stripe {
    pub fn start() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(python("stripe"))
            .arg(here.join("tests/stripe/stand_in.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the stand-in starts");
        let mut line = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        lines.read_line(&mut line).unwrap();
        let addresses = serde_json::from_str(&line).expect("the stand-in listens");
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .max_redirects(0);
        Self {
            child,
            addresses,
            client: config.build().into(),
        }
    }

    pub fn config(&self) -> StripeConfig {
        StripeConfig {
            api: self.addresses.api.parse().unwrap(),
            key: KEY.to_owned().into(),
            webhook_secret: WEBHOOK_SECRET.to_owned().into(),
            price: "price_1".to_owned(),
        }
    }

    /// From now on news go to this address.
    pub fn notify(&self, url: &str) {
        let address = format!("{}/_config/webhooks/ours", self.addresses.api);
        let endpoint = serde_json::json!({ "url": url, "secret": WEBHOOK_SECRET });
        let told = self.client.post(address).send_json(endpoint).unwrap();
        assert_eq!(told.status(), 200);
    }

    /// What a customer does on a page of Stripe; where it leads then.
    pub fn act(&self, page: &str, field: &str, value: &str) -> String {
        let sent = self.client.post(page).send_form([(field, value)]).unwrap();
        assert_eq!(sent.status(), 303, "{page}");
        sent.headers()["location"].to_str().unwrap().to_owned()
    }

    /// The states of all subscriptions of all customers.
    pub fn subscriptions(&self) -> Vec<String> {
        let address = format!("{}/v1/subscriptions?status=all", self.addresses.api);
        let asked = self
            .client
            .get(address)
            .header("authorization", format!("Bearer {KEY}"))
            .call();
        let list: serde_json::Value = asked.unwrap().body_mut().read_json().unwrap();
        let states = list["data"].as_array().unwrap().iter();
        states
            .map(|it| it["status"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Drop for Stripe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
