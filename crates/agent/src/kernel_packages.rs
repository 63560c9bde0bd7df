//! Which kernels are installed and offered, by the files that package managers leave.
//!
//! ```text
//! /boot/vmlinuz-RELEASE            what the next restart can start
//! /var/lib/dpkg/status             its package's version
//! /var/lib/apt/lists/*_Packages    what is offered, since the last `apt update`
//! ```
//!
//! No program is run for it, and nothing is fetched. Compressed lists are not read.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::SystemTime;

use suture_kernel::KernelRelease;

use crate::files;
use crate::paths::Paths;
use crate::regular_update::{KernelPackage, RegularUpdate};

/// Largest list that is read; the largest of Debian has some 60 MB.
const LIST_LIMIT: u64 = 256 << 20;
/// The rest of a longer line is skipped.
const LINE_LIMIT: u64 = 4096;
/// Files that are looked at.
const MOST_FILES: usize = 256;

/// The last answer, and the files that it was read from as they were then.
#[derive(Debug, Default)]
pub struct KernelPackages {
    last: Mutex<Option<(Vec<Stamp>, RegularUpdate)>>,
}

/// A file that has not changed is not read again.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    modified: Option<SystemTime>,
    length: u64,
}

impl KernelPackages {
    /// The update that waits for the running kernel. What can't be read counts as absent: a
    /// machine without these files has another package manager.
    pub fn update(&self, paths: &Paths, running: &KernelRelease) -> RegularUpdate {
        let lists = lists(paths);
        let boot = boot(paths);
        let status = paths.dpkg_status();
        let stamps: Vec<_> = boot
            .iter()
            .chain(&lists)
            .chain([&status])
            .map(stamp)
            .collect();
        let mut last = self
            .last
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((before, update)) = &*last
            && *before == stamps
        {
            return update.clone();
        }
        let running = KernelPackage {
            release: running.clone(),
            version: running_version(paths),
        };
        let known = packages(&status, true);
        let installed: Vec<_> = boot
            .iter()
            .filter_map(|path| release_of(path))
            .map(|release| with_version(release, &known))
            .collect();
        let offered: Vec<_> = lists.iter().flat_map(|it| packages(it, false)).collect();
        let update = RegularUpdate::of(&running, &installed, &offered);
        *last = Some((stamps, update.clone()));
        update
    }
}

fn stamp(path: &PathBuf) -> Stamp {
    let metadata = fs::metadata(path);
    Stamp {
        path: path.clone(),
        modified: metadata.as_ref().ok().and_then(|it| it.modified().ok()),
        length: metadata.map_or(0, |it| it.len()),
    }
}

fn lists(paths: &Paths) -> Vec<PathBuf> {
    named(&paths.apt_lists(), |name| name.ends_with("_Packages"))
}

fn boot(paths: &Paths) -> Vec<PathBuf> {
    named(&paths.boot(), |name| name.starts_with("vmlinuz-"))
}

fn named(folder: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(&wanted))
        .map(|entry| entry.path())
        .take(MOST_FILES)
        .collect();
    found.sort();
    found
}

fn release_of(path: &Path) -> Option<KernelRelease> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("vmlinuz-")?.parse().ok()
}

fn with_version(release: KernelRelease, known: &[KernelPackage]) -> KernelPackage {
    let package = known.iter().find(|it| it.release == release);
    KernelPackage {
        version: package.and_then(|it| it.version.clone()),
        release,
    }
}

/// The package version that Debian's kernels name in their banner:
/// `#1 SMP PREEMPT_DYNAMIC Debian 6.1.187-1 (2026-10-01)`.
fn running_version(paths: &Paths) -> Option<String> {
    let banner = files::read_text(&paths.proc("sys/kernel/version"), 4096).ok()?;
    let mut words = banner.split_whitespace();
    words.find(|word| *word == "Debian")?;
    words.next().map(str::to_owned)
}

