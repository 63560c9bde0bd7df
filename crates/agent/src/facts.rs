//! What the machine is: its kernel, its boot, its name.

use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use sha2::{Digest, Sha256};
use suture_kernel::{BuildId, KernelBuild};
use suture_protocol::{HardwareId, MachineId};
use thiserror::Error;

use crate::files;
use crate::paths::Paths;

/// Mixed into the hash of `/etc/machine-id`, so that no other program's hash of it is equal
/// (source: machine-id(5), "should be hashed with a cryptographic, keyed hash function").
const MACHINE_ID_KEY: &str = "suture machine id\n";
/// The same for the firmware's UUID.
const HARDWARE_ID_KEY: &str = "suture hardware id\n";
/// What boards carry whose maker gave them no UUID, without its hyphens: the default of American
/// Megatrends' firmware, and digits in their order.
const OF_NOBODY: [&str; 2] = [
    "03000200040005000006000700080009",
    "00020003000400050006000700080009",
];
/// Procfs files that are read here are one page or less, save for `stat` and `cpuinfo`.
const SMALL: u64 = 64 * 1024;
const LARGE: u64 = 16 * 1024 * 1024;

/// What stays the same until the next boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineFacts {
    pub machine_id: MachineId,
    pub hostname: String,
    pub kernel: KernelBuild,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    pub boot_time: Timestamp,
    /// `model name` of the first processor; empty where the kernel tells none.
    pub cpu_model: String,
    /// Whether the kernel was built with `CONFIG_LIVEPATCH`.
    pub livepatch: bool,
}

/// A fact that could not be read.
#[derive(Debug, Error)]
pub enum FactsError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("`{}` does not hold {expected}", path.display())]
    Content {
        path: PathBuf,
        expected: &'static str,
    },
    #[error("this machine is not supported")]
    Name(#[from] suture_kernel::InvalidName),
}

impl MachineFacts {
    pub fn read(paths: &Paths) -> Result<Self, FactsError> {
        Ok(Self {
            machine_id: machine_id(&paths.machine_id())?,
            hostname: hostname(&line(&paths.proc("sys/kernel/hostname"))?),
            kernel: kernel_build(paths)?,
            boot_id: boot_id(&paths.proc("sys/kernel/random/boot_id"))?,
            boot_time: boot_time(&paths.proc("stat"))?,
            cpu_model: cpu_model(&text(&paths.proc("cpuinfo"), LARGE)?),
            livepatch: has_livepatch(paths),
        })
    }
}

