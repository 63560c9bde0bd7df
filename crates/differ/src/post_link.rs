//! The last step on a linked patch module: what the linker can't express.

use std::collections::BTreeMap;

use object::LittleEndian as LE;
use object::elf::{self, Rela64, Sym64};
use object::pod::bytes_of;

use crate::elf_file::{ElfFile, RawSection, string_table};
use crate::error::DifferError;
use crate::klp::{LivepatchSymbol, SHF_RELA_LIVEPATCH, SHN_LIVEPATCH};
use crate::object::{raw_relocations, raw_symbols, symbol_name, symbol_table};

/// Turns the `.klp.sym.*` symbols of a linked module into livepatch symbols (`SHN_LIVEPATCH`) and
/// moves their relocations into `.klp.rela.<object>.<section>`, after all other sections.
///
/// Symbols of vmlinux go to `.klp.rela.vmlinux.*`, all others to the object that was patched when
/// [`crate::extract`] named them. To be run once, after the final `ld -r` and modpost and before signing: linkers know neither
/// the section index nor two relocation sections for one target.
pub fn post_link(module: &[u8]) -> Result<Vec<u8>, DifferError> {
    let mut file = ElfFile::parse(module)?;
    let Some(table) = symbol_table(&file)? else {
        return file.write();
    };
    let names = rename_symbols(&mut file, table)?;
    let owners = names
        .iter()
        .map(|name| LivepatchSymbol::parse(name).map(|symbol| symbol.owner().to_owned()))
        .collect::<Vec<_>>();
    for index in 0..file.sections.len() {
        let section = &file.sections[index];
        let of_livepatch = section.flags & SHF_RELA_LIVEPATCH != 0;
        if section.sh_type == elf::SHT_RELA.0 && !of_livepatch {
            let moved = split_relocations(&mut file, index, table, &owners)?;
            file.sections.extend(moved);
        }
    }
    file.write()
}

/// Sets `st_shndx` and the final names; returns the names before, by symbol index.
fn rename_symbols(file: &mut ElfFile<'_>, table: usize) -> Result<Vec<String>, DifferError> {
    let section = &file.sections[table];
    let link = string_table_of(file, section)?;
    let mut symbols = raw_symbols(section)?.to_vec();
    let names = symbols
        .iter()
        .map(|symbol| symbol_name(file, section, symbol))
        .collect::<Result<Vec<_>, _>>()?;
    let mut final_names = Vec::with_capacity(names.len());
    for (name, symbol) in names.iter().zip(&mut symbols) {
        if !LivepatchSymbol::is_meant(name) {
            final_names.push(name.clone());
            continue;
        }
        let parsed =
            LivepatchSymbol::parse(name).ok_or_else(|| DifferError::BadLivepatchSymbol {
                symbol: name.clone(),
            })?;
        final_names.push(parsed.final_name());
        symbol.st_shndx.set(LE, elf::SymbolSection(SHN_LIVEPATCH));
    }
    let (strings, offsets) = string_table(final_names.iter().map(String::as_str));
    for (symbol, offset) in symbols.iter_mut().zip(offsets) {
        symbol.st_name.set(LE, offset);
    }
    file.sections[table].data = symbols
        .iter()
        .flat_map(|s: &Sym64<LE>| bytes_of(s).to_vec())
        .collect();
    let table_strings = &mut file.sections[link];
    table_strings.size = strings.len() as u64;
    table_strings.data = strings.into();
    Ok(names)
}

/// The section that holds a symbol table's names, and nothing but those.
fn string_table_of(file: &ElfFile<'_>, table: &RawSection<'_>) -> Result<usize, DifferError> {
    let link = table.link as usize;
    if link == file.names || link >= file.sections.len() {
        let what = "it has no string table for itself";
        return Err(DifferError::damaged(&table.name, what));
    }
    Ok(link)
}

/// Takes the livepatch relocations out of one relocation section.
fn split_relocations(
    file: &mut ElfFile<'_>,
    index: usize,
    table: usize,
    owners: &[Option<String>],
) -> Result<Vec<RawSection<'static>>, DifferError> {
    let section = &file.sections[index];
    let target = file
        .sections
        .get(section.info as usize)
        .ok_or_else(|| DifferError::damaged(&section.name, "it applies to no section"))?;
    let mut kept = Vec::new();
    let mut moved: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for relocation in raw_relocations(section)? {
        let symbol = (relocation.r_info.get(LE) >> 32) as usize;
        let owner = owners
            .get(symbol)
            .ok_or_else(|| DifferError::damaged(&section.name, "a relocation has no symbol"))?;
        match owner {
            Some(owner) => moved
                .entry(owner)
                .or_default()
                .extend_from_slice(bytes_of(relocation)),
            None => kept.extend_from_slice(bytes_of::<Rela64<LE>>(relocation)),
        }
    }
    let new = moved
        .into_iter()
        .map(|(owner, data)| RawSection {
            name: format!(".klp.rela.{owner}.{}", target.name),
            sh_type: elf::SHT_RELA.0,
            flags: SHF_RELA_LIVEPATCH | elf::SHF_ALLOC.0 | elf::SHF_INFO_LINK.0,
            link: table as u32,
            info: section.info,
            addralign: 8,
            entsize: size_of::<Rela64<LE>>() as u64,
            size: data.len() as u64,
            data: data.into(),
        })
        .collect();
    let section = &mut file.sections[index];
    section.size = kept.len() as u64;
    section.data = kept.into();
    Ok(new)
}
