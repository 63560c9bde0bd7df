//! An ELF64 file as a list of raw sections, read and written without loss of order.

use std::borrow::Cow;

use object::LittleEndian as LE;
use object::elf::{self, FileHeader64, SectionHeader64};
use object::pod::bytes_of;
use object::read::elf::{FileHeader as _, SectionHeader as _};

use crate::error::DifferError;

/// How files begin that clang writes for link-time optimisation: bare, and wrapped
/// (llvm: docs/BitCodeFormat.rst, "Bitcode Wrapper Format").
const LLVM_BITCODE: [&[u8]; 2] = [b"BC\xc0\xde", &[0xde, 0xc0, 0x17, 0x0b]];

/// One section with its header's fields; `link` and `info` count in file order (0 is the null
/// section, which is kept in the list).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawSection<'data> {
    pub name: String,
    pub sh_type: u32,
    pub flags: u64,
    pub link: u32,
    pub info: u32,
    pub addralign: u64,
    pub entsize: u64,
    /// `sh_size`; differs from `data.len()` only without file content (`SHT_NOBITS`).
    pub size: u64,
    pub data: Cow<'data, [u8]>,
}

/// A relocatable file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ElfFile<'data> {
    pub flags: u32,
    pub sections: Vec<RawSection<'data>>,
    /// Index of `.shstrtab`.
    pub names: usize,
}

impl<'data> ElfFile<'data> {
    /// Reads a relocatable x86-64 object; the contents are not copied.
    pub fn parse(bytes: &'data [u8]) -> Result<Self, DifferError> {
        if LLVM_BITCODE.iter().any(|magic| bytes.starts_with(magic)) {
            return Err(DifferError::LinkTimeOptimised("LLVM bitcode".to_owned()));
        }
        let header = FileHeader64::<LE>::parse(bytes)?;
        let endian = header.endian()?;
        let (file_type, machine) = (header.e_type.get(endian).0, header.e_machine.get(endian).0);
        if file_type != elf::ET_REL.0 || machine != elf::EM_X86_64.0 {
            return Err(DifferError::WrongKind { file_type, machine });
        }
        let table = header.sections(endian, bytes)?;
        let mut sections = Vec::with_capacity(table.len());
        for section in table.iter() {
            let name = table.section_name(endian, section)?;
            let name = std::str::from_utf8(name)
                .map_err(|_| DifferError::NotElf("a section's name is not text".to_owned()))?;
            sections.push(raw_section(name, section, bytes)?);
        }
        let names = header.shstrndx(endian, bytes)? as usize;
        Ok(Self {
            flags: header.e_flags.get(endian).0,
            sections,
            names,
        })
    }

    /// The bytes of the file: header, sections in order, section header table.
    pub fn write(&self) -> Result<Vec<u8>, DifferError> {
        if self.sections.len() >= usize::from(elf::SHN_LORESERVE) {
            return Err(DifferError::TooManySections(self.sections.len()));
        }
        let (names, name_offsets) = string_table(self.sections.iter().map(|s| s.name.as_str()));
        let mut out = vec![0; size_of::<FileHeader64<LE>>()];
        let mut headers = Vec::with_capacity(self.sections.len());
        for (index, section) in self.sections.iter().enumerate() {
            let data = if index == self.names {
                &names[..]
            } else {
                &section.data[..]
            };
            align(&mut out, if index == 0 { 1 } else { section.addralign });
            let offset = if index == 0 { 0 } else { out.len() as u64 };
            let size = if index == self.names {
                names.len() as u64
            } else {
                section.size
            };
            headers.push(section_header(section, name_offsets[index], offset, size));
            out.extend_from_slice(data);
        }
        align(&mut out, 8);
        let header = self.file_header(out.len() as u64);
        out[..size_of::<FileHeader64<LE>>()].copy_from_slice(bytes_of(&header));
        for header in &headers {
            out.extend_from_slice(bytes_of(header));
        }
        Ok(out)
    }

    fn file_header(&self, section_headers: u64) -> FileHeader64<LE> {
        FileHeader64 {
            e_ident: elf::Ident {
                magic: elf::ELFMAG,
                class: elf::ELFCLASS64,
                data: elf::ELFDATA2LSB,
                version: elf::EV_CURRENT,
                os_abi: elf::ELFOSABI_NONE,
                abi_version: 0,
                padding: [0; 7],
            },
            e_type: object::U16::new(LE, elf::ET_REL),
            e_machine: object::U16::new(LE, elf::EM_X86_64),
            e_version: object::U32::new(LE, u32::from(elf::EV_CURRENT.0)),
            e_entry: object::U64::new(LE, 0),
            e_phoff: object::U64::new(LE, 0),
            e_shoff: object::U64::new(LE, section_headers),
            e_flags: object::U32::new(LE, elf::FileFlags(self.flags)),
            e_ehsize: object::U16::new(LE, size_of::<FileHeader64<LE>>() as u16),
            e_phentsize: object::U16::new(LE, 0),
            e_phnum: object::U16::new(LE, 0),
            e_shentsize: object::U16::new(LE, size_of::<SectionHeader64<LE>>() as u16),
            e_shnum: object::U16::new(LE, self.sections.len() as u16),
            e_shstrndx: object::U16::new(LE, elf::SymbolSection(self.names as u16)),
        }
    }
}

fn raw_section<'data>(
    name: &str,
    section: &SectionHeader64<LE>,
    bytes: &'data [u8],
) -> Result<RawSection<'data>, DifferError> {
    Ok(RawSection {
        name: name.to_owned(),
        sh_type: section.sh_type.get(LE).0,
        flags: section.sh_flags.get(LE).0,
        link: section.sh_link.get(LE),
        info: section.sh_info.get(LE),
        addralign: section.sh_addralign.get(LE),
        entsize: section.sh_entsize.get(LE),
        size: section.sh_size.get(LE),
        data: Cow::Borrowed(section.data(LE, bytes)?),
    })
}

fn section_header(
    section: &RawSection<'_>,
    name: u32,
    offset: u64,
    size: u64,
) -> SectionHeader64<LE> {
    SectionHeader64 {
        sh_name: object::U32::new(LE, name),
        sh_type: object::U32::new(LE, elf::SectionType(section.sh_type)),
        sh_flags: object::U64::new(LE, elf::SectionFlags(section.flags)),
        sh_addr: object::U64::new(LE, 0),
        sh_offset: object::U64::new(LE, offset),
        sh_size: object::U64::new(LE, size),
        sh_link: object::U32::new(LE, section.link),
        sh_info: object::U32::new(LE, section.info),
        sh_addralign: object::U64::new(LE, section.addralign),
        sh_entsize: object::U64::new(LE, section.entsize),
    }
}

fn align(out: &mut Vec<u8>, alignment: u64) {
    // Larger alignments than a page are not honoured by the module loader either.
    let alignment = alignment.clamp(1, 4096) as usize;
    out.resize(out.len().next_multiple_of(alignment), 0);
}

/// A string table of the given names (each once) and the offset of each.
pub(crate) fn string_table<'a>(names: impl Iterator<Item = &'a str>) -> (Vec<u8>, Vec<u32>) {
    let mut known = std::collections::HashMap::from([("", 0)]);
    let mut table = vec![0];
    let mut offsets = Vec::new();
    for name in names {
        let offset = *known.entry(name).or_insert_with(|| {
            let offset = table.len() as u32;
            table.extend_from_slice(name.as_bytes());
            table.push(0);
            offset
        });
        offsets.push(offset);
    }
    (table, offsets)
}
