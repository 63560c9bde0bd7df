//! Livepatch relocations as a table, for kernels that fill them in from `struct klp_reloc`.
//!
//! Those kernels know neither `.klp.rela` sections nor `SHN_LIVEPATCH`. So the relocations leave
//! the extracted object, with the symbols that they were about, and become entries of a table that
//! the patch hands to the kernel. Each field is named by a symbol at the start of its section.

use std::collections::BTreeMap;

use object::LittleEndian as LE;
use object::elf::{self, Rela64, Sym64};
use object::pod::bytes_of;
use thiserror::Error;

use crate::elf_file::{ElfFile, RawSection, string_table};
use crate::error::DifferError;
use crate::klp::LivepatchSymbol;
use crate::object::{raw_relocations, raw_symbols, symbol_name, symbol_table};

/// One field that the kernel fills in (kernel: include/linux/livepatch.h of 4.5, `klp_reloc`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEntry {
    /// Global symbol at the start of the section that holds the field.
    pub place: String,
    /// From there, in bytes.
    pub offset: u64,
    /// `R_X86_64_*`.
    pub r_type: u32,
    pub addend: i32,
    /// The object whose table has the entry: `vmlinux`, or the patched module.
    pub owner: String,
    pub symbol: String,
    /// As in [`crate::SymbolHome::Livepatch`]; 0 for an exported symbol.
    pub sympos: u64,
    /// A third module exports the symbol.
    pub exported: bool,
}

/// Why an object can't go with a table.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TableError {
    #[error(transparent)]
    Object(#[from] DifferError),
    #[error(
        "`{section}` refers to `{symbol}`, and this kernel reads that section before it fills in \
         what a patch refers to; let the change do without that reference"
    )]
    ReadEarly { section: String, symbol: String },
    #[error(
        "`{section}` refers to `{symbol}` by a relocation ({what}) that this kernel's livepatch \
         does not write"
    )]
    Unwritten {
        section: String,
        symbol: String,
        what: String,
    },
}

/// Code that the kernel has copied or given up by the time when it fills the table in.
const CODE_READ_EARLY: [&str; 3] = [".altinstr_replacement", ".init", ".exit"];
/// Data that stay where they are and are read by the patch alone.
const PLAIN_DATA: [&str; 2] = [".rodata", ".data"];
/// The loader copies it elsewhere.
const PER_PROCESSOR: &str = ".data..percpu";

/// Takes the livepatch relocations of an extracted object out into a table. `unit` is the prefix
/// that [`crate::extract()`] was given.
pub fn relocation_table(
    object: &[u8],
    unit: &str,
) -> Result<(Vec<u8>, Vec<TableEntry>), TableError> {
    let mut file = ElfFile::parse(object)?;
    let Some(table) = symbol_table(&file)? else {
        return Ok((file.write()?, Vec::new()));
    };
    let section = &file.sections[table];
    let symbols = raw_symbols(section)?.to_vec();
    let names = symbols
        .iter()
        .map(|symbol| symbol_name(&file, section, symbol))
        .collect::<Result<Vec<_>, _>>()?;
    let mut entries = Vec::new();
    // Sections that hold fields of the table, and the symbol at the start of each.
    let mut places = BTreeMap::new();
    for index in 0..file.sections.len() {
        if file.sections[index].sh_type == elf::SHT_RELA.0 {
            let kept = take(&file, index, &names, unit, &mut entries, &mut places)?;
            let section = &mut file.sections[index];
            section.size = kept.len() as u64;
            section.data = kept.into();
        }
    }
    replace_symbols(&mut file, table, &symbols, &names, &places)?;
    Ok((file.write()?, entries))
}

