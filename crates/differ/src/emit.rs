//! The extracted object as a file.

use std::borrow::Cow;
use std::collections::BTreeMap;

use object::LittleEndian as LE;
use object::elf::{self, Rela64, Sym64};
use object::pod::bytes_of;

use crate::chunk::{Goal, Layout};
use crate::elf_file::{ElfFile, RawSection, string_table};
use crate::error::DifferError;

/// A symbol of the output.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    pub name: String,
    pub chunk: usize,
    /// From the start of the chunk.
    pub offset: u64,
    pub size: u64,
    /// `STT_*`.
    pub kind: u8,
    pub global: bool,
}

/// Writes null section, content, relocations, symbols and strings, in this order.
pub(crate) fn emit(layout: &Layout, definitions: &[Definition]) -> Result<Vec<u8>, DifferError> {
    let content = layout.sections.len() + 2;
    let table = Symbols::new(layout, definitions);
    let mut sections = vec![raw("", elf::SHT_NULL.0, Vec::new(), 0)];
    for section in &layout.sections {
        sections.push(RawSection {
            name: section.name.clone(),
            sh_type: section.sh_type,
            flags: section.flags,
            link: 0,
            info: 0,
            addralign: section.addralign,
            entsize: section.entsize,
            size: section.size,
            data: Cow::Borrowed(&section.data),
        });
    }
    sections.push(raw(".note.GNU-stack", elf::SHT_PROGBITS.0, Vec::new(), 1));
    let relocations = relocations(layout, &table);
    let symtab = content + relocations.len();
    for (index, data) in relocations {
        let name = format!(".rela{}", sections[index].name);
        let mut section = raw(&name, elf::SHT_RELA.0, data, 8);
        section.flags = elf::SHF_INFO_LINK.0;
        section.entsize = size_of::<Rela64<LE>>() as u64;
        section.link = symtab as u32;
        section.info = index as u32;
        sections.push(section);
    }
    let (strings, offsets) = string_table(table.symbols.iter().map(|(name, _)| name.as_str()));
    let mut data = Vec::new();
    for ((_, mut symbol), offset) in table.symbols.iter().cloned().zip(offsets) {
        symbol.st_name.set(LE, offset);
        data.extend_from_slice(bytes_of(&symbol));
    }
    let mut section = raw(".symtab", elf::SHT_SYMTAB.0, data, 8);
    section.entsize = size_of::<Sym64<LE>>() as u64;
    section.link = symtab as u32 + 1;
    section.info = table.first_global as u32;
    sections.push(section);
    sections.push(raw(".strtab", elf::SHT_STRTAB.0, strings, 1));
    sections.push(raw(".shstrtab", elf::SHT_STRTAB.0, Vec::new(), 1));
    let names = sections.len() - 1;
    ElfFile {
        flags: 0,
        sections,
        names,
    }
    .write()
}

fn raw(name: &str, sh_type: u32, data: Vec<u8>, addralign: u64) -> RawSection<'static> {
    RawSection {
        name: name.to_owned(),
        sh_type,
        flags: 0,
        link: 0,
        info: 0,
        addralign,
        entsize: 0,
        size: data.len() as u64,
        data: data.into(),
    }
}

/// The symbol table: null, sections, local and global definitions, undefined symbols.
struct Symbols {
    symbols: Vec<(String, Sym64<LE>)>,
    first_global: usize,
    undefined: BTreeMap<String, usize>,
}

impl Symbols {
    fn new(layout: &Layout, definitions: &[Definition]) -> Self {
        let none = (elf::STB_LOCAL.0, elf::STT_NOTYPE.0);
        let mut symbols = vec![(String::new(), symbol(none, 0, 0, 0))];
        for index in 0..layout.sections.len() {
            let section = (elf::STB_LOCAL.0, elf::STT_SECTION.0);
            symbols.push((String::new(), symbol(section, index + 1, 0, 0)));
        }
        let define = |definition: &Definition, binding| {
            let chunk = &layout.chunks[definition.chunk];
            let value = chunk.at + definition.offset;
            let info = (binding, definition.kind);
            (
                definition.name.clone(),
                symbol(info, chunk.out + 1, value, definition.size),
            )
        };
        let local = definitions.iter().filter(|definition| !definition.global);
        symbols.extend(local.map(|definition| define(definition, elf::STB_LOCAL.0)));
        let first_global = symbols.len();
        let global = definitions.iter().filter(|definition| definition.global);
        symbols.extend(global.map(|definition| define(definition, elf::STB_GLOBAL.0)));
        let mut undefined = BTreeMap::new();
        for link in layout.chunks.iter().flat_map(|chunk| &chunk.links) {
            if let Goal::Symbol(name) = &link.to {
                undefined.insert(name.clone(), 0);
            }
        }
        for (name, index) in &mut undefined {
            *index = symbols.len();
            let info = (elf::STB_GLOBAL.0, elf::STT_NOTYPE.0);
            symbols.push((name.clone(), symbol(info, 0, 0, 0)));
        }
        Self {
            symbols,
            first_global,
            undefined,
        }
    }
}

fn symbol((binding, kind): (u8, u8), section: usize, value: u64, size: u64) -> Sym64<LE> {
    Sym64 {
        st_name: object::U32::new(LE, 0),
        st_info: elf::SymbolInfo((binding << 4) | (kind & 0xf)),
        st_other: elf::SymbolOther(0),
        st_shndx: object::U16::new(LE, elf::SymbolSection(section as u16)),
        st_value: object::U64::new(LE, value),
        st_size: object::U64::new(LE, size),
    }
}

/// The relocations by index of their section in the file.
fn relocations(layout: &Layout, table: &Symbols) -> BTreeMap<usize, Vec<u8>> {
    let mut lists: BTreeMap<usize, Vec<(u64, u64, i64)>> = BTreeMap::new();
    for chunk in &layout.chunks {
        for link in &chunk.links {
            let (symbol, addend) = match &link.to {
                Goal::Chunk(target) => {
                    let target = &layout.chunks[*target];
                    (target.out + 1, link.addend.wrapping_add(target.at as i64))
                }
                Goal::Symbol(name) => (table.undefined[name], link.addend),
            };
            let info = (symbol as u64) << 32 | u64::from(link.r_type);
            lists
                .entry(chunk.out + 1)
                .or_default()
                .push((chunk.at + link.offset, info, addend));
        }
    }
    let encode = |mut list: Vec<(u64, u64, i64)>| {
        list.sort_unstable();
        let entries = list.into_iter().map(|(offset, info, addend)| Rela64::<LE> {
            r_offset: object::U64::new(LE, offset),
            r_info: object::U64::new(LE, info),
            r_addend: object::I64::new(LE, addend),
        });
        entries
            .flat_map(|entry| bytes_of(&entry).to_vec())
            .collect()
    };
    lists
        .into_iter()
        .map(|(section, list)| (section, encode(list)))
        .collect()
}
