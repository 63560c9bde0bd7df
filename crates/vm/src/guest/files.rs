//! Files to and from the host, piece by piece.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::wire::{Answer, Bytes, READ_CHUNK};

/// Writes a piece; folders on the way are made, and `offset` 0 starts the file anew.
pub fn write(path: &str, offset: u64, mode: u32, data: &[u8]) -> Result<Answer> {
    if let Some(parent) = Path::new(path).parent() {
        fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(offset == 0)
        .open(path)
        .with_context(|| format!("cannot open `{path}`"))?;
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(data)
        .with_context(|| format!("cannot write `{path}`"))?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(Answer::Written)
}

/// Reads a piece.
pub fn read(path: &str, offset: u64) -> Result<Answer> {
    let mut file = File::open(path).with_context(|| format!("cannot open `{path}`"))?;
    // Files of proc and sysfs may refuse to seek; at their start there is no need to.
    if offset > 0 {
        file.seek(SeekFrom::Start(offset))?;
    }
    let mut data = Vec::new();
    file.take(READ_CHUNK)
        .read_to_end(&mut data)
        .with_context(|| format!("cannot read `{path}`"))?;
    let end = (data.len() as u64) < READ_CHUNK;
    Ok(Answer::Piece {
        data: Bytes(data),
        end,
    })
}
