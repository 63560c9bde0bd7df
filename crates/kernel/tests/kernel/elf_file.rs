//! Makes small ELF files.

use object::elf::{
    SHF_ALLOC, SHF_EXECINSTR, SHT_NOBITS, SHT_NOTE, SHT_PROGBITS, SHT_RELA, SHT_STRTAB, SHT_SYMTAB,
    SectionType,
};

/// Where the images made here are linked.
pub const TEXT: u64 = 0xffff_ffff_8100_0000;
pub const RODATA: u64 = 0xffff_ffff_8200_0000;

/// The build id of all images made here.
pub const BUILD_ID: [u8; 20] = [0xa7; 20];

/// A section before it has a place in the file.
struct Section {
    name: &'static str,
    kind: SectionType,
    flags: u64,
    address: u64,
    link: u32,
    info: u32,
    entry_size: u64,
    data: Vec<u8>,
}

/// An ELF file for x86-64 in the making; section 0 is there from the start.
#[derive(Default)]
pub struct ElfFile {
    sections: Vec<Section>,
    symbols: Vec<u8>,
    symbol_names: Vec<u8>,
}

impl ElfFile {
    /// Adds a section and returns its index.
    pub fn section(&mut self, name: &'static str, flags: u64, address: u64, data: &[u8]) -> u16 {
        self.add(name, SHT_PROGBITS, flags, address, data)
    }

    pub fn add(
        &mut self,
        name: &'static str,
        kind: SectionType,
        flags: u64,
        address: u64,
        data: &[u8],
    ) -> u16 {
        let data = data.to_vec();
        let section = Section {
            name,
            kind,
            flags,
            address,
            link: 0,
            info: 0,
            entry_size: 0,
            data,
        };
        self.sections.push(section);
        self.sections.len() as u16
    }

    /// Adds a local symbol; returns its index, which is never 0.
    pub fn symbol(&mut self, name: &str, kind: u8, section: u16, value: u64, size: u64) -> u32 {
        if self.symbols.is_empty() {
            self.symbols = vec![0; 24];
            self.symbol_names = vec![0];
        }
        let index = self.symbols.len() / 24;
        self.symbols
            .extend((self.symbol_names.len() as u32).to_le_bytes());
        self.symbols.extend([kind, 0]);
        self.symbols.extend(section.to_le_bytes());
        self.symbols.extend(value.to_le_bytes());
        self.symbols.extend(size.to_le_bytes());
        self.symbol_names.extend(name.as_bytes());
        self.symbol_names.push(0);
        index as u32
    }

    /// Adds a section with one relocation: `R_X86_64_PLT32` at `offset` of `target`.
    pub fn relocation(&mut self, target: u16, offset: u64, symbol: u32, addend: i64) {
        let info = u64::from(symbol) << 32 | 4;
        let data = [
            offset.to_le_bytes(),
            info.to_le_bytes(),
            addend.to_le_bytes(),
        ]
        .concat();
        let index = self.add(".rela", SHT_RELA, 0, 0, &data);
        let section = &mut self.sections[usize::from(index) - 1];
        section.info = u32::from(target);
        section.entry_size = 24;
    }

    /// The file: header, contents, section headers.
    pub fn finish(mut self, file_type: u16) -> Vec<u8> {
        self.finish_symbols();
        let mut names = vec![0];
        let mut file = vec![0; 64];
        let mut headers = vec![0; 64];
        self.add(".shstrtab", SHT_STRTAB, 0, 0, &[]);
        let last = self.sections.len() - 1;
        for index in 0..=last {
            let section = &mut self.sections[index];
            let name = names.len() as u32;
            names.extend(section.name.as_bytes());
            names.push(0);
            if index == last {
                section.data = names.clone();
            }
            file.resize(file.len().next_multiple_of(16), 0);
            let offset = file.len() as u64;
            headers.extend(name.to_le_bytes());
            headers.extend(section.kind.0.to_le_bytes());
            for word in [
                section.flags,
                section.address,
                offset,
                section.data.len() as u64,
            ] {
                headers.extend(word.to_le_bytes());
            }
            headers.extend(section.link.to_le_bytes());
            headers.extend(section.info.to_le_bytes());
            headers.extend(16_u64.to_le_bytes());
            headers.extend(section.entry_size.to_le_bytes());
            if section.kind != SHT_NOBITS {
                file.extend(&section.data);
            }
        }
        let table = file.len() as u64;
        file.extend(headers);
        file[..64].copy_from_slice(&header(file_type, table, last as u16 + 2));
        file
    }

    fn finish_symbols(&mut self) {
        if self.symbols.is_empty() {
            return;
        }
        let (symbols, names) = (self.symbols.clone(), self.symbol_names.clone());
        let symtab = self.add(".symtab", SHT_SYMTAB, 0, 0, &symbols);
        let strtab = self.add(".strtab", SHT_STRTAB, 0, 0, &names);
        let table = &mut self.sections[usize::from(symtab) - 1];
        table.link = u32::from(strtab);
        table.entry_size = 24;
        for section in self
            .sections
            .iter_mut()
            .filter(|section| section.kind == SHT_RELA)
        {
            section.link = u32::from(symtab);
        }
    }
}

fn header(file_type: u16, table: u64, sections: u16) -> [u8; 64] {
    let mut header = [0; 64];
    header[..8].copy_from_slice(b"\x7fELF\x02\x01\x01\x00");
    header[16..18].copy_from_slice(&file_type.to_le_bytes());
    header[18..20].copy_from_slice(&62_u16.to_le_bytes());
    header[20] = 1;
    header[40..48].copy_from_slice(&table.to_le_bytes());
    header[52] = 64;
    header[54] = 56;
    header[58] = 64;
    header[60..62].copy_from_slice(&sections.to_le_bytes());
    header[62..64].copy_from_slice(&(sections - 1).to_le_bytes());
    header
}

/// An executable vmlinux with `.text`, the given `.rodata` and `.notes`.
pub fn vmlinux(rodata: &[u8]) -> Vec<u8> {
    let mut file = ElfFile::default();
    let code: Vec<u8> = (0..=255).cycle().take(4096).collect();
    file.section(".text", (SHF_ALLOC | SHF_EXECINSTR).0, TEXT, &code);
    file.section(".rodata", SHF_ALLOC.0, RODATA, rodata);
    let notes = RODATA + rodata.len() as u64;
    file.add(".notes", SHT_NOTE, SHF_ALLOC.0, notes, &build_id_notes());
    file.add(
        ".bss",
        SHT_NOBITS,
        SHF_ALLOC.0,
        TEXT + 0x400_0000,
        &[0; 256],
    );
    file.finish(2)
}

/// Another note and then `NT_GNU_BUILD_ID`, as in `/sys/kernel/notes`.
pub fn build_id_notes() -> Vec<u8> {
    let mut notes = note(0x100, b"Linux\0\0\0", 6, &[0; 4]);
    notes.extend(note(3, b"GNU\0", 4, &BUILD_ID));
    notes
}

fn note(kind: u32, name: &[u8], name_size: u32, content: &[u8]) -> Vec<u8> {
    let mut note = Vec::new();
    for word in [name_size, content.len() as u32, kind] {
        note.extend(word.to_le_bytes());
    }
    note.extend(name);
    note.extend(content);
    note
}
