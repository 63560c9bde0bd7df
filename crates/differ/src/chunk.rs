//! The pieces of the patched object that go into the extracted one, and where they land.

use std::collections::BTreeMap;

use crate::object::Section;
use crate::unit::{Range, Unit};

/// Index of a chunk.
pub(crate) type ChunkId = usize;

/// A copied range.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub source: Range,
    /// Index into [`Layout::sections`].
    pub out: usize,
    /// Offset in the output section.
    pub at: u64,
    pub links: Vec<Link>,
    /// Part of a table or of the code that tables put in place.
    pub special: bool,
    /// The function on whose behalf it is taken, for messages.
    pub owner: String,
}

/// A relocation of the output.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// From the start of the chunk.
    pub offset: u64,
    pub r_type: u32,
    pub to: Goal,
    pub addend: i64,
}

/// What a relocation of the output refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Goal {
    /// The start of a chunk.
    Chunk(ChunkId),
    /// An undefined symbol.
    Symbol(String),
}

/// A section of the output.
#[derive(Debug, Clone)]
pub(crate) struct OutSection {
    pub name: String,
    pub sh_type: u32,
    pub flags: u64,
    pub addralign: u64,
    pub entsize: u64,
    pub size: u64,
    pub data: Vec<u8>,
}

/// All chunks and the sections that they make up.
#[derive(Default)]
pub(crate) struct Layout {
    pub chunks: Vec<Chunk>,
    pub sections: Vec<OutSection>,
    by_source: BTreeMap<(Range, String), ChunkId>,
    /// Output sections that collect chunks: name, alignment, flags and type of the source.
    shared: BTreeMap<(String, u64, u64, u32), usize>,
}

impl Layout {
    /// The chunk of this very range in a section of this name, if it is there already.
    pub fn find(&self, source: Range, name: &str) -> Option<ChunkId> {
        self.by_source.get(&(source, name.to_owned())).copied()
    }

    /// The chunk that covers a place.
    pub fn covering(&self, section: usize, offset: u64) -> Option<ChunkId> {
        self.chunks.iter().position(|chunk| {
            let source = chunk.source;
            source.section == section && source.start <= offset && offset < source.end
        })
    }

    /// The chunk that ends at a place.
    pub fn ending(&self, section: usize, offset: u64) -> Option<ChunkId> {
        let ends = |chunk: &Chunk| chunk.source.section == section && chunk.source.end == offset;
        self.chunks.iter().position(ends)
    }

    /// Copies a range into a section of its own.
    pub fn add_alone(&mut self, unit: &Unit, source: Range, name: &str, owner: &str) -> ChunkId {
        let section = unit.section(source.section);
        let out = self.open_section(section, name, section.flags);
        self.push(unit, source, out, owner, false, 1)
    }

    /// Appends a range to the section of this name, at the given alignment.
    pub fn append(
        &mut self,
        unit: &Unit,
        source: Range,
        name: &str,
        owner: &str,
        alignment: u64,
        special: bool,
    ) -> ChunkId {
        let section = unit.section(source.section);
        // Literals and constants stay what they are, but no linker shall merge them again:
        // references are by offset.
        let merge = object::elf::SHF_MERGE.0 | object::elf::SHF_STRINGS.0;
        let flags = section.flags & !merge;
        let key = (name.to_owned(), section.addralign, flags, section.sh_type);
        let out = match self.shared.get(&key) {
            Some(&out) => out,
            None => {
                let out = self.open_section(section, name, flags);
                self.shared.insert(key, out);
                out
            }
        };
        self.push(unit, source, out, owner, special, alignment)
    }

    fn open_section(&mut self, section: &Section, name: &str, flags: u64) -> usize {
        let group = object::elf::SHF_GROUP.0 | object::elf::SHF_LINK_ORDER.0;
        let entsize = if section.is_mergeable() {
            0
        } else {
            section.entsize
        };
        self.sections.push(OutSection {
            name: name.to_owned(),
            sh_type: section.sh_type,
            flags: flags & !group,
            addralign: section.addralign.max(1),
            entsize,
            size: 0,
            data: Vec::new(),
        });
        self.sections.len() - 1
    }

    fn push(
        &mut self,
        unit: &Unit,
        source: Range,
        out: usize,
        owner: &str,
        special: bool,
        alignment: u64,
    ) -> ChunkId {
        let section = &mut self.sections[out];
        let at = section.size.next_multiple_of(alignment.max(1));
        section.size = at + (source.end - source.start);
        if section.sh_type != object::elf::SHT_NOBITS.0 {
            let bytes = unit.section(source.section).bytes(source.start, source.end);
            section.data.resize(at as usize, 0);
            section.data.extend_from_slice(&bytes.unwrap_or_default());
        }
        let name = section.name.clone();
        let id = self.chunks.len();
        let (links, owner) = (Vec::new(), owner.to_owned());
        self.chunks.push(Chunk {
            source,
            out,
            at,
            links,
            special,
            owner,
        });
        self.by_source.insert((source, name), id);
        id
    }
}
