//! A repository in a folder as a source for readers: a mirror, a medium, the publisher's own.

use std::io;
use std::path::{Path, PathBuf};

use futures_util::stream;
use rustix::fs::OFlags;
use tokio::io::AsyncReadExt;
use tough::{Bytes, Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

/// Bytes read at a time.
const CHUNK_BYTES: usize = 64 * 1024;

/// Where a client finds the two halves of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// URL of the folder `metadata`.
    pub metadata: Url,
    /// URL of the folder `targets`.
    pub targets: Url,
}

/// Reads a repository from its folder, whatever characters the folder's path holds. It answers
/// `file:///metadata/<file>` and `file:///targets/<file>`.
#[derive(Debug, Clone)]
pub struct FolderTransport {
    dir: PathBuf,
}

impl FolderTransport {
    /// `dir` is the folder that holds `metadata` and `targets`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The URLs that this transport answers.
    pub fn location(&self) -> Location {
        Location {
            metadata: folder_url("metadata"),
            targets: folder_url("targets"),
        }
    }

    fn path(&self, url: &Url) -> Option<PathBuf> {
        let mut segments = url.path_segments()?;
        let (folder, file) = (segments.next()?, segments.next()?);
        let plain = !file.is_empty() && !file.starts_with('.') && segments.next().is_none();
        let known = matches!(folder, "metadata" | "targets");
        (url.scheme() == "file" && plain && known).then(|| self.dir.join(folder).join(file))
    }
}

#[async_trait]
impl Transport for FolderTransport {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let unsupported = || TransportError::new(TransportErrorKind::UnsupportedUrlScheme, &url);
        let path = self.path(&url).ok_or_else(unsupported)?;
        let file = open(&path).await.map_err(|error| failed(&url, error))?;
        Ok(Box::pin(stream::try_unfold(
            (file, url),
            |(mut file, url)| async move {
                let mut chunk = vec![0; CHUNK_BYTES];
                let length = file
                    .read(&mut chunk)
                    .await
                    .map_err(|error| failed(&url, error))?;
                chunk.truncate(length);
                Ok((length > 0).then(|| (Bytes::from(chunk), (file, url))))
            },
        )))
    }
}

/// `file:///<name>/`.
fn folder_url(name: &str) -> Url {
    Url::from_directory_path(Path::new("/").join(name))
        .unwrap_or_else(|()| unreachable!("the path is absolute"))
}

/// A pipe or a device in the place of a file is refused, and not waited for.
async fn open(path: &Path) -> io::Result<tokio::fs::File> {
    let mut options = tokio::fs::OpenOptions::new();
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = options.read(true).custom_flags(flags).open(path).await?;
    if !file.metadata().await?.is_file() {
        let message = "this is no regular file";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(file)
}

fn failed(url: &Url, error: io::Error) -> TransportError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => TransportErrorKind::FileNotFound,
        _ => TransportErrorKind::Other,
    };
    TransportError::new_with_cause(kind, url, error)
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode};
    use tough::IntoVec;

    use super::*;

    #[tokio::test]
    async fn only_files_of_the_two_folders_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a b%20c");
        std::fs::create_dir_all(folder.join("metadata")).unwrap();
        std::fs::write(folder.join("metadata/timestamp.json"), "{}").unwrap();
        std::fs::write(folder.join("secret"), "s").unwrap();
        let pipe = folder.join("metadata/1.root.json");
        rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let transport = FolderTransport::new(&folder);
        let fetch = async |text: &str| transport.fetch(Url::parse(text).unwrap()).await;
        let stream = fetch("file:///metadata/timestamp.json").await.unwrap();
        assert_eq!(stream.into_vec().await.unwrap(), b"{}");
        for bad in [
            "file:///secret",
            "file:///metadata/../secret",
            "file:///metadata/%2e%2e/secret",
            "file:///metadata/.hidden",
            "https://metadata/timestamp.json",
            "file:///metadata/1.root.json",
            "file:///metadata/a/b",
        ] {
            assert!(fetch(bad).await.is_err(), "{bad}");
        }
    }
}
