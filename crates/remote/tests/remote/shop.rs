//! A publisher with a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use suture_protocol::TargetName;
use suture_repository::{Catalogue, Content, InitOptions, Layout, NewTarget, Publisher, init};
use tempfile::TempDir;

/// The hour of every story.
pub fn now() -> Timestamp {
    "2026-10-01T12:00:00Z".parse().unwrap()
}

pub struct Shop {
    home: Arc<TempDir>,
    publisher: Publisher,
    pub trusted_root: Vec<u8>,
}

impl Shop {
    pub async fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        let options = InitOptions::new(at("repository"), at("keys"), at("root keys"));
        let trusted_root = init(&options, now()).await.unwrap();
        Self {
            home: Arc::new(home),
            publisher: Publisher::new(options.dir, options.keys),
            trusted_root,
        }
    }

    /// Another publisher with the same keys and a copy of the folder.
    pub fn twin(&self) -> Self {
        let copy = self.path("twin");
        for folder in ["metadata", "targets"] {
            fs::create_dir_all(copy.join(folder)).unwrap();
            for entry in fs::read_dir(self.dir().join(folder)).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), copy.join(folder).join(entry.file_name())).unwrap();
            }
        }
        Self {
            home: Arc::clone(&self.home),
            publisher: Publisher::new(copy, self.path("keys")),
            trusted_root: self.trusted_root.clone(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn dir(&self) -> PathBuf {
        self.publisher.dir.clone()
    }

    pub async fn publish(&self, version: &str, content: &str) {
        let target = NewTarget {
            name: name(version),
            content: Content::Bytes(content.into()),
            fixes: Vec::new(),
        };
        self.publisher.publish(vec![target], now()).await.unwrap();
    }

    /// The file with this content, as it is called in the folder `targets`.
    pub fn target_file(&self, content: &str) -> String {
        let files = fs::read_dir(Layout::new(self.dir()).targets()).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        let file = files.find(|file| fs::read(file).unwrap() == content.as_bytes());
        let name = file.unwrap().file_name().unwrap().to_owned();
        name.into_string().unwrap()
    }
}

/// The contents of all live patches of a folder, by version.
pub async fn contents(dir: &Path) -> Vec<String> {
    let catalogue = Catalogue::load(dir, None).await.unwrap();
    let layout = Layout::new(dir);
    let files = catalogue
        .targets()
        .iter()
        .map(|target| layout.target(&target.sha256, &target.name.to_string()));
    files
        .map(|file| fs::read_to_string(file).unwrap())
        .collect()
}

fn name(version: &str) -> TargetName {
    let build_id = "ab".repeat(20);
    format!("6.12.117+deb13-amd64_amd64_{build_id}_{version}.1.ko")
        .parse()
        .unwrap()
}
