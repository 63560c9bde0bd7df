//! Calls to a running service with an operator's key.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use suture_protocol::Problem;
use suture_server::outgoing;
use suture_store::OperatorKey;
use ureq::http;
use ureq::tls::{Certificate, PemItem, RootCerts};
use url::Url;

/// For a whole call.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes of an answer.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;

/// A service and who calls it.
pub struct Client {
    server: Url,
    key: OperatorKey,
    agent: ureq::Agent,
}

impl Client {
    /// `ca` is a PEM file with the service's own authority; without one those of the system count.
    pub fn new(server: Url, key: OperatorKey, ca: Option<&Path>) -> anyhow::Result<Self> {
        anyhow::ensure!(
            outgoing::is_protected(&server),
            "`{server}` would carry the operator's key unprotected: expected an https address"
        );
        Ok(Self {
            server,
            key,
            agent: outgoing::client(roots(ca)?, PATIENCE),
        })
    }

    pub fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
    ) -> anyhow::Result<T> {
        self.call("GET", path, query, Vec::new())
    }

    pub fn send<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &[&str],
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.call(method, path, &[], serde_json::to_vec(body)?)
    }

    pub fn delete<T: DeserializeOwned>(&self, path: &[&str]) -> anyhow::Result<T> {
        self.call("DELETE", path, &[], Vec::new())
    }

    fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &[&str],
        query: &[(&str, &str)],
        body: Vec<u8>,
    ) -> anyhow::Result<T> {
        let url = self.address(path, query)?;
        let request = http::Request::builder()
            .method(method)
            .uri(url.as_str())
            .header("authorization", format!("Bearer {}", self.key.expose()))
            .header("content-type", "application/json")
            .body(body)?;
        let called = self.agent.run(request);
        let mut response = called.with_context(|| format!("cannot reach `{}`", self.server))?;
        let status = response.status();
        let body = response.body_mut().with_config().limit(MAX_ANSWER);
        let body = body.read_to_vec().context("the answer broke off")?;
        if !status.is_success() {
            anyhow::bail!(refusal(status, &body));
        }
        // No content is the answer `null`.
        let body = if body.is_empty() { b"null" } else { &body[..] };
        serde_json::from_slice(body)
            .with_context(|| format!("`{url}` does not answer as Suture does"))
    }

    fn address(&self, path: &[&str], query: &[(&str, &str)]) -> anyhow::Result<Url> {
        let mut url = self.server.clone();
        url.path_segments_mut()
            .map_err(|()| anyhow::anyhow!("`{}` is no address of a service", self.server))?
            .pop_if_empty()
            .push("v1")
            .extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }
}

fn roots(ca: Option<&Path>) -> anyhow::Result<RootCerts> {
    let Some(path) = ca else {
        return Ok(outgoing::system_roots());
    };
    let pem = std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let certificates: Vec<Certificate<'static>> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    anyhow::ensure!(
        !certificates.is_empty(),
        "`{}` has no certificate in PEM form",
        path.display()
    );
    Ok(RootCerts::new_with_certs(&certificates))
}

fn refusal(status: http::StatusCode, body: &[u8]) -> String {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => problem.detail,
        Err(_) => format!("the server answers {status}; is it a Suture service?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> OperatorKey {
        OperatorKey::generate().unwrap()
    }

    fn client(server: &str) -> anyhow::Result<Client> {
        Client::new(server.parse().unwrap(), key(), None)
    }

    #[test]
    fn a_key_travels_over_https_alone() {
        assert!(client("https://patches.example.org").is_ok());
        assert!(client("http://127.0.0.1:8080").is_ok());
        let error = client("http://patches.example.org").err().unwrap();
        assert!(error.to_string().contains("expected an https address"));
    }

    #[test]
    fn names_cannot_leave_their_place_in_an_address() {
        let client = client("https://example.org/suture/").unwrap();
        let url = client
            .address(&["accounts", "a/../b?c@example.org"], &[("text", "a&b")])
            .unwrap();
        assert_eq!(
            url.as_str(),
            "https://example.org/suture/v1/accounts/a%2F..%2Fb%3Fc@example.org?text=a%26b"
        );
    }

    #[test]
    fn refusals_are_told_in_the_services_words() {
        let problem = br#"{"type":"conflict","title":"Conflict","status":409,"detail":"No."}"#;
        assert_eq!(refusal(http::StatusCode::CONFLICT, problem), "No.");
        let other = refusal(http::StatusCode::BAD_GATEWAY, b"<html>");
        assert!(other.contains("502"), "{other}");
    }
}
