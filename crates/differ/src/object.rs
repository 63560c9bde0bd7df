//! A relocatable object as sections that own their relocations, and symbols.

use object::LittleEndian as LE;
use object::elf::{self, Rela64, Sym64};
use object::pod::slice_from_all_bytes;

use crate::elf_file::{ElfFile, RawSection};
use crate::error::DifferError;

/// Names of sections with GCC's intermediate code begin so.
const GNU_LTO: &str = ".gnu.lto_";

/// A parsed object. Sections and symbols keep their ELF index, so index 0 is the null one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub sections: Vec<Section>,
    pub symbols: Vec<Symbol>,
}

/// A section and the relocations that apply to it, in the order of their offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    pub name: String,
    /// `SHT_*`.
    pub sh_type: u32,
    /// `SHF_*`.
    pub flags: u64,
    pub addralign: u64,
    pub entsize: u64,
    /// Size in memory; equal to `data.len()` unless the section is `SHT_NOBITS`, debug information,
    /// or one that the object was read from (`SHT_SYMTAB`, `SHT_STRTAB`, `SHT_RELA`, `SHT_GROUP`) and
    /// that the kernel does not load.
    pub size: u64,
    pub data: Vec<u8>,
    pub relocations: Vec<Relocation>,
    /// Member of a section group (COMDAT).
    pub grouped: bool,
}

/// One `Elf64_Rela`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    pub offset: u64,
    /// `R_X86_64_*`.
    pub r_type: u32,
    /// Index into [`Object::symbols`].
    pub symbol: u32,
    pub addend: i64,
}

/// One `Elf64_Sym`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Symbol {
    pub name: String,
    /// `STT_*`.
    pub kind: u8,
    /// `STB_*`.
    pub binding: u8,
    pub other: u8,
    pub home: SymbolSection,
    pub value: u64,
    pub size: u64,
}

/// `st_shndx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SymbolSection {
    Undefined,
    Absolute,
    Common,
    /// Index into [`Object::sections`].
    Section(usize),
    /// Another reserved index.
    Reserved(u16),
}

impl Object {
    /// Reads an x86-64 relocatable object.
    pub fn parse(bytes: &[u8]) -> Result<Self, DifferError> {
        let file = ElfFile::parse(bytes)?;
        if let Some(section) = file
            .sections
            .iter()
            .find(|raw| raw.name.starts_with(GNU_LTO))
        {
            return Err(DifferError::LinkTimeOptimised(section.name.clone()));
        }
        let mut sections: Vec<Section> = file.sections.iter().map(plain_section).collect();
        let symbols = match symbol_table(&file)? {
            Some(index) => symbols(&file, index)?,
            None => Vec::new(),
        };
        for raw in &file.sections {
            match raw.sh_type {
                kind if kind == elf::SHT_RELA.0 => {
                    attach_relocations(raw, &mut sections, symbols.len())?;
                }
                kind if kind == elf::SHT_REL.0 => {
                    return Err(DifferError::damaged(&raw.name, "x86-64 has no SHT_REL"));
                }
                kind if kind == elf::SHT_GROUP.0 => mark_group(raw, &mut sections)?,
                _ => {}
            }
        }
        Ok(Self { sections, symbols })
    }
}

impl Section {
    /// Occupies memory at run time (`SHF_ALLOC`).
    pub fn is_alloc(&self) -> bool {
        self.flags & elf::SHF_ALLOC.0 != 0
    }

    /// Holds code (`SHF_EXECINSTR`).
    pub fn is_code(&self) -> bool {
        self.flags & elf::SHF_EXECINSTR.0 != 0
    }

    /// `SHF_WRITE`.
    pub fn is_writable(&self) -> bool {
        self.flags & elf::SHF_WRITE.0 != 0
    }

    /// No bytes in the file, zero at run time.
    pub fn is_nobits(&self) -> bool {
        self.sh_type == elf::SHT_NOBITS.0
    }

    /// Literals that end in NUL and that the linker may merge.
    pub fn is_strings(&self) -> bool {
        self.is_mergeable() && self.flags & elf::SHF_STRINGS.0 != 0
    }

    /// `SHF_MERGE`.
    pub fn is_mergeable(&self) -> bool {
        self.flags & elf::SHF_MERGE.0 != 0 && self.entsize > 0
    }