/// Splits one relocation section: gives the bytes of what stays.
fn take(
    file: &ElfFile<'_>,
    index: usize,
    names: &[String],
    unit: &str,
    entries: &mut Vec<TableEntry>,
    places: &mut BTreeMap<usize, String>,
) -> Result<Vec<u8>, TableError> {
    let section = &file.sections[index];
    let goal = section.info as usize;
    let target = file
        .sections
        .get(goal)
        .ok_or_else(|| DifferError::damaged(&section.name, "it applies to no section"))?;
    let mut kept = Vec::new();
    for relocation in raw_relocations(section)? {
        let info = relocation.r_info.get(LE);
        let name = names
            .get((info >> 32) as usize)
            .ok_or_else(|| DifferError::damaged(&section.name, "a relocation has no symbol"))?;
        if !LivepatchSymbol::is_meant(name) {
            kept.extend_from_slice(bytes_of::<Rela64<LE>>(relocation));
            continue;
        }
        let symbol =
            LivepatchSymbol::parse(name).ok_or_else(|| DifferError::BadLivepatchSymbol {
                symbol: name.clone(),
            })?;
        if !is_filled_in(target) {
            return Err(TableError::ReadEarly {
                section: target.name.clone(),
                symbol: symbol.name.to_owned(),
            });
        }
        let place = places
            .entry(goal)
            .or_insert_with(|| format!("__suture_{unit}_place_{goal}"));
        let offset = relocation.r_offset.get(LE);
        let field = ((info & 0xffff_ffff) as u32, relocation.r_addend.get(LE));
        entries.push(entry(place, offset, field, &symbol, &target.name)?);
    }
    Ok(kept)
}

fn entry(
    place: &str,
    offset: u64,
    (r_type, addend): (u32, i64),
    symbol: &LivepatchSymbol<'_>,
    section: &str,
) -> Result<TableEntry, TableError> {
    let unwritten = |what: String| TableError::Unwritten {
        section: section.to_owned(),
        symbol: symbol.name.to_owned(),
        what,
    };
    let third = symbol.patched.is_some();
    Ok(TableEntry {
        place: place.to_owned(),
        offset,
        r_type: written_type(r_type).ok_or_else(|| unwritten(format!("type {r_type}")))?,
        addend: i32::try_from(addend).map_err(|_| unwritten(format!("addend {addend}")))?,
        owner: symbol.owner().to_owned(),
        symbol: symbol.name.to_owned(),
        sympos: if third { 0 } else { symbol.sympos },
        exported: third,
    })
}

/// The types that the kernel writes (kernel: arch/x86/kernel/livepatch.c of 4.5). A call through
/// a linkage table, which later compilers note, is the same to it as a call.
fn written_type(r_type: u32) -> Option<u32> {
    match elf::RelocationType(r_type) {
        elf::R_X86_64_PLT32 => Some(elf::R_X86_64_PC32.0),
        elf::R_X86_64_NONE
        | elf::R_X86_64_64
        | elf::R_X86_64_32
        | elf::R_X86_64_32S
        | elf::R_X86_64_PC32 => Some(r_type),
        _ => None,
    }
}

/// Whether a section is still as the patch brought it, and in place, when the table is read.
fn is_filled_in(section: &RawSection<'_>) -> bool {
    let begins = |names: &[&str]| names.iter().any(|name| section.name.starts_with(name));
    if section.flags & elf::SHF_ALLOC.0 == 0 {
        return false;
    }
    if section.flags & elf::SHF_EXECINSTR.0 != 0 {
        return !begins(&CODE_READ_EARLY);
    }
    begins(&PLAIN_DATA) && !begins(&[PER_PROCESSOR])
}