fn text(path: &Path, limit: u64) -> Result<String, FactsError> {
    files::read_text(path, limit).map_err(|source| FactsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn line(path: &Path) -> Result<String, FactsError> {
    Ok(text(path, SMALL)?.trim().to_owned())
}

/// See [`MachineId`].
fn machine_id(path: &Path) -> Result<MachineId, FactsError> {
    let etc_machine_id = line(path)?;
    // An image before its first boot has an empty file or the word `uninitialized`: all its
    // copies would pass for one machine (source: machine-id(5), "First Boot Semantics").
    let is_id = etc_machine_id.len() == 32
        && etc_machine_id.bytes().all(|byte| byte.is_ascii_hexdigit())
        && etc_machine_id.bytes().any(|byte| byte != b'0');
    if !is_id {
        return Err(FactsError::Content {
            path: path.to_owned(),
            expected: "a machine id of 32 hex digits; `systemd-machine-id-setup` makes one",
        });
    }
    Ok(hashed(MACHINE_ID_KEY, &etc_machine_id).parse()?)
}

/// What leaves the machine in place of an id of its own: 32 hex digits.
fn hashed(key: &str, id: &str) -> String {
    let digest = Sha256::new().chain_update(key).chain_update(id).finalize();
    hex::encode(digest)[..32].to_owned()
}

/// See [`HardwareId`]; only root may read it. None where the firmware tells no UUID, or one that
/// many machines have.
pub(crate) fn hardware_id(paths: &Paths) -> Option<HardwareId> {
    let uuid = line(&paths.sys("class/dmi/id/product_uuid"))
        .ok()?
        .to_ascii_lowercase()
        .replace('-', "");
    let is_uuid = uuid.len() == 32 && uuid.bytes().all(|byte| byte.is_ascii_hexdigit());
    // All zeroes: none is set; all ones: it could be set (source: SMBIOS 3.7, 7.2.1).
    let is_one_digit = uuid.bytes().all(|byte| uuid.as_bytes()[0] == byte);
    if !is_uuid || is_one_digit || OF_NOBODY.contains(&uuid.as_str()) {
        return None;
    }
    hashed(HARDWARE_ID_KEY, &uuid).parse().ok()
}

/// At most 253 characters, as the protocol asks.
fn hostname(text: &str) -> String {
    text.chars().take(253).collect()
}

/// Whether the kernel was built with `CONFIG_LIVEPATCH`.
pub fn has_livepatch(paths: &Paths) -> bool {
    paths.sys("kernel/livepatch").is_dir()
}

/// The running kernel.
pub fn kernel_build(paths: &Paths) -> Result<KernelBuild, FactsError> {
    let notes_path = paths.sys("kernel/notes");
    let notes = files::read_bounded(&notes_path, SMALL).map_err(|source| FactsError::Read {
        path: notes_path.clone(),
        source,
    })?;
    Ok(KernelBuild {
        release: line(&paths.proc("sys/kernel/osrelease"))?.parse()?,
        architecture: rustix::system::uname()
            .machine()
            .to_string_lossy()
            .parse()?,
        build_id: build_id(&notes).ok_or(FactsError::Content {
            path: notes_path,
            expected: "a GNU build id",
        })?,
    })
}

fn build_id(notes: &[u8]) -> Option<BuildId> {
    suture_kernel::build_id_of_notes(notes).ok()
}

fn boot_id(path: &Path) -> Result<String, FactsError> {
    let id = line(path)?;
    let expected = "a boot id";
    let valid = id.len() == 36
        && id
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if valid {
        Ok(id)
    } else {
        Err(FactsError::Content {
            path: path.to_owned(),
            expected,
        })
    }
}

/// `btime` of `/proc/stat`: seconds since the epoch at which the system booted (proc(5)).
fn boot_time(path: &Path) -> Result<Timestamp, FactsError> {
    let content = text(path, LARGE)?;
    content
        .lines()
        .find_map(|line| line.strip_prefix("btime "))
        .and_then(|seconds| seconds.trim().parse().ok())
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or(FactsError::Content {
            path: path.to_owned(),
            expected: "the time of the boot",
        })
}

fn cpu_model(cpuinfo: &str) -> String {
    let model = cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim_end() == "model name").then(|| value.trim().to_owned())
    });
    model.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeTree;

    #[test]
    fn facts_come_from_the_tree() {
        let tree = FakeTree::new();
        let facts = MachineFacts::read(&tree.paths()).unwrap();
        assert_eq!(facts.kernel, FakeTree::kernel());
        assert_eq!(facts.hostname, "web-1");
        assert_eq!(facts.cpu_model, "QEMU Virtual CPU version 2.5+");
        assert_eq!(facts.boot_time.to_string(), "2026-11-20T08:00:00Z");
        assert!(facts.livepatch);
        assert_ne!(
            facts.machine_id.as_str(),
            FakeTree::MACHINE_ID,
            "the id itself stays here"
        );
    }

    #[test]
    fn copies_of_an_image_that_never_booted_are_no_machine() {
        let tree = FakeTree::new();
        for content in ["", "uninitialized\n", &"0".repeat(32), "0123"] {
            tree.write("etc/machine-id", content.as_bytes());
            let error = MachineFacts::read(&tree.paths()).unwrap_err().to_string();
            assert!(
                error.ends_with(
                    "/etc/machine-id` does not hold a machine id of 32 hex digits; \
                     `systemd-machine-id-setup` makes one"
                ),
                "{error}"
            );
        }
    }

    #[test]
    fn the_firmware_s_id_is_hashed_and_what_many_have_is_none() {
        let tree = FakeTree::new();
        let hardware = |uuid: &str| {
            tree.write("sys/class/dmi/id/product_uuid", uuid.as_bytes());
            hardware_id(&tree.paths()).map(|id| id.as_str().to_owned())
        };
        assert_eq!(hardware_id(&tree.paths()), None, "no such file");
        let one = hardware("4c4c4544-0051-3510-8052-b4c04f4a4d32\n").unwrap();
        assert!(!one.contains("4c4c4544"), "the id itself stays here");
        let in_capitals = hardware("4C4C4544-0051-3510-8052-B4C04F4A4D32\n");
        assert_eq!(in_capitals.as_ref(), Some(&one));
        let other = hardware("4c4c4544-0051-3510-8052-b4c04f4a4d33\n");
        assert_ne!(other, Some(one));
        for nobody_s in [
            "",
            "Not Settable",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
        ] {
            assert_eq!(hardware(nobody_s), None, "{nobody_s}");
        }
    }

    #[test]
    fn a_kernel_without_build_id_is_named() {
        let tree = FakeTree::new();
        tree.write("sys/kernel/notes", b"");
        let error = MachineFacts::read(&tree.paths()).unwrap_err().to_string();
        assert!(
            error.ends_with("/sys/kernel/notes` does not hold a GNU build id"),
            "{error}"
        );
    }
}
