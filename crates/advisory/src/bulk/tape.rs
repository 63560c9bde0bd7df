//! Tar archives, read in one pass.

use std::io::Read;

use tar::{Archive, Entry, EntryType, PaxExtensions};

use super::{BulkError, Reading, is_record_name, read};
use crate::record::line;

/// Longest name that a long-name entry may bring; the format's own is 255.
const MAX_NAME_BYTES: u64 = 4096;

/// Characters of a member's name that are shown.
const SHOWN_CHARACTERS: usize = 200;

impl Reading<'_, '_> {
    pub(super) fn tar(&mut self, stream: &mut dyn Read) -> Result<(), BulkError> {
        // Raw, because the library would read a long-name entry of any size into memory.
        let mut archive = Archive::new(stream);
        let entries = archive.entries().map_err(read)?.raw(true);
        let mut long_name = None;
        for entry in entries {
            let mut entry = entry.map_err(read)?;
            self.begin()?;
            // What is passed over has to be unpacked as well.
            let size = entry.header().entry_size().map_err(read)?;
            match entry.header().entry_type() {
                EntryType::GNULongName | EntryType::XHeader => {
                    self.budget.spend(size).map_err(read)?;
                    long_name = name_entry(&mut entry)?.or(long_name);
                }
                EntryType::Regular | EntryType::Continuous => {
                    let name = long_name.take().unwrap_or_else(|| own_name(&entry));
                    if is_record_name(&name) {
                        self.record(line(&name, SHOWN_CHARACTERS), &mut entry)?;
                    } else {
                        self.budget.spend(size).map_err(read)?;
                    }
                }
                _ => {
                    self.budget.spend(size).map_err(read)?;
                    long_name = None;
                }
            }
        }
        Ok(())
    }
}

fn own_name(entry: &Entry<'_, &mut dyn Read>) -> String {
    String::from_utf8_lossy(&entry.header().path_bytes()).into_owned()
}

/// The name that an entry holds for the one after it, in GNU's or in POSIX' way.
fn name_entry(entry: &mut Entry<'_, &mut dyn Read>) -> Result<Option<String>, BulkError> {
    let kind = entry.header().entry_type();
    let mut bytes = Vec::new();
    entry
        .take(MAX_NAME_BYTES)
        .read_to_end(&mut bytes)
        .map_err(read)?;
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0);
        String::from_utf8_lossy(&bytes[..end.unwrap_or(bytes.len())]).into_owned()
    };
    if kind == EntryType::GNULongName {
        return Ok(Some(text(&bytes)));
    }
    let mut records = PaxExtensions::new(&bytes).flatten();
    let path = records.find(|record| record.key_bytes() == b"path");
    Ok(path.map(|record| text(record.value_bytes())))
}