/// Writes the symbol table without livepatch symbols and with the places, and numbers the
/// relocations anew.
fn replace_symbols(
    file: &mut ElfFile<'_>,
    table: usize,
    symbols: &[Sym64<LE>],
    names: &[String],
    places: &BTreeMap<usize, String>,
) -> Result<(), DifferError> {
    let mut numbers = vec![0_u64; symbols.len()];
    let mut kept: Vec<(&str, Sym64<LE>)> = Vec::with_capacity(symbols.len());
    for (index, symbol) in symbols.iter().enumerate() {
        if !LivepatchSymbol::is_meant(&names[index]) {
            numbers[index] = kept.len() as u64;
            kept.push((&names[index], *symbol));
        }
    }
    kept.extend(places.iter().map(|(&section, name)| {
        let symbol = Sym64 {
            st_name: object::U32::new(LE, 0),
            st_info: elf::SymbolInfo((elf::STB_GLOBAL.0 << 4) | elf::STT_NOTYPE.0),
            st_other: elf::SymbolOther(0),
            st_shndx: object::U16::new(LE, elf::SymbolSection(section as u16)),
            st_value: object::U64::new(LE, 0),
            st_size: object::U64::new(LE, 0),
        };
        (name.as_str(), symbol)
    }));
    let (strings, offsets) = string_table(kept.iter().map(|(name, _)| *name));
    let mut data = Vec::new();
    for ((_, symbol), offset) in kept.iter_mut().zip(offsets) {
        symbol.st_name.set(LE, offset);
        data.extend_from_slice(bytes_of(symbol));
    }
    let link = file.sections[table].link as usize;
    let names = file.names;
    let strings_section = file
        .sections
        .get_mut(link)
        .filter(|_| link != names)
        .ok_or_else(|| DifferError::damaged(".symtab", "it has no string table for itself"))?;
    strings_section.size = strings.len() as u64;
    strings_section.data = strings.into();
    let section = &mut file.sections[table];
    section.size = data.len() as u64;
    section.data = data.into();
    for section in &mut file.sections {
        if section.sh_type == elf::SHT_RELA.0 {
            renumber(section, &numbers)?;
        }
    }
    Ok(())
}

fn renumber(section: &mut RawSection<'_>, numbers: &[u64]) -> Result<(), DifferError> {
    let mut data = Vec::with_capacity(section.data.len());
    for relocation in raw_relocations(section)? {
        let info = relocation.r_info.get(LE);
        let number = numbers
            .get((info >> 32) as usize)
            .ok_or_else(|| DifferError::damaged(&section.name, "a relocation has no symbol"))?;
        let mut relocation = *relocation;
        relocation
            .r_info
            .set(LE, number << 32 | (info & 0xffff_ffff));
        data.extend_from_slice(bytes_of(&relocation));
    }
    section.data = data.into();
    Ok(())
}

