//! Reads and writes the objects of one place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, Attributes, ClientOptions, Error, GetResult, ObjectStore,
    ObjectStoreExt, PutMode, PutOptions, RetryConfig, UpdateVersion,
};
use url::{Host, Url};

use crate::address::Address;
use crate::error::RemoteError;

/// Where the token for a site is read from.
const TOKEN: &str = "SUTURE_MIRROR_TOKEN";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A whole request, an archive of some megabytes on a slow line included.
const TIMEOUT: Duration = Duration::from_secs(600);
/// What goes on longer is for the caller to try again.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: usize = 3;

/// A bucket's folder or a site's.
#[derive(Debug, Clone)]
pub struct Place {
    name: String,
    store: Arc<dyn ObjectStore>,
    folder: Path,
    writable: bool,
}

/// What one version of an object is told by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version(UpdateVersion);

/// Whether a file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Yes,
    /// Another one is there, or came meanwhile.
    Other,
}

impl Place {
    /// A bucket's folder or a site's. What a bucket wants beside its name comes from the
    /// environment, by the names that Amazon's own programs read: `AWS_ACCESS_KEY_ID`,
    /// `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL`; and `AWS_ALLOW_HTTP=true` for an
    /// endpoint without TLS. A site is told the token in `SUTURE_MIRROR_TOKEN`, if there is one: a
    /// service of ours hands out modules to who has one. A folder of this machine is no such
    /// place, and an error.
    pub fn open(
        address: &Address,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, RemoteError> {
        let connect = |source| RemoteError::Connect {
            place: address.to_string(),
            source: Box::new(source),
        };
        let (store, folder, writable): (Arc<dyn ObjectStore>, _, _) = match address {
            Address::Bucket { bucket, folder } => {
                let store = bucket_store(bucket, environment).map_err(connect)?;
                (Arc::new(store), Path::from(folder.as_str()), true)
            }
            Address::Site(url) => {
                let site = HttpBuilder::new()
                    .with_url(url.as_str())
                    .with_client_options(site_options(url, environment)?)
                    .with_retry(retries())
                    .build();
                (Arc::new(site.map_err(connect)?), Path::default(), false)
            }
            Address::Folder(_) => {
                let place = address.to_string();
                return Err(RemoteError::NotABucket { place });
            }
        };
        Ok(Self {
            name: address.to_string(),
            store,
            folder,
            writable,
        })
    }

    /// The address, as people write it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn require_writable(&self) -> Result<(), RemoteError> {
        let place = self.name.clone();
        self.writable
            .then_some(())
            .ok_or(RemoteError::NotABucket { place })
    }

    /// A file's content in pieces; of a file that is missing, an error that says so.
    pub(crate) async fn get(&self, file: &str) -> Result<GetResult, Error> {
        self.store.get(&self.path(file)).await
    }

