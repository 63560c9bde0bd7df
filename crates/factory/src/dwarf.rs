//! A compiled unit's debug information (DWARF), read.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use gimli::{AttributeValue, DwAt, EndianSlice, LittleEndian, Reader as _};
use object::read::RelocationMap;
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _};

use crate::error::FactoryError;

pub(crate) type Slice<'a> = gimli::RelocateReader<EndianSlice<'a, LittleEndian>, &'a Relocations>;
pub(crate) type Dwarf<'a> = gimli::Dwarf<Slice<'a>>;
pub(crate) type Entry<'a, 'u> = gimli::DebuggingInformationEntry<'u, 'u, Slice<'a>, usize>;
pub(crate) type Unit<'a> = gimli::Unit<Slice<'a>>;

/// A section's relocations, which object files need for their debug information.
#[derive(Debug, Default)]
pub(crate) struct Relocations(RelocationMap);

impl gimli::Relocate for &'_ Relocations {
    fn relocate_address(&self, offset: usize, value: u64) -> gimli::Result<u64> {
        Ok(self.0.relocate(offset as u64, value))
    }

    fn relocate_offset(&self, offset: usize, value: usize) -> gimli::Result<usize> {
        let relocated = self.0.relocate(offset as u64, value as u64);
        usize::try_from(relocated).map_err(|_| gimli::Error::UnsupportedOffset)
    }
}

/// Shows each entry of all units in an object, those below others after them, and how deep it lies.
pub(crate) fn each_entry(
    bytes: &[u8],
    mut look: impl FnMut(&Dwarf<'_>, &Unit<'_>, &Entry<'_, '_>, isize) -> gimli::Result<()>,
) -> Result<(), Box<dyn std::error::Error>> {
    let file: ElfFile64<'_> = ElfFile64::parse(bytes)?;
    let load = |id: gimli::SectionId| -> Result<(Cow<'_, [u8]>, Relocations), object::Error> {
        match file.section_by_name(id.name()) {
            Some(section) => {
                let relocations = Relocations(section.relocation_map()?);
                Ok((Cow::Borrowed(section.data()?), relocations))
            }
            None => Ok((Cow::Borrowed(&[]), Relocations::default())),
        }
    };
    let sections = gimli::DwarfSections::load(load)?;
    let dwarf: Dwarf<'_> = sections.borrow(|(data, relocations)| {
        gimli::RelocateReader::new(EndianSlice::new(data, LittleEndian), relocations)
    });
    let mut headers = dwarf.units();
    while let Some(header) = headers.next()? {
        let unit = dwarf.unit(header)?;
        let (mut entries, mut depth) = (unit.entries(), 0);
        while let Some((deeper, entry)) = entries.next_dfs()? {
            depth += deeper;
            look(&dwarf, &unit, entry, depth)?;
        }
    }
    Ok(())
}

/// The lines on which functions are named that a unit's own file defines, counted from one.
pub(crate) fn lines_of_functions(
    source: &str,
    bytes: &[u8],
) -> Result<BTreeMap<String, u64>, FactoryError> {
    let mut lines = BTreeMap::new();
    let read = each_entry(bytes, |dwarf, unit, entry, _| {
        if entry.tag() != gimli::DW_TAG_subprogram || !is_in(source, dwarf, unit, entry)? {
            return Ok(());
        }
        let name = text(dwarf, unit, entry, gimli::DW_AT_name)?;
        let line = number(entry, gimli::DW_AT_decl_line)?;
        if let (Some(name), Some(Ok(line))) = (name, line.map(u64::try_from)) {
            lines.insert(name, line);
        }
        Ok(())
    });
    read.map_err(|error| FactoryError::Differ {
        what: source.to_owned(),
        why: format!("its debug information is unreadable: {error}"),
    })?;
    Ok(lines)
}

/// Whether a file of this name declares an entry.
pub(crate) fn is_in(
    source: &str,
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
) -> gimli::Result<bool> {
    let Some(AttributeValue::FileIndex(index)) = entry.attr_value(gimli::DW_AT_decl_file)? else {
        return Ok(false);
    };
    let program = unit.line_program.as_ref();
    let Some(file) = program.and_then(|program| program.header().file(index)) else {
        return Ok(false);
    };
    let path = string(dwarf, unit, file.path_name())?;
    Ok(Path::new(&path).file_name() == Path::new(source).file_name())
}

/// Looks at the entries right below one.
pub(crate) fn each_child<'a>(
    unit: &Unit<'a>,
    offset: gimli::UnitOffset,
    mut look: impl FnMut(&Entry<'a, '_>) -> gimli::Result<()>,
) -> gimli::Result<()> {
    let mut tree = unit.entries_tree(Some(offset))?;
    let mut children = tree.root()?.children();
    while let Some(child) = children.next()? {
        look(child.entry())?;
    }
    Ok(())
}

/// The type that an entry refers to.
pub(crate) fn referred(entry: &Entry<'_, '_>) -> gimli::Result<Option<gimli::UnitOffset>> {
    reference(entry, gimli::DW_AT_type)
}

/// The entry that an attribute refers to.
pub(crate) fn reference(
    entry: &Entry<'_, '_>,
    attribute: DwAt,
) -> gimli::Result<Option<gimli::UnitOffset>> {
    Ok(match entry.attr_value(attribute)? {
        Some(AttributeValue::UnitRef(offset)) => Some(offset),
        _ => None,
    })
}

pub(crate) fn number(entry: &Entry<'_, '_>, name: DwAt) -> gimli::Result<Option<i128>> {
    // A constant of one byte has no sign of its own: what the compiler means as negative it writes
    // in a signed form.
    Ok(entry.attr(name)?.and_then(|attribute| {
        let unsigned = attribute.udata_value().map(i128::from);
        unsigned.or(attribute.sdata_value().map(i128::from))
    }))
}

pub(crate) fn text(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    entry: &Entry<'_, '_>,
    name: DwAt,
) -> gimli::Result<Option<String>> {
    let value = entry.attr_value(name)?;
    value.map(|value| string(dwarf, unit, value)).transpose()
}

pub(crate) fn string(
    dwarf: &Dwarf<'_>,
    unit: &Unit<'_>,
    value: AttributeValue<Slice<'_>>,
) -> gimli::Result<String> {
    let string = dwarf.attr_string(unit, value)?;
    Ok(string.to_string_lossy()?.into_owned())
}
