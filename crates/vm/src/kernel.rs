//! The kernel to boot.

use std::fs;
use std::path::{Path, PathBuf};

use object::Endianness;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader as _, ProgramHeader as _};
use suture_kernel::image;

use crate::VmError;

/// Xen's note for a 32-bit entry point, through which QEMU starts an uncompressed kernel
/// (`XEN_ELFNOTE_PHYS32_ENTRY` in Xen's public/elfnote.h; the "PVH" boot protocol).
const PHYS32_ENTRY: u32 = 18;

/// A kernel as its image package holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestKernel {
    /// The bzImage (or an uncompressed vmlinux).
    pub vmlinuz: PathBuf,
    /// `lib/modules/RELEASE` of the unpacked package; needs no `modules.dep`.
    pub modules: PathBuf,
}

impl GuestKernel {
    pub fn new(vmlinuz: impl Into<PathBuf>, modules: impl Into<PathBuf>) -> Self {
        Self {
            vmlinuz: vmlinuz.into(),
            modules: modules.into(),
        }
    }

    /// The file to give to QEMU: the unpacked kernel, written into `folder`, if it can be started
    /// as such, else the image as it is.
    ///
    /// An emulated processor takes several seconds to unpack xz, the host half a one.
    pub(crate) fn boot_file(&self, folder: &Path) -> Result<PathBuf, VmError> {
        let bytes = fs::read(&self.vmlinuz).map_err(VmError::file("read", &self.vmlinuz))?;
        let vmlinux = image::vmlinux(&bytes).map_err(|source| VmError::Kernel {
            path: self.vmlinuz.clone(),
            source,
        })?;
        if !has_pvh_entry(&vmlinux) {
            return Ok(self.vmlinuz.clone());
        }
        let file = folder.join("vmlinux");
        fs::write(&file, &vmlinux).map_err(VmError::file("write", &file))?;
        Ok(file)
    }
}

/// Whether QEMU can start this vmlinux without the kernel's own unpacker.
fn has_pvh_entry(vmlinux: &[u8]) -> bool {
    find_pvh_entry(vmlinux).unwrap_or(false)
}

fn find_pvh_entry(vmlinux: &[u8]) -> object::read::Result<bool> {
    let header = FileHeader64::<Endianness>::parse(vmlinux)?;
    let endian = header.endian()?;
    for segment in header.program_headers(endian, vmlinux)? {
        let Some(mut notes) = segment.notes(endian, vmlinux)? else {
            continue;
        };
        while let Some(note) = notes.next()? {
            if note.name() == b"Xen" && note.n_type(endian).0 == PHYS32_ENTRY {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_kernel_have_no_entry() {
        assert!(!has_pvh_entry(b""));
        assert!(!has_pvh_entry(&[0x7f; 4096]));
    }
}
