//! A repository in a folder of its own, and a machine that reads it.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use suture_protocol::{TargetKind, TargetName};
use suture_repository::{
    Client, ClientError, Content, FolderTransport, InitOptions, Limits, NewTarget, Publisher, init,
};
use tempfile::TempDir;

/// Noon of the day on which every story starts.
pub fn start() -> Timestamp {
    "2026-10-01T12:00:00Z".parse().unwrap()
}

pub fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

pub struct Shop {
    home: TempDir,
    pub publisher: Publisher,
    pub trusted_root: Vec<u8>,
}

impl Shop {
    pub async fn open() -> Self {
        Self::open_with(|options| options).await
    }

    pub async fn open_with(change: impl FnOnce(InitOptions) -> InitOptions) -> Self {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let options = change(InitOptions::new(
            at("repository"),
            at("keys"),
            at("root keys"),
        ));
        let trusted_root = init(&options, start()).await.unwrap();
        let expiries = options.expiries;
        let publisher = Publisher {
            expiries,
            ..Publisher::new(options.dir, options.keys)
        };
        Self {
            home,
            publisher,
            trusted_root,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn root_keys(&self) -> PathBuf {
        self.path("root keys")
    }

    pub async fn publish(&self, version: &str, content: &[u8]) -> TargetName {
        let target = module(version, content);
        let name = target.name.clone();
        self.publisher.publish(vec![target], start()).await.unwrap();
        name
    }

    /// The machine reads the repository's own folder.
    pub async fn update(&self, now: Timestamp) -> Result<Client, ClientError> {
        self.update_from(&self.publisher.dir, now).await
    }

    /// The machine reads some folder that claims to be the repository.
    pub async fn update_from(&self, dir: &Path, now: Timestamp) -> Result<Client, ClientError> {
        let transport = FolderTransport::new(dir);
        let location = transport.location();
        let limits = Limits::default();
        let store = self.datastore();
        Client::update(
            &self.trusted_root,
            &store,
            &location,
            transport,
            &limits,
            now,
        )
        .await
    }

    pub fn datastore(&self) -> PathBuf {
        self.path("datastore")
    }

    /// A copy of the repository as it is now.
    pub fn copy(&self, name: &str) -> PathBuf {
        let copy = self.path(name);
        for folder in ["metadata", "targets"] {
            fs::create_dir_all(copy.join(folder)).unwrap();
            for entry in fs::read_dir(self.publisher.dir.join(folder)).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), copy.join(folder).join(entry.file_name())).unwrap();
            }
        }
        copy
    }
}

pub fn name(version: &str, kind: TargetKind) -> TargetName {
    let build_id = "ab".repeat(20);
    let suffix = kind.suffix();
    format!("6.12.117+deb13-amd64_amd64_{build_id}_{version}{suffix}")
        .parse()
        .unwrap()
}

pub fn module(version: &str, content: &[u8]) -> NewTarget {
    NewTarget {
        name: name(version, TargetKind::Module),
        content: Content::Bytes(content.to_vec()),
        fixes: vec!["CVE-2026-89603".parse().unwrap()],
    }
}

/// The one file of a folder whose name ends so.
pub fn file_ending(dir: &Path, end: &str) -> PathBuf {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}