    /// The bytes of a range; zeroes for `SHT_NOBITS` (up to 16 MiB), `None` beyond the end.
    pub fn bytes(&self, start: u64, end: u64) -> Option<std::borrow::Cow<'_, [u8]>> {
        if start > end || end > self.size {
            return None;
        }
        if self.is_nobits() {
            let size = usize::try_from(end - start)
                .ok()
                .filter(|&size| size <= 16 << 20)?;
            return Some(vec![0; size].into());
        }
        let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
        self.data.get(start..end).map(Into::into)
    }

    /// Whether two ranges hold the same bytes. A range of `SHT_NOBITS` is as long as it says, so
    /// it is not made to be compared with another; what lies beyond an end is the same as nothing.
    pub fn same_bytes(&self, range: (u64, u64), other: &Self, other_range: (u64, u64)) -> bool {
        if self.is_nobits() && other.is_nobits() {
            let length = |section: &Self, (start, end): (u64, u64)| {
                let inside = end <= section.size;
                inside.then(|| end.checked_sub(start)).flatten()
            };
            let ours = length(self, range);
            return ours.is_some() && ours == length(other, other_range);
        }
        let ours = self.bytes(range.0, range.1);
        ours.is_some() && ours == other.bytes(other_range.0, other_range.1)
    }

    /// The relocations with `start <= offset < end`.
    pub fn relocations_in(&self, start: u64, end: u64) -> &[Relocation] {
        let from = self.relocations.partition_point(|r| r.offset < start);
        let to = self.relocations.partition_point(|r| r.offset < end);
        &self.relocations[from..to.max(from)]
    }
}

impl Relocation {
    /// Bytes of the field that it fills in; at least that many, for types that no kernel has.
    pub(crate) fn width(&self) -> u64 {
        match elf::RelocationType(self.r_type) {
            elf::R_X86_64_NONE => 0,
            elf::R_X86_64_64 | elf::R_X86_64_PC64 => 8,
            elf::R_X86_64_32 | elf::R_X86_64_32S | elf::R_X86_64_PC32 | elf::R_X86_64_PLT32 => 4,
            _ => 1,
        }
    }
}

impl Symbol {
    pub fn is_function(&self) -> bool {
        self.kind == elf::STT_FUNC.0 || self.kind == elf::STT_GNU_IFUNC.0
    }

    pub fn is_local(&self) -> bool {
        self.binding == elf::STB_LOCAL.0
    }

    pub fn is_weak(&self) -> bool {
        self.binding == elf::STB_WEAK.0
    }

    /// The section that defines it.
    pub fn section(&self) -> Option<usize> {
        match self.home {
            SymbolSection::Section(index) => Some(index),
            _ => None,
        }
    }
}

/// Symbols, names, relocations and groups stay in the raw file, which they are read from; the
/// section does without them. Nor is debug information kept, which is most of an object that has it.
fn plain_section(raw: &RawSection<'_>) -> Section {
    let read_raw = [
        elf::SHT_RELA.0,
        elf::SHT_REL.0,
        elf::SHT_SYMTAB.0,
        elf::SHT_STRTAB.0,
        elf::SHT_GROUP.0,
    ];
    let loaded = raw.flags & elf::SHF_ALLOC.0 != 0;
    let kept = loaded || !read_raw.contains(&raw.sh_type) && !is_debug(raw.flags, &raw.name);
    let data = if kept { raw.data.to_vec() } else { Vec::new() };
    Section {
        name: raw.name.clone(),
        sh_type: raw.sh_type,
        flags: raw.flags,
        addralign: raw.addralign,
        entsize: raw.entsize,
        size: raw.size,
        data,
        relocations: Vec::new(),
        grouped: false,
    }
}

/// Debug information; nothing here looks at it.
fn is_debug(flags: u64, name: &str) -> bool {
    flags & elf::SHF_ALLOC.0 == 0 && name.starts_with(".debug")
}

/// Index of the one symbol table, if there is any.
pub(crate) fn symbol_table(file: &ElfFile<'_>) -> Result<Option<usize>, DifferError> {
    let mut tables =
        (0..file.sections.len()).filter(|&index| file.sections[index].sh_type == elf::SHT_SYMTAB.0);
    let first = tables.next();
    match tables.next() {
        Some(second) => Err(DifferError::damaged(
            &file.sections[second].name,
            "a second symbol table",
        )),
        None => Ok(first),
    }
}

/// The raw symbols of a table.
pub(crate) fn raw_symbols<'a>(table: &'a RawSection<'_>) -> Result<&'a [Sym64<LE>], DifferError> {
    slice_from_all_bytes(&table.data)
        .map_err(|()| DifferError::damaged(&table.name, "its size is no multiple of 24"))
}

