//! The disk that survives restarts.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::VmError;

/// Features that kernels from 4.4 on know, whatever this host's mkfs.ext4 prefers.
const FEATURES: &str = "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,\
    flex_bg,sparse_super,large_file";

/// A raw disk image and where the guest mounts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    pub image: PathBuf,
    pub place: String,
    pub size_mib: u64,
    /// Whether it holds a whole system and is never made here.
    pub system: bool,
}

impl Disk {
    /// Makes and formats the image if there is none yet.
    pub fn prepare(&self) -> Result<(), VmError> {
        if self.system || self.image.exists() {
            return Ok(());
        }
        // Under its final name only when it is whole.
        let unfinished = self.image.with_extension("unfinished");
        let file = File::create(&unfinished).map_err(VmError::file("make", &unfinished))?;
        file.set_len(self.size_mib << 20)
            .map_err(VmError::file("size", &unfinished))?;
        format(&unfinished)?;
        fs::rename(&unfinished, &self.image).map_err(VmError::file("make", &self.image))
    }
}

fn format(image: &Path) -> Result<(), VmError> {
    let output = Command::new("mkfs.ext4")
        .args(["-q", "-F", "-m", "0", "-O", FEATURES])
        .args(["-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard"])
        .arg(image)
        // mkfs lives in sbin, which isn't in everybody's path.
        .env("PATH", search_path())
        .output()
        .map_err(VmError::start("mkfs.ext4", "e2fsprogs"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(VmError::Program {
        program: "mkfs.ext4",
        status: output.status.to_string(),
        reason: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

fn search_path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/usr/sbin:/sbin")
}
