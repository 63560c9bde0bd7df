//! Carries TUF metadata and targets over the agent's HTTP client.

use std::fmt;
use std::io::Read;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use tough::{Transport, TransportError, TransportErrorKind, TransportStream};
use ureq::Agent;
use ureq::http::StatusCode;
use url::Url;

use crate::network_trouble::{WebPage, is_web_page};

/// Largest file that is taken from a repository; a live patch is a few KB to a few MB.
pub const FILE_LIMIT: u64 = 64 << 20;

/// A [`Transport`] that proves to the server that the machine is enrolled, and to nobody else.
#[derive(Clone)]
pub struct HttpTransport {
    agent: Agent,
    server: Url,
    /// None: the machine is not enrolled; metadata is open to everyone.
    secret: Option<String>,
}

impl fmt::Debug for HttpTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("HttpTransport")
            .field("server", &self.server.as_str())
            .finish()
    }
}

impl HttpTransport {
    pub fn new(agent: Agent, server: Url, secret: String) -> Self {
        Self {
            agent,
            server,
            secret: Some(secret),
        }
    }

    /// Without proof of an enrolment.
    pub fn anonymous(agent: Agent, server: Url) -> Self {
        Self {
            agent,
            server,
            secret: None,
        }
    }

    /// Blocking: the whole file, so that a slow reader holds no connection.
    fn get(&self, url: &Url) -> Result<Vec<u8>, TransportError> {
        let other = |error: ureq::Error| {
            TransportError::new_with_cause(TransportErrorKind::Other, url.as_str(), error)
        };
        let mut request = self.agent.get(url.as_str());
        if let Some(secret) = &self.secret
            && url.origin() == self.server.origin()
        {
            request = request.header("authorization", format!("Bearer {secret}"));
        }
        let answer = request.call().map_err(other)?;
        match answer.status() {
            status if status.is_success() => {
                let content_type = answer.headers().get("content-type");
                let content_type = content_type.and_then(|value| value.to_str().ok());
                let content_type = content_type.map(str::to_owned);
                let mut bytes = Vec::new();
                let mut reader = answer.into_body().into_reader().take(FILE_LIMIT + 1);
                reader
                    .read_to_end(&mut bytes)
                    .map_err(|error| other(error.into()))?;
                if is_web_page(content_type.as_deref(), &bytes) {
                    let kind = TransportErrorKind::Other;
                    return Err(TransportError::new_with_cause(kind, url.as_str(), WebPage));
                }
                Ok(bytes)
            }
            // TUF asks for the next root until there is none (spec 5.3.3).
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(TransportError::new(
                TransportErrorKind::FileNotFound,
                url.as_str(),
            )),
            status => Err(TransportError::new_with_cause(
                TransportErrorKind::Other,
                url.as_str(),
                format!("the server answered {status}"),
            )),
        }
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(TransportError::new(
                TransportErrorKind::UnsupportedUrlScheme,
                url.as_str(),
            ));
        }
        let transport = self.clone();
        let address = url.clone();
        let bytes = tokio::task::spawn_blocking(move || transport.get(&address))
            .await
            .map_err(|error| {
                TransportError::new_with_cause(TransportErrorKind::Other, url.as_str(), error)
            })??;
        if bytes.len() as u64 > FILE_LIMIT {
            let cause = format!("the file is larger than {FILE_LIMIT} bytes");
            return Err(TransportError::new_with_cause(
                TransportErrorKind::Other,
                url.as_str(),
                cause,
            ));
        }
        Ok(Box::pin(stream::iter([Ok(Bytes::from(bytes))])))
    }
}
