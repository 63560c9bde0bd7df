//! The metadata that lies in a repository's folder now, verified from a trusted root on.

use std::fs;
use std::io::Read;
use std::path::Path;

use tough::{ExpirationEnforcement, Repository, RepositoryLoader};

use crate::error::RepositoryError;
use crate::folder::FolderTransport;
use crate::layout::Layout;

/// A root with three roles' keys takes about 3 KB.
const MAX_ROOT_BYTES: u64 = 1024 * 1024;

/// Reads and verifies the four roles. Expiry is the caller's matter: a publisher must be able to
/// renew what has expired.
pub(crate) async fn load(
    layout: &Layout,
    root: Option<&[u8]>,
) -> Result<Repository, RepositoryError> {
    let first = match root {
        Some(bytes) => bytes.to_vec(),
        None => read_first_root(layout)?,
    };
    let failed = |source| RepositoryError::Metadata {
        dir: layout.metadata(),
        source: Box::new(source),
    };
    let transport = FolderTransport::new(layout.dir());
    let location = transport.location();
    RepositoryLoader::new(&first, location.metadata, location.targets)
        .transport(transport)
        .expiration_enforcement(ExpirationEnforcement::Unsafe)
        .load()
        .await
        .map_err(failed)
}

/// The root from which a folder's own chain starts.
fn read_first_root(layout: &Layout) -> Result<Vec<u8>, RepositoryError> {
    let path = layout.root(1);
    if !path.exists() {
        return Err(RepositoryError::NotARepository {
            dir: layout.dir().to_owned(),
        });
    }
    read_bounded(&path, MAX_ROOT_BYTES).map_err(RepositoryError::io("read", path))
}

pub(crate) fn read_bounded(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(std::io::Error::new(
            std::io::ErrorKind::FileTooLarge,
            format!("longer than {limit} bytes"),
        ));
    }
    Ok(bytes)
}
