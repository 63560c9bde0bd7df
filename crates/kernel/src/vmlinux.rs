//! An ELF vmlinux: a view on its bytes.

use object::elf::SHT_NOBITS;
use thiserror::Error;

use crate::elf::{self, ElfError, Section};
use crate::notes::{NotesError, build_id_of_notes};
use crate::{Architecture, BuildId, InvalidName, KernelBuild, KernelRelease};

/// Longest banner that is looked at, in bytes.
const BANNER_LIMIT: usize = 1024;
const BANNER_START: &[u8] = b"Linux version ";

/// Why a vmlinux could not be read.
#[derive(Debug, Error)]
pub enum VmlinuxError {
    #[error("cannot read the vmlinux")]
    Elf(#[from] ElfError),
    #[error("cannot tell the build id of the vmlinux")]
    Notes(#[from] NotesError),
    #[error("the vmlinux has no banner (`Linux version ...`) in `.rodata`")]
    NoBanner,
    #[error("the banner of the vmlinux names no kernel release")]
    Release(#[from] InvalidName),
}

/// A parsed vmlinux, as [`image::vmlinux`](crate::image::vmlinux) returns it.
#[derive(Debug, Clone)]
pub struct Vmlinux<'data> {
    data: &'data [u8],
    sections: Vec<Section<'data>>,
}

impl<'data> Vmlinux<'data> {
    /// Reads the section headers; the contents are not copied.
    pub fn parse(data: &'data [u8]) -> Result<Self, VmlinuxError> {
        let sections = elf::sections(&elf::open(data)?, data)?;
        Ok(Self { data, sections })
    }

    /// The whole file.
    pub fn data(&self) -> &'data [u8] {
        self.data
    }

    /// All sections, in the file's order.
    pub fn sections(&self) -> &[Section<'data>] {
        &self.sections
    }

    /// The first section of that name.
    pub fn section(&self, name: &str) -> Option<&Section<'data>> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The section that a virtual address lies in. Per-CPU symbols have addresses near 0 before
    /// 6.15, where `.data..percpu` starts.
    pub fn section_at(&self, address: u64) -> Option<&Section<'data>> {
        self.sections
            .iter()
            .filter(|section| section.is_allocated())
            .find(|section| {
                address
                    .checked_sub(section.address)
                    .is_some_and(|offset| offset < section.size)
            })
    }

    /// `len` bytes from a virtual address on, as the image holds them: before the kernel patches
    /// its own code at boot. None if they are not all inside one section or not in the file
    /// (`.bss`).
    pub fn bytes_at(&self, address: u64, len: usize) -> Option<&'data [u8]> {
        let section = self
            .section_at(address)
            .filter(|section| section.kind != SHT_NOBITS)?;
        let start = usize::try_from(address - section.address).ok()?;
        section.data.get(start..start.checked_add(len)?)
    }

    /// The GNU build id, from the section `.notes`.
    pub fn build_id(&self) -> Result<BuildId, VmlinuxError> {
        let notes = self
            .section(".notes")
            .ok_or(ElfError::NoSection(".notes"))?;
        Ok(build_id_of_notes(notes.data)?)
    }

    /// What `/proc/version` prints, e.g. `Linux version 6.1.0-53-amd64 (...) #1 SMP ...`.
    ///
    /// Images since 6.1 hold it twice, first with an empty build number (kernel: init/version.c is
    /// overridden by init/version-timestamp.c); the last one counts.
    pub fn banner(&self) -> Result<&'data str, VmlinuxError> {
        let rodata = self
            .section(".rodata")
            .ok_or(ElfError::NoSection(".rodata"))?;
        banners(rodata.data).last().ok_or(VmlinuxError::NoBanner)
    }

    /// The kernel release that the banner names: what `uname -r` prints.
    pub fn release(&self) -> Result<KernelRelease, VmlinuxError> {
        let rest = &self.banner()?[BANNER_START.len()..];
        Ok(rest.split(' ').next().unwrap_or(rest).parse()?)
    }

    /// This kernel's name as live patches bear it.
    pub fn kernel_build(&self, architecture: Architecture) -> Result<KernelBuild, VmlinuxError> {
        Ok(KernelBuild {
            release: self.release()?,
            architecture,
            build_id: self.build_id()?,
        })
    }
}

/// Texts that look like a banner: a digit follows, and a NUL ends them.
fn banners(data: &[u8]) -> impl Iterator<Item = &str> {
    memchr::memmem::find_iter(data, BANNER_START).filter_map(|start| {
        let text = &data[start..data.len().min(start + BANNER_LIMIT)];
        let text = &text[..memchr::memchr(0, text)?];
        let digit = text.get(BANNER_START.len()).is_some_and(u8::is_ascii_digit);
        std::str::from_utf8(text)
            .ok()
            .filter(|_| digit)
            .map(str::trim_end)
    })
}
