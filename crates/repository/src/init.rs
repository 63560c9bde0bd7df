//! Makes a new repository with its keys.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tough::schema::{Root, Targets};

use crate::error::RepositoryError;
use crate::expiry::Expiries;
use crate::keys::SigningKey;
use crate::layout::Layout;
use crate::lock::PublisherLock;
use crate::role::{OnlineRole, Role};
use crate::root;
use crate::signer::{Change, SPEC_VERSION, Signer, non_zero};

/// What to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitOptions {
    /// The repository's folder; it may exist but holds no repository yet.
    pub dir: PathBuf,
    /// Gets the keys of targets, snapshot and timestamp; the publisher needs them daily.
    pub keys: PathBuf,
    /// Gets the root keys; meant to be moved to media off line afterwards. They are needed once
    /// a year and when a key is replaced.
    pub root_keys: PathBuf,
    /// Number of root keys (default: 1).
    pub root_key_count: u64,
    /// How many of them must sign a root (default: 1).
    pub root_threshold: u64,
    pub expiries: Expiries,
}

impl InitOptions {
    /// One root key, default expiries.
    pub fn new(
        dir: impl Into<PathBuf>,
        keys: impl Into<PathBuf>,
        root_keys: impl Into<PathBuf>,
    ) -> Self {
        Self {
            dir: dir.into(),
            keys: keys.into(),
            root_keys: root_keys.into(),
            root_key_count: 1,
            root_threshold: 1,
            expiries: Expiries::default(),
        }
    }
}

/// Makes keys and an empty, signed repository. Returns the bytes of the first root: what readers
/// get by a trusted way. Nothing that exists is overwritten.
pub async fn init(options: &InitOptions, now: Timestamp) -> Result<Vec<u8>, RepositoryError> {
    check_threshold(options.root_threshold, options.root_key_count)?;
    let layout = Layout::new(&options.dir);
    for dir in [layout.metadata(), layout.targets()] {
        fs::create_dir_all(&dir).map_err(RepositoryError::io("make the folder", dir))?;
    }
    let _lock = PublisherLock::take(&layout)?;
    require_private(options)?;
    for path in [layout.root(1), layout.timestamp()] {
        require_absent(&path)?;
    }
    require_no_keys(&options.keys)?;
    require_no_keys(&options.root_keys)?;

    let mut first = root::new(&options.expiries, now)?;
    let root_keys = generate(&options.root_keys, Role::Root, options.root_key_count)?;
    root::set_keys(&mut first, Role::Root, &root_keys, options.root_threshold);
    let mut online_keys = Vec::new();
    for role in OnlineRole::ALL {
        let role = Role::from(role);
        let key = generate(&options.keys, role, 1)?;
        root::set_keys(&mut first, role, &key, 1);
        online_keys.extend(key);
    }
    let signed = root::sign(first.clone(), None, &options.root_keys, &root_keys).await?;
    write_first_state(options, &layout, first, &online_keys, now).await?;
    root::write(&layout, &signed)?;
    Ok(signed.buffer().clone())
}

/// The root comes last: with it the folder is a repository.
async fn write_first_state(
    options: &InitOptions,
    layout: &Layout,
    first: Root,
    keys: &[SigningKey],
    now: Timestamp,
) -> Result<(), RepositoryError> {
    let expires = options.expiries.sign(Role::Targets, now)?;
    let mut targets = Targets::new(SPEC_VERSION.to_owned(), non_zero(1), expires);
    targets.delegations = None;
    let signer = Signer::new(layout, &options.keys, keys, options.expiries, first, now);
    signer
        .commit(None, Change::Targets(Box::new(targets)))
        .await?;
    Ok(())
}

/// A repository's folder is served as it is, and a thief of the online keys should not find the
/// root keys with them.
fn require_private(options: &InitOptions) -> Result<(), RepositoryError> {
    let dir = resolved(&options.dir)?;
    for keys in [&options.keys, &options.root_keys] {
        if resolved(keys)?.starts_with(&dir) {
            return Err(RepositoryError::PublicKeyFolder {
                keys: keys.clone(),
                dir: options.dir.clone(),
            });
        }
    }
    if resolved(&options.keys)? == resolved(&options.root_keys)? {
        let dir = options.keys.clone();
        return Err(RepositoryError::SharedKeyFolder { dir });
    }
    Ok(())
}

/// The path without links, as far as it exists.
fn resolved(path: &Path) -> Result<PathBuf, RepositoryError> {
    let absolute = std::path::absolute(path).map_err(RepositoryError::io("find", path))?;
    let existing = absolute.ancestors().find_map(|ancestor| {
        let rest = absolute.strip_prefix(ancestor).ok()?;
        Some(ancestor.canonicalize().ok()?.join(rest))
    });
    Ok(existing.unwrap_or(absolute))
}

/// Makes several keys of a role in a folder.
pub(crate) fn generate(
    dir: &Path,
    role: Role,
    count: u64,
) -> Result<Vec<SigningKey>, RepositoryError> {
    (0..count)
        .map(|_| SigningKey::generate(dir, role))
        .collect()
}

/// A threshold that no set of keys can reach would lock everyone out.
pub(crate) fn check_threshold(threshold: u64, count: u64) -> Result<(), RepositoryError> {
    if threshold == 0 || threshold > count {
        return Err(RepositoryError::Threshold { threshold, count });
    }
    Ok(())
}

/// New keys go to a folder without keys, so that nobody confuses two repositories' keys.
pub(crate) fn require_no_keys(dir: &Path) -> Result<(), RepositoryError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(RepositoryError::Exists {
                path: dir.to_owned(),
            }),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(RepositoryError::Io {
            action: "list",
            path: dir.to_owned(),
            source,
        }),
    }
}

fn require_absent(path: &Path) -> Result<(), RepositoryError> {
    if path.exists() {
        return Err(RepositoryError::Exists {
            path: path.to_owned(),
        });
    }
    Ok(())
}
