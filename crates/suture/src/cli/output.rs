//! What commands write: files that are whole or absent, and data for the next program.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::Context as _;

/// Writes a file beside its place and renames it, so that a reader never meets half of it.
pub fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    write_beside(path, bytes).with_context(|| format!("cannot write `{}`", path.display()))
}

fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    // A terminal or a pipe has a name as well, and is no file to replace.
    if std::fs::metadata(path).is_ok_and(|place| !place.is_file()) {
        return std::fs::write(path, bytes);
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut file = tempfile::Builder::new()
        .prefix(".new-")
        .permissions(std::fs::Permissions::from_mode(0o666))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Writes data to the standard output. A reader that has seen enough, like `head`, is no failure.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to the standard output")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fix.diff");
        write_file(&path, b"a long first version").unwrap();
        write_file(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        let nowhere = folder.path().join("no/fix.diff");
        let error = write_file(&nowhere, b"").unwrap_err().to_string();
        assert_eq!(error, format!("cannot write `{}`", nowhere.display()));
        write_file(Path::new("/dev/null"), b"nothing is replaced").unwrap();
        assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    }
}
