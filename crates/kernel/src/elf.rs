//! Reading of ELF files: the little that images and modules have in common.

use object::LittleEndian;
use object::elf::{EM_X86_64, FileHeader64, SHF_ALLOC, SHF_EXECINSTR, SectionFlags, SectionType};
use object::read::elf::{FileHeader, SectionHeader, SectionTable};
use thiserror::Error;

pub(crate) type Header = FileHeader64<LittleEndian>;
pub(crate) const LE: LittleEndian = LittleEndian;

/// Why a file could not be read as an ELF file for x86-64.
#[derive(Debug, Error)]
pub enum ElfError {
    #[error("cannot read the {what} of the ELF file")]
    Malformed {
        what: &'static str,
        source: object::read::Error,
    },
    #[error("the ELF file is for machine {0}, expected 62 (x86-64)")]
    WrongMachine(u16),
    #[error("the ELF file has a {what} whose name is not UTF-8")]
    NameNotUtf8 { what: &'static str },
    #[error("the ELF file has no section `{0}`")]
    NoSection(&'static str),
}

/// Adds the part that could not be read to an error of `object`.
pub(crate) fn malformed(what: &'static str) -> impl Fn(object::read::Error) -> ElfError {
    move |source| ElfError::Malformed { what, source }
}

/// A section of an image or a module.
#[derive(Debug, Clone, Copy)]
pub struct Section<'data> {
    /// Its place in the section header table.
    pub index: usize,
    pub name: &'data str,
    /// `sh_type`
    pub kind: SectionType,
    /// `sh_flags`
    pub flags: SectionFlags,
    /// `sh_addr`: the link address in a vmlinux, 0 in a module.
    pub address: u64,
    /// `sh_size`: bytes in memory.
    pub size: u64,
    /// `sh_addralign`
    pub align: u64,
    /// `sh_link`
    pub link: u32,
    /// `sh_info`
    pub info: u32,
    /// The bytes in the file; none for a section of type `SHT_NOBITS`.
    pub data: &'data [u8],
}

impl Section<'_> {
    /// Whether the section is in memory when the kernel runs.
    pub fn is_allocated(&self) -> bool {
        self.flags.contains(SHF_ALLOC)
    }

    /// Whether the section holds code.
    pub fn is_executable(&self) -> bool {
        self.flags.contains(SHF_EXECINSTR)
    }
}

/// The header and the section table of an ELF file for x86-64.
pub(crate) fn open(data: &[u8]) -> Result<SectionTable<'_, Header>, ElfError> {
    let header = Header::parse(data).map_err(malformed("header"))?;
    let machine = header.e_machine(LE);
    if machine != EM_X86_64 {
        return Err(ElfError::WrongMachine(machine.0));
    }
    header
        .sections(LE, data)
        .map_err(malformed("section headers"))
}

/// All sections, in the order of the section header table.
pub(crate) fn sections<'data>(
    table: &SectionTable<'data, Header>,
    data: &'data [u8],
) -> Result<Vec<Section<'data>>, ElfError> {
    table
        .enumerate()
        .map(|(index, header)| section(table, data, index.0, header))
        .collect()
}

fn section<'data>(
    table: &SectionTable<'data, Header>,
    data: &'data [u8],
    index: usize,
    header: &'data object::elf::SectionHeader64<LittleEndian>,
) -> Result<Section<'data>, ElfError> {
    let name = table
        .section_name(LE, header)
        .map_err(malformed("section names"))?;
    Ok(Section {
        index,
        name: utf8(name, "section")?,
        kind: header.sh_type(LE),
        flags: header.sh_flags(LE),
        address: header.sh_addr(LE),
        size: header.sh_size(LE),
        align: header.sh_addralign(LE),
        link: header.sh_link(LE),
        info: header.sh_info(LE),
        data: header
            .data(LE, data)
            .map_err(malformed("section contents"))?,
    })
}

pub(crate) fn utf8<'data>(bytes: &'data [u8], what: &'static str) -> Result<&'data str, ElfError> {
    std::str::from_utf8(bytes).map_err(|_| ElfError::NameNotUtf8 { what })
}
