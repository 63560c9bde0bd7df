//! Brings a message to its receiver.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::json;
use ureq::http::Request;
use url::Url;

use super::file::Target;
use super::message::Message;
use crate::outgoing;
use crate::post::{Letter, Post};

/// For a whole call.
const PATIENCE: Duration = Duration::from_secs(10);

pub struct Delivery {
    agent: ureq::Agent,
    post: Option<Post>,
}

impl Delivery {
    pub fn new(post: Option<Post>) -> Self {
        Self {
            agent: outgoing::client(outgoing::system_roots(), PATIENCE),
            post,
        }
    }

    /// Waits until the receiver took it; the error says in words why it did not, without the
    /// target's address.
    pub async fn call(
        &self,
        target: &Target,
        message: &Message,
        now: Timestamp,
    ) -> Result<(), String> {
        match target {
            Target::Webhook { url, secret } => {
                let headers = [
                    ("webhook-id", message.id.clone()),
                    ("webhook-timestamp", now.as_second().to_string()),
                    (
                        "webhook-signature",
                        secret.sign(&message.id, now, &message.body),
                    ),
                ];
                self.post_json(url, &headers, message.body.clone()).await
            }
            Target::Chat { url } => {
                let body = json!({ "text": chat_text(message) }).to_string();
                self.post_json(url, &[], body.into_bytes()).await
            }
            Target::Mail { to } => {
                let post = self.post.as_ref().ok_or("this service sends no e-mails")?;
                let letter = Letter::Happened {
                    headline: &message.headline,
                    details: &message.details,
                };
                let sent = post.sent(to, &letter).await;
                sent.then_some(())
                    .ok_or_else(|| "the e-mail did not leave; the log says why".to_owned())
            }
        }
    }

    async fn post_json(
        &self,
        url: &Url,
        headers: &[(&str, String)],
        body: Vec<u8>,
    ) -> Result<(), String> {
        let mut request = Request::post(url.as_str()).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        // The error may repeat the address, which may be a secret.
        let request = request.body(body).map_err(|_| "no such address")?;
        let agent = self.agent.clone();
        let called = tokio::task::spawn_blocking(move || agent.run(request)).await;
        let answer = called.map_err(|_| "the call was broken off")?;
        let status = answer.map_err(|error| unreachable(&error))?.status();
        if status.is_success() {
            return Ok(());
        }
        Err(format!("the receiver answered with status {status}"))
    }
}

/// Why nobody answered, as far as that repeats nothing of the address.
fn unreachable(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => format!("the receiver cannot be reached: {error}"),
        ureq::Error::Timeout(_) => format!("no answer within {} seconds", PATIENCE.as_secs()),
        ureq::Error::HostNotFound => "the receiver's host is not known".to_owned(),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => {
            format!("the receiver's certificate or TLS is not acceptable: {error}")
        }
        _ => "the receiver cannot be reached".to_owned(),
    }
}

/// Texts from outside must not become commands of the chat: `<!channel>` calls everybody
/// (source: Slack, "Formatting text for app surfaces", "Escaping text").
fn chat_text(message: &Message) -> String {
    let text = format!("{}\n{}", message.headline, message.details);
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_calls_nobody_in_a_chat() {
        let mut message = Message::test("2026-11-26T00:00:00Z".parse().unwrap(), "https://x");
        message.details = "<!channel> & all".to_owned();
        assert_eq!(
            chat_text(&message),
            "A test: this hook works\n&lt;!channel&gt; &amp; all"
        );
    }
}
