//! Takes a new target's bytes in: hashed on the way, hidden until all is known to be well.

use std::fs::File;
use std::io::{Read, Write};

use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use crate::durable;
use crate::error::RepositoryError;
use crate::layout::Layout;
use crate::published::PublishedTarget;
use crate::publisher::{Content, NewTarget};

/// Longest target, 256 MiB, for publisher and reader alike. A source archive with its objects
/// takes some megabytes, a module less than one.
pub const MAX_TARGET_BYTES: u64 = 256 * 1024 * 1024;

const CHUNK_BYTES: usize = 64 * 1024;

/// A target with its bytes in a hidden file.
pub(crate) struct Ingested {
    pub(crate) target: PublishedTarget,
    file: NamedTempFile,
}

/// Copies a target next to its later place.
pub(crate) fn read(layout: &Layout, new: NewTarget) -> Result<Ingested, RepositoryError> {
    let dir = layout.targets();
    let mut file = durable::hidden(&dir).map_err(RepositoryError::io("write into", dir))?;
    let (length, sha256) = match &new.content {
        Content::Bytes(bytes) => copy(&mut bytes.as_slice(), &mut file),
        Content::File(path) => File::open(path).and_then(|mut from| copy(&mut from, &mut file)),
    }
    .map_err(|source| RepositoryError::Io {
        action: "copy",
        path: match &new.content {
            Content::Bytes(_) => layout.targets(),
            Content::File(path) => path.clone(),
        },
        source,
    })?;
    if length > MAX_TARGET_BYTES {
        let name = new.name.to_string();
        return Err(RepositoryError::TooLong {
            name,
            limit: MAX_TARGET_BYTES,
        });
    }
    Ok(Ingested {
        target: PublishedTarget::new(new.name, new.fixes, length, sha256),
        file,
    })
}

impl Ingested {
    /// Gives the file its name; one that is there already has this content by its name.
    pub(crate) fn install(self, layout: &Layout) -> Result<(), RepositoryError> {
        let path = layout.target(&self.target.sha256, &self.target.name.to_string());
        durable::install(self.file, &path).map_err(RepositoryError::io("write", path))
    }
}

/// Copies at most one byte more than the limit, so that the caller sees what was too long.
fn copy(from: &mut dyn Read, to: &mut dyn Write) -> std::io::Result<(u64, String)> {
    let mut from = from.take(MAX_TARGET_BYTES + 1);
    let mut hasher = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut length = 0;
    loop {
        let read = from.read(&mut chunk)?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        hasher.update(bytes);
        to.write_all(bytes)?;
        length += read as u64;
    }
    Ok((length, hex::encode(hasher.finalize())))
}
