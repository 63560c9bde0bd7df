//! The initramfs: a "newc" cpio archive whose bytes depend on its content alone.

use std::collections::BTreeMap;
use std::io::{self, Write};

use cpio::newc::{Builder, trailer};

use crate::VmError;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

/// Files, folders and links, each by its absolute path.
#[derive(Debug, Default)]
pub struct Initramfs {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    owner: u32,
    data: Vec<u8>,
}

impl Initramfs {
    /// Adds or replaces a file of root's; `mode` are its permission bits.
    pub fn file(&mut self, path: &str, data: Vec<u8>, mode: u32) -> Result<(), VmError> {
        self.insert(path, REGULAR | (mode & 0o7777), 0, data)
    }

    pub fn symlink(&mut self, path: &str, target: &str) -> Result<(), VmError> {
        self.insert(path, SYMLINK | 0o777, 0, target.as_bytes().to_vec())
    }

    pub fn directory(&mut self, path: &str, mode: u32, owner: u32) -> Result<(), VmError> {
        self.insert(path, DIRECTORY | (mode & 0o7777), owner, Vec::new())
    }

    /// Whether something lies at this path already.
    pub fn contains(&self, path: &str) -> bool {
        path.strip_prefix('/')
            .is_some_and(|name| self.entries.contains_key(name))
    }

    fn insert(&mut self, path: &str, mode: u32, owner: u32, data: Vec<u8>) -> Result<(), VmError> {
        let name = checked_name(path)?;
        if u32::try_from(data.len()).is_err() {
            return Err(refused(path, "a file has at most 4 GiB"));
        }
        self.add_parents(name);
        self.entries
            .insert(name.to_owned(), Entry { mode, owner, data });
        Ok(())
    }

    /// The kernel makes no folder by itself; parents sort before what is in them.
    fn add_parents(&mut self, name: &str) {
        for (end, _) in name.match_indices('/') {
            let parent = self.entries.entry(name[..end].to_owned());
            parent.or_insert_with(|| Entry {
                mode: DIRECTORY | 0o755,
                owner: 0,
                data: Vec::new(),
            });
        }
    }

    /// Writes the archive.
    pub fn write(&self, mut archive: impl Write) -> io::Result<()> {
        for (number, (name, entry)) in (1u32..).zip(&self.entries) {
            let size = u32::try_from(entry.data.len()).map_err(io::Error::other)?;
            let header = Builder::new(name)
                .ino(number)
                .mode(entry.mode)
                .uid(entry.owner)
                .gid(entry.owner)
                .nlink(if entry.mode & DIRECTORY == DIRECTORY {
                    2
                } else {
                    1
                });
            let mut writer = header.write(&mut archive, size);
            writer.write_all(&entry.data)?;
            writer.finish()?;
        }
        trailer(archive)?;
        Ok(())
    }
}

/// The name in the archive: no leading slash, nothing that leaves the root.
fn checked_name(path: &str) -> Result<&str, VmError> {
    let name = path
        .strip_prefix('/')
        .ok_or_else(|| refused(path, "the path must be absolute"))?;
    let strange = |part: &str| part.is_empty() || part == "." || part == "..";
    if name.split('/').any(strange) {
        return Err(refused(path, "the path must be free of `.`, `..` and `//`"));
    }
    if name.contains('\0') || name.len() > 4000 {
        return Err(refused(
            path,
            "the path must be free of NUL and at most 4000 bytes long",
        ));
    }
    Ok(name)
}

fn refused(path: &str, reason: &'static str) -> VmError {
    VmError::Initramfs {
        path: path.chars().take(200).collect(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn archive(build: impl FnOnce(&mut Initramfs)) -> Vec<u8> {
        let mut initramfs = Initramfs::default();
        build(&mut initramfs);
        let mut bytes = Vec::new();
        initramfs.write(&mut bytes).unwrap();
        bytes
    }

    fn listing(bytes: &[u8]) -> Vec<String> {
        let mut rest = bytes;
        let mut names = Vec::new();
        loop {
            let mut reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                return names;
            }
            let mut data = String::new();
            reader.read_to_string(&mut data).unwrap();
            let entry = reader.entry();
            names.push(format!(
                "{:o} {} {} {data}",
                entry.mode(),
                entry.uid(),
                entry.name()
            ));
            rest = reader.finish().unwrap();
        }
    }

    #[test]
    fn parents_come_first_and_keep_what_was_said_of_them() {
        let bytes = archive(|initramfs| {
            initramfs
                .file("/home/user/a", b"x".to_vec(), 0o644)
                .unwrap();
            initramfs.directory("/home/user", 0o700, 1000).unwrap();
            initramfs.symlink("/bin/sh", "busybox").unwrap();
        });
        assert_eq!(
            listing(&bytes),
            [
                "40755 0 bin ",
                "120777 0 bin/sh busybox",
                "40755 0 home ",
                "40700 1000 home/user ",
                "100644 0 home/user/a x",
            ]
        );
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let one = archive(|initramfs| {
            initramfs.file("/a", vec![1], 0o755).unwrap();
            initramfs.file("/b", vec![2; 5], 0o755).unwrap();
        });
        let two = archive(|initramfs| {
            initramfs.file("/b", vec![2; 5], 0o755).unwrap();
            initramfs.file("/a", vec![1], 0o755).unwrap();
        });
        assert_eq!(one, two);
        assert_eq!(&one[..6], b"070701");
        assert_eq!(one.len() % 4, 0);
    }

    #[test]
    fn paths_that_leave_the_root_are_refused() {
        let mut initramfs = Initramfs::default();
        for path in ["a", "/../a", "/a//b", "/", "/a/./b", "/a\0b"] {
            assert!(initramfs.file(path, vec![], 0o644).is_err(), "{path}");
        }
    }
}