    /// A file of at most `limit` bytes and its version, if it is there.
    pub(crate) async fn read(
        &self,
        file: &str,
        limit: u64,
    ) -> Result<Option<(Vec<u8>, Version)>, RemoteError> {
        let failed = |source| self.failed("read", file, source);
        let found = match self.get(file).await {
            Err(Error::NotFound { .. }) => return Ok(None),
            found => found.map_err(failed)?,
        };
        let version = Version(UpdateVersion {
            e_tag: found.meta.e_tag.clone(),
            version: found.meta.version.clone(),
        });
        let mut pieces = found.into_stream();
        let mut bytes = Vec::new();
        while let Some(piece) = pieces.try_next().await.map_err(failed)? {
            if (bytes.len() + piece.len()) as u64 > limit {
                let (place, file) = (self.name.clone(), file.to_owned());
                return Err(RemoteError::TooLong { place, file, limit });
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Some((bytes, version)))
    }

    /// Lengths in bytes of the files of a folder, by their names.
    pub(crate) async fn list(&self, folder: &str) -> Result<BTreeMap<String, u64>, RemoteError> {
        let mut files = self.store.list(Some(&self.path(folder)));
        let mut found = BTreeMap::new();
        let failed = |source| self.failed("list", folder, source);
        while let Some(file) = files.try_next().await.map_err(failed)? {
            if let Some(name) = file.location.filename() {
                found.insert(name.to_owned(), file.size);
            }
        }
        Ok(found)
    }

    /// Writes a file, whatever is there.
    pub(crate) async fn put(&self, file: &str, bytes: Vec<u8>) -> Result<(), RemoteError> {
        self.put_with(file, bytes, PutMode::Overwrite).await?;
        Ok(())
    }

    /// Writes a file unless there is one.
    pub(crate) async fn create(&self, file: &str, bytes: Vec<u8>) -> Result<Written, RemoteError> {
        self.put_with(file, bytes, PutMode::Create).await
    }

    /// Writes a file in the place of the version that was read; without one, unless there is one.
    pub(crate) async fn replace(
        &self,
        file: &str,
        bytes: Vec<u8>,
        version: Option<Version>,
    ) -> Result<Written, RemoteError> {
        let mode = version.map_or(PutMode::Create, |version| PutMode::Update(version.0));
        self.put_with(file, bytes, mode).await
    }

    async fn put_with(
        &self,
        file: &str,
        bytes: Vec<u8>,
        mode: PutMode,
    ) -> Result<Written, RemoteError> {
        let options = PutOptions {
            mode,
            attributes: attributes(file),
            ..PutOptions::default()
        };
        let path = self.path(file);
        match self
            .store
            .put_opts(&path, Bytes::from(bytes).into(), options)
            .await
        {
            Ok(_) => Ok(Written::Yes),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(Written::Other),
            Err(source) => Err(self.failed("write", file, source)),
        }
    }

    pub(crate) async fn remove(&self, file: &str) -> Result<(), RemoteError> {
        let removed = self.store.delete(&self.path(file)).await;
        removed.map_err(|source| self.failed("remove", file, source))
    }

    fn path(&self, file: &str) -> Path {
        self.folder
            .parts()
            .chain(Path::from(file).parts())
            .collect()
    }

    fn failed(&self, action: &'static str, file: &str, source: Error) -> RemoteError {
        RemoteError::Object {
            action,
            place: self.name.clone(),
            file: file.to_owned(),
            source: Box::new(source),
        }
    }
}

/// What a CDN in front of the bucket needs to know: only `timestamp.json` ever changes.
fn attributes(file: &str) -> Attributes {
    let kind = if file.ends_with(".json") {
        "application/json"
    } else {
        "application/octet-stream"
    };
    let caching = if file.ends_with("/timestamp.json") {
        "max-age=15"
    } else {
        "max-age=31536000, immutable"
    };
    [
        (Attribute::ContentType, AttributeValue::from(kind)),
        (Attribute::CacheControl, AttributeValue::from(caching)),
    ]
    .into_iter()
    .collect()
}

fn bucket_store(
    bucket: &str,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<AmazonS3, Error> {
    let builder = AmazonS3Builder::new()
        .with_client_options(client_options())
        .with_retry(retries());
    let settings = environment.into_iter().filter_map(|(name, value)| {
        let name = name.starts_with("AWS_").then(|| name.to_lowercase())?;
        Some((name.parse::<AmazonS3ConfigKey>().ok()?, value))
    });
    settings
        .fold(builder, |builder, (key, value)| {
            builder.with_config(key, value)
        })
        .with_bucket_name(bucket)
        .build()
}

fn site_options(
    url: &Url,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<ClientOptions, RemoteError> {
    let options = client_options().with_allow_http(true);
    let token = environment.into_iter().find(|(name, _)| name == TOKEN);
    let Some((_, token)) = token else {
        return Ok(options);
    };
    if url.scheme() != "https" && !is_this_machine(url) {
        return Err(RemoteError::PlainToken { url: url.clone() });
    }
    let value = HeaderValue::from_str(&format!("Bearer {}", token.trim()));
    let mut value = value.map_err(|_| RemoteError::NoToken)?;
    value.set_sensitive(true);
    Ok(options.with_default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)])))
}

fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

fn client_options() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(READ_TIMEOUT)
        .with_timeout(TIMEOUT)
}

fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: RETRIES,
        retry_timeout: RETRY_TIMEOUT,
        ..RetryConfig::default()
    }
}
