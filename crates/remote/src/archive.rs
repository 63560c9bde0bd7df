//! A repository in one file, for machines that no network reaches.
//!
//! The file is a plain tar archive of the folders `metadata` and `targets`. It needs no signature
//! of its own: whoever imports it proves each file from the trusted root on, as from any mirror.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path};

use jiff::Timestamp;
use suture_repository::{
    Copied, Files, FolderTransport, Layout, MAX_METADATA_BYTES, MAX_TARGET_BYTES, Mirror,
    PublisherLock, durable,
};
use tar::{Archive, Builder, EntryType, Header};
use tempfile::TempDir;

use crate::error::RemoteError;

/// Files of an archive. A repository of that size has 10,000 live patches.
const MOST_FILES: usize = 50_000;

/// Writes the repository in `dir` into one file, which is whole or absent.
pub async fn export(dir: &Path, file: &Path) -> Result<Files, RemoteError> {
    let layout = Layout::new(dir);
    let _lock = PublisherLock::take(&layout)?;
    let files = Files::read(dir).await?;
    let failed = || RemoteError::file("write", file);
    let mut hidden = durable::hidden_beside(file).map_err(failed())?;
    pack(&layout, &files, hidden.as_file_mut())?;
    durable::install(hidden, file).map_err(failed())?;
    Ok(files)
}

fn pack(layout: &Layout, files: &Files, into: &mut File) -> Result<(), RemoteError> {
    let mut archive = Builder::new(io::BufWriter::new(into));
    for name in files.metadata() {
        append(
            &mut archive,
            &layout.metadata().join(&name),
            &format!("metadata/{name}"),
        )?;
    }
    for target in &files.targets {
        let name = format!("targets/{}", target.file_name());
        append(
            &mut archive,
            &layout.target(&target.sha256, &target.name),
            &name,
        )?;
    }
    let finished = archive.into_inner().and_then(|mut writer| writer.flush());
    finished.map_err(RemoteError::file("write an archive of", layout.dir()))
}

/// Equal repositories make equal archives: no time and no owner goes in.
fn append<W: Write>(archive: &mut Builder<W>, path: &Path, name: &str) -> Result<(), RemoteError> {
    let failed = || RemoteError::file("pack", path);
    let file = File::open(path).map_err(failed())?;
    let mut header = Header::new_gnu();
    header.set_size(file.metadata().map_err(failed())?.len());
    header.set_mode(0o644);
    header.set_entry_type(EntryType::Regular);
    archive
        .append_data(&mut header, name, file)
        .map_err(failed())
}

/// Brings the copy to the state of an archive.
pub async fn import(
    archive: &Path,
    mirror: &Mirror,
    now: Timestamp,
) -> Result<Copied, RemoteError> {
    let made = RemoteError::file("make the folder", &mirror.dir);
    fs::create_dir_all(&mirror.dir).map_err(made)?;
    let unpacked = unpack(archive, &mirror.dir)?;
    let transport = FolderTransport::new(unpacked.path());
    Ok(mirror.update(&transport.location(), transport, now).await?)
}

/// Unpacks into a hidden folder, which vanishes with the value.
fn unpack(path: &Path, within: &Path) -> Result<TempDir, RemoteError> {
    let folder = tempfile::Builder::new()
        .prefix(".import-")
        .tempdir_in(within)
        .map_err(RemoteError::file("write into", within))?;
    for name in ["metadata", "targets"] {
        let made = folder.path().join(name);
        fs::create_dir(&made).map_err(RemoteError::file("make the folder", made))?;
    }
    let file = File::open(path).map_err(RemoteError::file("read", path))?;
    let mut archive = Archive::new(io::BufReader::new(file));
    let no_archive = |why: String| RemoteError::NotAnArchive {
        path: path.to_owned(),
        why,
    };
    let unreadable = |error: io::Error| no_archive(error.to_string());
    for (count, entry) in archive.entries().map_err(unreadable)?.enumerate() {
        let mut entry = entry.map_err(unreadable)?;
        let name = entry.path().map_err(unreadable)?.into_owned();
        let strange = || no_archive(format!("it has a file `{}`", name.display()));
        if count >= MOST_FILES {
            return Err(no_archive(format!("it has more than {MOST_FILES} files")));
        }
        let limit = limit(&name).ok_or_else(strange)?;
        if entry.header().entry_type() != EntryType::Regular || entry.size() > limit {
            return Err(strange());
        }
        let to = folder.path().join(&name);
        let mut file = File::create_new(&to).map_err(RemoteError::file("write", &to))?;
        copy(&mut entry, &mut file).map_err(|error| match error {
            Copy::Read(error) => unreadable(error),
            Copy::Write(error) => RemoteError::file("write", to)(error),
        })?;
    }
    Ok(folder)
}

enum Copy {
    Read(io::Error),
    Write(io::Error),
}

/// A damaged archive and a full disk are told apart.
fn copy(from: &mut dyn Read, to: &mut File) -> Result<(), Copy> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        match from.read(&mut piece).map_err(Copy::Read)? {
            0 => return Ok(()),
            length => to
                .write_all(piece.get(..length).unwrap_or_default())
                .map_err(Copy::Write)?,
        }
    }
}

/// Longest content of a file with this name, in bytes; none if no repository has one of it.
fn limit(name: &Path) -> Option<u64> {
    let parts: Vec<_> = name.components().collect();
    let [Component::Normal(folder), Component::Normal(file)] = parts.as_slice() else {
        return None;
    };
    if file.to_str()?.starts_with('.') {
        return None;
    }
    match folder.to_str()? {
        "metadata" => Some(MAX_METADATA_BYTES),
        "targets" => Some(MAX_TARGET_BYTES),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_two_folders_are_unpacked() {
        assert_eq!(
            limit(Path::new("metadata/1.root.json")),
            Some(MAX_METADATA_BYTES)
        );
        assert_eq!(limit(Path::new("targets/ab.x")), Some(MAX_TARGET_BYTES));
        for bad in [
            "metadata",
            "../metadata/x",
            "metadata/../x",
            "/metadata/x",
            "targets/a/b",
            "targets/.hidden",
            "other/x",
        ] {
            assert_eq!(limit(Path::new(bad)), None, "{bad}");
        }
    }
}
