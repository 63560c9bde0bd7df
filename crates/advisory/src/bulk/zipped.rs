//! Zip archives.

use std::io::{self, Read, Seek, SeekFrom};

use zip::ZipArchive;

use super::{BulkError, MAX_NESTING, MemberError, ReadSeek, Reading, is_record_name, read};
use crate::bulk::Member;
use crate::record::line;

/// The end of an archive in which its directory is announced: the longest comment, and the
/// records around it (source: PKWARE's APPNOTE, 4.3.14 to 4.3.16).
const TAIL_BYTES: u64 = 0xffff + 22 + 20 + 56;

/// Most bytes of a directory for each of its entries: three texts of 64 KiB would be allowed,
/// records' names need some fifty.
const MAX_ENTRY_BYTES: u64 = 512;

const SHOWN_CHARACTERS: usize = 200;

impl Reading<'_, '_> {
    pub(super) fn zip(
        &mut self,
        mut archive: Box<dyn ReadSeek + '_>,
        depth: u32,
    ) -> Result<(), BulkError> {
        self.check_directory(&mut archive)?;
        let mut archive = ZipArchive::new(archive).map_err(directory)?;
        for index in 0..archive.len() {
            self.begin()?;
            // Names are only compared and shown: a member is never written anywhere.
            let name = match archive.name_for_index(index) {
                Some(Ok(name)) => name.into_owned(),
                // A name that is no text is not a record's.
                Some(Err(_)) | None => continue,
            };
            if is_record_name(&name) {
                self.zip_record(&mut archive, index, &name)?;
            } else if name.ends_with(".zip") {
                self.inner_archive(&mut archive, index, depth)?;
            }
        }
        Ok(())
    }

    fn zip_record(
        &mut self,
        archive: &mut ZipArchive<Box<dyn ReadSeek + '_>>,
        index: usize,
        name: &str,
    ) -> Result<(), BulkError> {
        let name = line(name, SHOWN_CHARACTERS);
        match archive.by_index(index) {
            Ok(mut member) => self.record(name, &mut member),
            Err(error) => (self.each)(Member {
                name,
                bytes: Err(MemberError::Damaged {
                    why: error.to_string(),
                }),
            }),
        }
    }

    fn inner_archive(
        &mut self,
        archive: &mut ZipArchive<Box<dyn ReadSeek + '_>>,
        index: usize,
        depth: u32,
    ) -> Result<(), BulkError> {
        if depth == MAX_NESTING {
            return Err(BulkError::TooDeep);
        }
        let mut member = archive.by_index(index).map_err(directory)?;
        let inner = self
            .spool
            .spool(&mut self.budget.reader(&mut member))
            .map_err(read)?;
        drop(member);
        self.archive(inner, depth + 1)
    }

    /// The library reads the whole directory into memory, so its announced size is looked at
    /// first; at every place where an announcement may be, as a hostile archive has several.
    fn check_directory(&self, archive: &mut Box<dyn ReadSeek + '_>) -> Result<(), BulkError> {
        let limit = self.limits.members;
        let tail = tail(archive).map_err(read)?;
        let announced = |offset: usize| {
            let rest = &tail[offset..];
            match rest.get(..4) {
                Some(b"PK\x05\x06") => Some((number(rest, 10, 2)?, number(rest, 12, 4)?)),
                Some(b"PK\x06\x06") => Some((number(rest, 32, 8)?, number(rest, 40, 8)?)),
                _ => None,
            }
        };
        // 0xffff and 0xffffffff stand for "see the other record".
        let too_large = |(entries, bytes): (u64, u64)| {
            entries > limit
                || (bytes != u64::from(u32::MAX) && bytes > limit.saturating_mul(MAX_ENTRY_BYTES))
        };
        if (0..tail.len()).filter_map(announced).any(too_large) {
            return Err(BulkError::TooManyMembers { limit });
        }
        Ok(())
    }
}

fn tail(archive: &mut Box<dyn ReadSeek + '_>) -> io::Result<Vec<u8>> {
    let length = archive.seek(SeekFrom::End(0))?;
    archive.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut tail = Vec::new();
    archive.take(TAIL_BYTES).read_to_end(&mut tail)?;
    archive.seek(SeekFrom::Start(0))?;
    Ok(tail)
}

/// A little-endian number of a record.
fn number(bytes: &[u8], offset: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset + length)?;
    let digits = bytes.iter().rev();
    Some(digits.fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}

fn directory(error: zip::result::ZipError) -> BulkError {
    BulkError::Directory {
        why: error.to_string(),
    }
}
