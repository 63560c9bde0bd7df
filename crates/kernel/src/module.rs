//! A relocatable module file: its sections, symbols and relocations.

use object::elf::{
    SHN_ABS, SHN_COMMON, SHN_UNDEF, SHT_NOBITS, STB_LOCAL, STB_WEAK, STT_FILE, STT_FUNC,
    STT_NOTYPE, STT_OBJECT, STT_SECTION, SectionType, Sym64,
};
use object::read::elf::{Rela as _, SectionHeader, SectionTable, Sym as _, SymbolTable};
use object::{LittleEndian, SectionIndex, SymbolIndex};

use crate::elf::{self, ElfError, Header, LE, Section, malformed};

/// Where a symbol is defined (`st_shndx`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolPlace {
    /// In another object (`SHN_UNDEF`).
    Undefined,
    /// Its value is no address (`SHN_ABS`).
    Absolute,
    /// `SHN_COMMON`
    Common,
    /// In the section with this index.
    Section(usize),
    /// Any other reserved index, e.g. 0xff20 (`SHN_LIVEPATCH`).
    Reserved(u16),
}

/// `STB_*`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolBinding {
    Local,
    Weak,
    /// `STB_GLOBAL`, and `STB_GNU_UNIQUE`, which means the same to the kernel.
    Global,
}

/// `STT_*`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolKind {
    NoType,
    Object,
    Function,
    Section,
    File,
    Other(u8),
}

/// A line of `.symtab`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleSymbol<'data> {
    /// Its place in `.symtab`; relocations name symbols by it.
    pub index: usize,
    /// Empty for a section's symbol.
    pub name: &'data str,
    pub place: SymbolPlace,
    /// `st_value`: where in the section it starts, in bytes.
    pub value: u64,
    /// `st_size`, in bytes.
    pub size: u64,
    pub binding: SymbolBinding,
    pub kind: SymbolKind,
}

/// One entry of a `SHT_RELA` section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// `r_offset`: where in the target section.
    pub offset: u64,
    /// `ELF64_R_TYPE`: `R_X86_64_*`.
    pub kind: u32,
    /// `ELF64_R_SYM`: index in `.symtab`, 0 for none.
    pub symbol: usize,
    /// `r_addend`
    pub addend: i64,
}

/// A module's symbol table with the sections that it speaks of.
#[derive(Debug, Clone)]
pub struct ModuleSymbols<'data> {
    data: &'data [u8],
    table: SectionTable<'data, Header>,
    sections: Vec<Section<'data>>,
    symbols: Vec<ModuleSymbol<'data>>,
}