/// The kernel images of a control file (source: deb822(5)), line by line.
fn packages(path: &Path, installed: bool) -> Vec<KernelPackage> {
    match File::open(path) {
        Ok(file) => read(BufReader::new(file.take(LIST_LIMIT)), installed).unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

fn read(mut file: impl BufRead, installed: bool) -> io::Result<Vec<KernelPackage>> {
    let mut packages = Vec::new();
    let mut paragraph = Paragraph::default();
    let mut line = Vec::new();
    while next_line(&mut file, &mut line)? {
        if line.is_empty() {
            packages.extend(std::mem::take(&mut paragraph).package(installed));
        } else if let Ok(text) = std::str::from_utf8(&line) {
            paragraph.take(text);
        }
    }
    packages.extend(paragraph.package(installed));
    Ok(packages)
}

/// Reads a line without its end; false at the end of the file.
fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    let mut part = Vec::new();
    loop {
        part.clear();
        let read = Read::take(&mut *file, LINE_LIMIT).read_until(b'\n', &mut part)?;
        let ends = part.last() == Some(&b'\n');
        if line.is_empty() {
            line.extend_from_slice(part.strip_suffix(b"\n").unwrap_or(&part));
            if ends && line.is_empty() {
                return Ok(true);
            }
        }
        if ends || (read as u64) < LINE_LIMIT {
            return Ok(read > 0 || !line.is_empty());
        }
    }
}

/// What counts of one package.
#[derive(Debug, Default)]
struct Paragraph {
    release: Option<KernelRelease>,
    version: Option<String>,
    installed: bool,
}

impl Paragraph {
    fn take(&mut self, line: &str) {
        if let Some(name) = line.strip_prefix("Package: ") {
            // An image's release names its version, e.g. `6.1.0-55-amd64`; packages that only
            // lead to the newest image don't.
            let release = name.strip_prefix("linux-image-");
            let release = release.filter(|it| it.starts_with(|it: char| it.is_ascii_digit()));
            let other = ["-dbg", "-unsigned", "-signed"];
            self.release = release
                .filter(|it| !other.iter().any(|end| it.ends_with(end)))
                .and_then(|it| it.trim().parse().ok());
        } else if self.release.is_none() {
            // Nothing else of other packages counts.
        } else if let Some(version) = line.strip_prefix("Version: ") {
            self.version = Some(version.trim().to_owned());
        } else if let Some(status) = line.strip_prefix("Status: ") {
            self.installed = status.trim().ends_with(" installed");
        }
    }

    fn package(self, installed: bool) -> Option<KernelPackage> {
        let counts = self.installed || !installed;
        let release = self.release.filter(|_| counts)?;
        Some(KernelPackage {
            release,
            version: self.version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeTree;

    fn stanza(release: &str, version: &str, more: &str) -> String {
        let long = "x".repeat(10_000);
        format!(
            "Package: linux-image-{release}\nStatus: install ok installed\nVersion: {version}\n\
             Description: {long}\n lines of it\n{more}\n"
        )
    }

    #[test]
    fn kernels_are_found_between_other_packages_and_long_lines() {
        let text = [
            "Package: bash\nVersion: 5.2\n\n".to_owned(),
            stanza("6.1.0-55-amd64", "6.1.190-1", ""),
            stanza("6.1.0-55-amd64-dbg", "6.1.190-1", ""),
            stanza(
                "amd64",
                "6.1.190-1",
                "Depends: linux-image-6.1.0-55-amd64\n",
            ),
            stanza("6.1.0-56-amd64", "6.1.191-1", "").replace("ok installed", "ok config-files"),
        ]
        .concat();
        let names = |installed| {
            let found = read(text.as_bytes(), installed).unwrap();
            let names = found.into_iter();
            names
                .map(|it| format!("{} {}", it.release.as_str(), it.version.unwrap()))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(true), ["6.1.0-55-amd64 6.1.190-1"]);
        let offered = ["6.1.0-55-amd64 6.1.190-1", "6.1.0-56-amd64 6.1.191-1"];
        assert_eq!(names(false), offered);
    }

    #[test]
    fn a_machine_knows_what_waits_for_a_restart_and_what_can_be_had() {
        let tree = FakeTree::new();
        let (paths, packages) = (tree.paths(), KernelPackages::default());
        let running = FakeTree::kernel().release;
        let update = || packages.update(&paths, &running);
        assert_eq!(update(), RegularUpdate::default(), "another distribution");
        let banner = b"#1 SMP PREEMPT_DYNAMIC Debian 6.1.187-1 (2026-10-01)\n";
        tree.write("proc/sys/kernel/version", banner);
        tree.write("boot/vmlinuz-6.1.0-53-amd64", b"");
        let list = stanza("6.1.0-55-amd64", "6.1.190-1", "");
        let lists = "var/lib/apt/lists/deb.example.com_debian_dists_bookworm_main_binary-amd64_";
        tree.write(&format!("{lists}Packages"), list.as_bytes());
        let offered = update().offered.unwrap();
        assert_eq!(offered.version.as_deref(), Some("6.1.190-1"));
        assert_eq!(update().installed, None);
        // `apt upgrade`.
        tree.write("boot/vmlinuz-6.1.0-55-amd64", b"");
        tree.write("var/lib/dpkg/status", list.as_bytes());
        let installed = update().installed.unwrap();
        assert_eq!(installed.release.as_str(), "6.1.0-55-amd64");
        assert_eq!(installed.version.as_deref(), Some("6.1.190-1"));
        assert_eq!(update().offered, None);
    }
}
