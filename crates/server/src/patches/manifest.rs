//! Manifests as they lie in the repository, read no further than they may be long and taken only
//! if they are what the signed metadata say.

use std::fs::File;
use std::io::Read as _;

use aws_lc_rs::digest;
use suture_protocol::Manifest;
use suture_repository::{Catalogue, PublishedTarget};
use tracing::warn;

/// Bytes of a manifest that are read; a fix takes some 3 KB of it.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// A published manifest; none, with a line in the log, if it can't be read or isn't what the
/// metadata say.
pub fn read(catalogue: &Catalogue, target: &PublishedTarget) -> Option<Manifest> {
    match try_read(catalogue, target) {
        Ok(manifest) => Some(manifest),
        Err(reason) => {
            let name = &target.name;
            warn!(target.name = %name, "cannot show manifest `{name}`: {reason}");
            None
        }
    }
}

fn try_read(catalogue: &Catalogue, target: &PublishedTarget) -> Result<Manifest, String> {
    let mut bytes = Vec::new();
    File::open(catalogue.path(target))
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it is longer than {MAX_BYTES} bytes"));
    }
    if hex::encode(digest::digest(&digest::SHA256, &bytes)) != target.sha256 {
        return Err("its content is not what the metadata says".to_owned());
    }
    serde_json::from_slice(&bytes).map_err(|error| error.to_string())
}