/// A linked module without `R_X86_64_PLT32`, which module loaders before 4.16 do not know. The
/// kernel has no linkage table, so that `R_X86_64_PC32` says the same.
pub fn plain_calls(module: &[u8]) -> Result<Vec<u8>, DifferError> {
    let mut file = ElfFile::parse(module)?;
    for section in &mut file.sections {
        if section.sh_type != elf::SHT_RELA.0 {
            continue;
        }
        let mut data = Vec::with_capacity(section.data.len());
        for relocation in raw_relocations(section)? {
            let mut relocation = *relocation;
            let info = relocation.r_info.get(LE);
            if (info & 0xffff_ffff) as u32 == elf::R_X86_64_PLT32.0 {
                let plain = u64::from(elf::R_X86_64_PC32.0);
                relocation.r_info.set(LE, (info & !0xffff_ffff) | plain);
            }
            data.extend_from_slice(bytes_of(&relocation));
        }
        section.data = data.into();
    }
    file.write()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::object::{Object, SymbolSection};

    /// An object of a compiler, in which `old` names became livepatch symbols.
    fn compiled(source: &str, renamed: &[(&str, &str)]) -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("x.c"), folder.path().join("x.o"));
        std::fs::write(&input, source).unwrap();
        let mut gcc = Command::new("gcc");
        gcc.args([
            "-c",
            "-O2",
            "-mcmodel=kernel",
            "-fno-pic",
            "-ffunction-sections",
        ]);
        gcc.args(["-fdata-sections", "-fno-asynchronous-unwind-tables", "-o"]);
        assert!(gcc.args([&output, &input]).status().unwrap().success());
        let mut objcopy = Command::new("objcopy");
        for (old, new) in renamed {
            objcopy.arg(format!("--redefine-sym={old}={new}"));
        }
        assert!(objcopy.arg(&output).status().unwrap().success());
        std::fs::read(output).unwrap()
    }

    const SOURCE: &str = "int hidden(int); int exported(int); extern int count; extern int third;\n\
        int *table[] = { &count };\n\
        int fixed(int n) { return hidden(n) + exported(n) + count + third; }\n";
    const RENAMED: [(&str, &str); 3] = [
        ("hidden", ".klp.sym.vmlinux.hidden,2"),
        ("count", ".klp.sym.ext4.count,0"),
        ("third", ".klp.sym.jbd2.third,0,ext4"),
    ];

    #[test]
    fn what_a_patch_refers_to_becomes_a_table() {
        let object = compiled(SOURCE, &RENAMED);
        let (left, entries) = relocation_table(&object, "u0").unwrap();
        let told = |symbol: &str| {
            let entry = entries.iter().find(|entry| entry.symbol == symbol).unwrap();
            let TableEntry {
                owner,
                sympos,
                exported,
                ..
            } = entry;
            (owner.as_str(), *sympos, *exported)
        };
        assert_eq!(told("hidden"), ("vmlinux", 2, false));
        assert_eq!(told("count"), ("ext4", 0, false));
        assert_eq!(told("third"), ("ext4", 0, true));
        let call = entries.iter().find(|it| it.symbol == "hidden").unwrap();
        assert_eq!((call.r_type, call.addend), (2, -4));
        let left = Object::parse(&left).unwrap();
        let undefined = left.symbols.iter().skip(1);
        let undefined: Vec<_> = undefined
            .filter(|symbol| symbol.home == SymbolSection::Undefined)
            .map(|symbol| symbol.name.as_str())
            .collect();
        assert_eq!(undefined, ["exported"]);
        for entry in &entries {
            let place = left.symbols.iter().find(|it| it.name == entry.place);
            let place = place.and_then(|symbol| symbol.section()).unwrap();
            assert!(left.sections[place].size > entry.offset, "{entry:?}");
        }
    }

    #[test]
    fn relocations_that_stay_keep_their_symbols() {
        let object = compiled(SOURCE, &RENAMED);
        let (left, entries) = relocation_table(&object, "u0").unwrap();
        assert_eq!(entries.len(), 4);
        let left = Object::parse(&left).unwrap();
        let stays = left
            .sections
            .iter()
            .flat_map(|section| &section.relocations);
        let names: Vec<_> = stays
            .map(|it| left.symbols[it.symbol as usize].name.as_str())
            .collect();
        assert_eq!(names, ["exported"]);
    }

    #[test]
    fn sections_that_the_kernel_reads_first_are_named() {
        let source =
            "extern int key; __attribute__((section(\"__jump_table\"))) int *entry = &key;";
        let object = compiled(source, &[("key", ".klp.sym.vmlinux.key,0")]);
        let refused = relocation_table(&object, "u0").unwrap_err().to_string();
        assert!(
            refused.contains("`__jump_table` refers to `key`"),
            "{refused}"
        );
        let object = compiled(source, &[]);
        assert!(relocation_table(&object, "u0").unwrap().1.is_empty());
    }

    #[test]
    fn types_that_the_kernel_does_not_write_are_named() {
        let source = "__asm__(\".section .data.x,\\\"aw\\\"\\n.quad far - .\");";
        let object = compiled(source, &[("far", ".klp.sym.vmlinux.far,0")]);
        let refused = relocation_table(&object, "u0").unwrap_err().to_string();
        assert!(
            refused.contains("`far`") && refused.contains("type 24"),
            "{refused}"
        );
    }

    #[test]
    fn calls_through_a_linkage_table_become_plain() {
        let object = compiled("int far(void); int near(void) { return far() + 1; }", &[]);
        let types = |bytes: &[u8]| -> Vec<u32> {
            let object = Object::parse(bytes).unwrap();
            let all = object.sections.iter().flat_map(|it| it.relocations.clone());
            all.map(|relocation| relocation.r_type).collect()
        };
        assert_eq!(types(&object), [4]);
        assert_eq!(types(&plain_calls(&object).unwrap()), [2]);
    }
}