impl<'data> ModuleSymbols<'data> {
    /// Reads a plain ELF module (see [`decompress_module`](crate::image::decompress_module)); a
    /// signature behind it doesn't matter.
    pub fn parse(data: &'data [u8]) -> Result<Self, ElfError> {
        let table = elf::open(data)?;
        let sections = elf::sections(&table, data)?;
        let symtab = table
            .symbols(LE, data, object::elf::SHT_SYMTAB)
            .map_err(malformed("symbol table"))?;
        let symbols = symtab
            .enumerate()
            .map(|(index, entry)| symbol(&symtab, index, entry))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            data,
            table,
            sections,
            symbols,
        })
    }

    /// All sections, in the file's order; a section's index is its place here.
    pub fn sections(&self) -> &[Section<'data>] {
        &self.sections
    }

    /// The first section of that name.
    pub fn section(&self, name: &str) -> Option<&Section<'data>> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// All symbols in the order of `.symtab`, locals and the null symbol included.
    pub fn symbols(&self) -> &[ModuleSymbol<'data>] {
        &self.symbols
    }

    /// The defined symbols of that name, in the order of `.symtab`.
    pub fn named(&self, name: &str) -> impl Iterator<Item = &ModuleSymbol<'data>> {
        self.defined().filter(move |symbol| symbol.name == name)
    }

    fn defined(&self) -> impl Iterator<Item = &ModuleSymbol<'data>> {
        self.symbols
            .iter()
            .filter(|symbol| symbol.place != SymbolPlace::Undefined)
    }

    /// The section that a symbol is defined in.
    pub fn section_of(&self, symbol: &ModuleSymbol<'_>) -> Option<&Section<'data>> {
        match symbol.place {
            SymbolPlace::Section(index) => self.sections.get(index),
            _ => None,
        }
    }

    /// The bytes of a function or an object: `size` bytes from `value` on, before relocation.
    pub fn bytes_of(&self, symbol: &ModuleSymbol<'_>) -> Option<&'data [u8]> {
        let section = self
            .section_of(symbol)
            .filter(|section| section.kind != SHT_NOBITS)?;
        let start = usize::try_from(symbol.value).ok()?;
        section
            .data
            .get(start..start.checked_add(usize::try_from(symbol.size).ok()?)?)
    }

    /// The relocations of one section, in the file's order. Empty if it has none.
    pub fn relocations(&self, section: usize) -> Result<Vec<Relocation>, ElfError> {
        let mut found = Vec::new();
        for (_, header) in self.table.enumerate() {
            if header.sh_info(LE) as usize != section || header.sh_type(LE) == SectionType(0) {
                continue;
            }
            let entries = header
                .rela(LE, self.data)
                .map_err(malformed("relocations"))?;
            found.extend(
                entries
                    .into_iter()
                    .flat_map(|(entries, _)| entries)
                    .map(relocation),
            );
        }
        Ok(found)
    }

    /// The symbol position that livepatch wants for a symbol of this module: 0 if its name is
    /// unique, else its place among those of the same name, counted from 1.
    ///
    /// Livepatch counts in a module's kallsyms, which holds the defined symbols in the order of
    /// `.symtab`: all of them while the module is being loaded, and only those outside init
    /// sections afterwards (kernel: `add_kallsyms()`, `is_core_symbol()`). None if the two places
    /// differ, because then no position is right at both times, or if `index` is no symbol that
    /// stays.
    pub fn sympos(&self, index: usize) -> Option<u64> {
        let name = self.symbols.get(index)?.name;
        let stays = |symbol: &&ModuleSymbol<'_>| !name.is_empty() && self.is_core(symbol);
        let loading = self.named(name).position(|symbol| symbol.index == index)?;
        let loaded = self
            .named(name)
            .filter(stays)
            .position(|symbol| symbol.index == index)?;
        match (loading == loaded, self.named(name).count()) {
            (false, _) => None,
            (true, 1) => Some(0),
            (true, _) => Some(loading as u64 + 1),
        }
    }

    /// Whether the kernel keeps the symbol once the module's init sections are gone.
    fn is_core(&self, symbol: &ModuleSymbol<'_>) -> bool {
        let section = self.section_of(symbol);
        section.is_some_and(|section| section.is_allocated() && !section.name.starts_with(".init"))
    }
}

fn symbol<'data>(
    symtab: &SymbolTable<'data, Header>,
    index: SymbolIndex,
    entry: &'data Sym64<LittleEndian>,
) -> Result<ModuleSymbol<'data>, ElfError> {
    let name = symtab
        .symbol_name(LE, entry)
        .map_err(malformed("symbol names"))?;
    Ok(ModuleSymbol {
        index: index.0,
        name: elf::utf8(name, "symbol")?,
        place: place(symtab, index, entry)?,
        value: entry.st_value(LE),
        size: entry.st_size(LE),
        binding: match entry.st_bind() {
            STB_LOCAL => SymbolBinding::Local,
            STB_WEAK => SymbolBinding::Weak,
            _ => SymbolBinding::Global,
        },
        kind: match entry.st_type() {
            STT_NOTYPE => SymbolKind::NoType,
            STT_OBJECT => SymbolKind::Object,
            STT_FUNC => SymbolKind::Function,
            STT_SECTION => SymbolKind::Section,
            STT_FILE => SymbolKind::File,
            other => SymbolKind::Other(other.0),
        },
    })
}

fn place(
    symtab: &SymbolTable<'_, Header>,
    index: SymbolIndex,
    entry: &Sym64<LittleEndian>,
) -> Result<SymbolPlace, ElfError> {
    let section = symtab
        .symbol_section(LE, entry, index)
        .map_err(malformed("symbol table"))?;
    Ok(match (section, entry.st_shndx(LE)) {
        (Some(SectionIndex(section)), _) => SymbolPlace::Section(section),
        (None, SHN_UNDEF) => SymbolPlace::Undefined,
        (None, SHN_ABS) => SymbolPlace::Absolute,
        (None, SHN_COMMON) => SymbolPlace::Common,
        (None, other) => SymbolPlace::Reserved(other.0),
    })
}

fn relocation(entry: &object::elf::Rela64<LittleEndian>) -> Relocation {
    Relocation {
        offset: entry.r_offset(LE),
        kind: entry.r_type(LE, false).0,
        symbol: entry.r_sym(LE, false) as usize,
        addend: entry.r_addend(LE),
    }
}