/// The raw relocations of a section.
pub(crate) fn raw_relocations<'a>(
    section: &'a RawSection<'_>,
) -> Result<&'a [Rela64<LE>], DifferError> {
    slice_from_all_bytes(&section.data)
        .map_err(|()| DifferError::damaged(&section.name, "its size is no multiple of 24"))
}

/// A symbol's name from the string table that its table names.
pub(crate) fn symbol_name(
    file: &ElfFile<'_>,
    table: &RawSection<'_>,
    symbol: &Sym64<LE>,
) -> Result<String, DifferError> {
    let strings = file
        .sections
        .get(table.link as usize)
        .ok_or_else(|| DifferError::damaged(&table.name, "its string table is missing"))?;
    let rest = strings
        .data
        .get(symbol.st_name.get(LE) as usize..)
        .ok_or_else(|| DifferError::damaged(&strings.name, "a symbol's name lies outside"))?;
    let end = rest
        .iter()
        .position(|&byte| byte == 0)
        .ok_or_else(|| DifferError::damaged(&strings.name, "a name does not end"))?;
    let name = std::str::from_utf8(&rest[..end])
        .map_err(|_| DifferError::damaged(&strings.name, "a name is not text"))?;
    Ok(name.to_owned())
}

fn symbols(file: &ElfFile<'_>, table: usize) -> Result<Vec<Symbol>, DifferError> {
    let table = &file.sections[table];
    let raw = raw_symbols(table)?;
    let mut symbols = Vec::with_capacity(raw.len());
    for raw in raw {
        symbols.push(symbol(file, table, raw)?);
    }
    Ok(symbols)
}

fn symbol(
    file: &ElfFile<'_>,
    table: &RawSection<'_>,
    raw: &Sym64<LE>,
) -> Result<Symbol, DifferError> {
    let mut name = symbol_name(file, table, raw)?;
    let home = match raw.st_shndx.get(LE) {
        elf::SHN_UNDEF => SymbolSection::Undefined,
        elf::SHN_ABS => SymbolSection::Absolute,
        elf::SHN_COMMON => SymbolSection::Common,
        index if index.0 < elf::SHN_LORESERVE => {
            let index = usize::from(index.0);
            let section = file.sections.get(index).ok_or_else(|| {
                DifferError::damaged(&table.name, format!("`{name}` lies in no section"))
            })?;
            if raw.st_info.st_type() == elf::STT_SECTION && name.is_empty() {
                name.clone_from(&section.name);
            }
            SymbolSection::Section(index)
        }
        // The index stands in another section (System V ABI, `SHT_SYMTAB_SHNDX`).
        elf::SHN_XINDEX => return Err(DifferError::TooManySections(file.sections.len())),
        index => SymbolSection::Reserved(index.0),
    };
    Ok(Symbol {
        name,
        kind: raw.st_info.st_type().0,
        binding: raw.st_info.st_bind().0,
        other: raw.st_other.0,
        home,
        value: raw.st_value.get(LE),
        size: raw.st_size.get(LE),
    })
}

fn attach_relocations(
    raw: &RawSection<'_>,
    sections: &mut [Section],
    symbol_count: usize,
) -> Result<(), DifferError> {
    let target = sections
        .get_mut(raw.info as usize)
        .ok_or_else(|| DifferError::damaged(&raw.name, "it applies to no section"))?;
    let entries = raw_relocations(raw)?;
    if is_debug(target.flags, &target.name) {
        return Ok(());
    }
    target.relocations.reserve_exact(entries.len());
    for entry in entries {
        let info = entry.r_info.get(LE);
        let relocation = Relocation {
            offset: entry.r_offset.get(LE),
            r_type: (info & 0xffff_ffff) as u32,
            symbol: (info >> 32) as u32,
            addend: entry.r_addend.get(LE),
        };
        let end = relocation.offset.checked_add(relocation.width());
        let inside = relocation.offset < target.size && end.is_some_and(|end| end <= target.size);
        if relocation.symbol as usize >= symbol_count || !inside {
            return Err(DifferError::damaged(
                &raw.name,
                "a relocation points outside",
            ));
        }
        target.relocations.push(relocation);
    }
    target
        .relocations
        .sort_by_key(|relocation| relocation.offset);
    Ok(())
}

fn mark_group(raw: &RawSection<'_>, sections: &mut [Section]) -> Result<(), DifferError> {
    for member in raw.data.chunks_exact(4).skip(1) {
        let index = u32::from_le_bytes([member[0], member[1], member[2], member[3]]);
        sections
            .get_mut(index as usize)
            .ok_or_else(|| DifferError::damaged(&raw.name, "a member does not exist"))?
            .grouped = true;
    }
    Ok(())
}
