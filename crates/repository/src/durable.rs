//! Files that are whole or absent, also after a power cut.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::NamedTempFile;

/// Writes a file that anyone may read: into a hidden neighbour, flushed to disk, then renamed.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = hidden_beside(path)?;
    file.write_all(bytes)?;
    install(file, path)
}

/// A hidden, not yet visible file in a folder. It vanishes unless it is installed.
pub fn hidden(dir: &Path) -> io::Result<NamedTempFile> {
    tempfile::Builder::new().prefix(".new-").tempfile_in(dir)
}

/// The same for a file that will lie here.
pub fn hidden_beside(path: &Path) -> io::Result<NamedTempFile> {
    hidden(parent(path))
}

/// Gives a hidden file its name.
pub fn install(file: NamedTempFile, path: &Path) -> io::Result<()> {
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_dir(parent(path))
}

/// Flushes a folder's list of names.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn parent(path: &Path) -> &Path {
    path.parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uninstalled_file_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = hidden(dir.path()).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_written_file_replaces_the_old_one_and_can_be_read_by_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("timestamp.json");
        write(&path, b"old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
    }
}
