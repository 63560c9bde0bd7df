//! Bulk archives of records, such as the CVE program's own: zip (also a zip in a zip, as it
//! publishes them), tar, tar.gz and tar.xz.
//!
//! Members are read one after the other into memory and handed on; nothing is unpacked, so no
//! name in an archive leads anywhere. Everything that a hostile archive could make large is
//! bounded: a member, all bytes together, the number of members, archives in archives, and the
//! memory of a decompressor.

mod budget;
mod tape;
mod zipped;

use std::io::{self, Read, Seek, SeekFrom};

use thiserror::Error;

use budget::Budget;

use crate::record::MAX_RECORD_BYTES;

/// What is read of one bulk archive at most.
#[derive(Debug, Clone, Copy)]
pub struct BulkLimits {
    /// Bytes of one record.
    pub member: usize,
    /// Bytes of all members together, uncompressed. The default, 16 GiB, is some five times
    /// all CVE records of 2026.
    pub total: u64,
    /// The default, two million, is some five times all CVE records of 2026.
    pub members: u64,
}

impl Default for BulkLimits {
    fn default() -> Self {
        Self {
            member: MAX_RECORD_BYTES,
            total: 16 << 30,
            members: 2_000_000,
        }
    }
}

/// Archives in archives: the CVE program publishes a zip in a zip, and nobody more.
const MAX_NESTING: u32 = 1;

/// An archive as a file or in memory.
pub trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

/// Puts an archive that was found in an archive where it can be read from any place, for
/// instance into a file without a name.
pub trait Spool {
    fn spool(&mut self, bytes: &mut dyn Read) -> io::Result<Box<dyn ReadSeek>>;
}

/// A file of an archive that has a record's name (`CVE-….json`).
#[derive(Debug)]
pub struct Member<'a> {
    /// Its name in the archive, as far as a terminal may see it.
    pub name: String,
    pub bytes: Result<&'a [u8], MemberError>,
}

/// Why one member can't be read; the others can.
#[derive(Debug, Error)]
pub enum MemberError {
    #[error("it has more than the {limit} bytes that are read of a record")]
    TooLarge { limit: usize },
    #[error("it cannot be unpacked: {why}")]
    Damaged { why: String },
}

/// Why an archive can't be read on. Members before that place were handed on.
#[derive(Debug, Error)]
pub enum BulkError {
    #[error("this is no archive that can be read: expected zip, tar, tar.gz or tar.xz")]
    NotAnArchive,
    #[error("the archive is damaged or too large")]
    Read { source: io::Error },
    #[error("the archive's directory is damaged: {why}")]
    Directory { why: String },
    #[error("the archive has more than the {limit} files that are read; import it in parts")]
    TooManyMembers { limit: u64 },
    #[error("the archive holds an archive that holds an archive: unpack it first")]
    TooDeep,
    #[error("it was stopped")]
    Stopped,
}

/// How an archive is packed, by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    Zip,
    Tar,
    TarGz,
    TarXz,
}

impl ArchiveKind {
    /// First bytes that are enough to tell.
    pub const HEAD_BYTES: usize = 512;

    pub fn of(head: &[u8]) -> Option<Self> {
        const USTAR: std::ops::Range<usize> = 257..262;
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            Some(Self::Zip)
        } else if head.starts_with(b"\x1f\x8b") {
            Some(Self::TarGz)
        } else if head.starts_with(b"\xfd7zXZ\0") {
            Some(Self::TarXz)
        } else if head.get(USTAR) == Some(b"ustar") {
            Some(Self::Tar)
        } else {
            None
        }
    }
}

/// What is done with each record; an error of the receiver ends the reading.
pub type Each<'a> = dyn FnMut(Member<'_>) -> Result<(), BulkError> + 'a;

/// Hands every record of an archive to `each`, in the archive's order. Members with other names
/// are passed over; a member that is too large or damaged is handed on as an error.
pub fn read_bulk(
    archive: Box<dyn ReadSeek + '_>,
    limits: BulkLimits,
    spool: &mut dyn Spool,
    each: &mut Each<'_>,
) -> Result<(), BulkError> {
    let mut reading = Reading {
        limits,
        budget: Budget::new(limits.total),
        members: 0,
        spool,
        each,
    };
    reading.archive(archive, 0)
}

/// The state of reading one bulk archive, with those inside of it.
struct Reading<'a, 'b> {
    limits: BulkLimits,
    budget: Budget,
    members: u64,
    spool: &'a mut dyn Spool,
    each: &'a mut Each<'b>,
}

impl Reading<'_, '_> {
    fn archive(
        &mut self,
        mut archive: Box<dyn ReadSeek + '_>,
        depth: u32,
    ) -> Result<(), BulkError> {
        let mut head = Vec::new();
        let limit = ArchiveKind::HEAD_BYTES as u64;
        (&mut archive)
            .take(limit)
            .read_to_end(&mut head)
            .and_then(|_| archive.seek(SeekFrom::Start(0)))
            .map_err(read)?;
        match ArchiveKind::of(&head).ok_or(BulkError::NotAnArchive)? {
            ArchiveKind::Zip => self.zip(archive, depth),
            ArchiveKind::Tar => self.tar(&mut archive),
            ArchiveKind::TarGz => self.tar(&mut flate2::read::MultiGzDecoder::new(archive)),
            ArchiveKind::TarXz => {
                let mut plain =
                    lzma_rust2::XzReader::new_mem_limit(archive, true, MAX_XZ_MEMORY_KIB);
                self.tar(&mut plain)
            }
        }
    }

    /// Counts a member.
    fn begin(&mut self) -> Result<(), BulkError> {
        self.members += 1;
        if self.members > self.limits.members {
            return Err(BulkError::TooManyMembers {
                limit: self.limits.members,
            });
        }
        Ok(())
    }

    /// Reads a record's bytes within its own limit, and the limit of all.
    fn record(&mut self, name: String, content: &mut dyn Read) -> Result<(), BulkError> {
        let limit = self.limits.member;
        let mut bytes = Vec::new();
        let content = &mut content.take(limit as u64 + 1);
        let result = match self.budget.reader(content).read_to_end(&mut bytes) {
            Err(source) if budget::is_spent(&source) => return Err(read(source)),
            Err(error) => Err(MemberError::Damaged {
                why: error.to_string(),
            }),
            Ok(_) if bytes.len() > limit => Err(MemberError::TooLarge { limit }),
            Ok(_) => Ok(bytes.as_slice()),
        };
        (self.each)(Member {
            name,
            bytes: result,
        })
    }
}

/// Memory that an xz stream may ask for, in KiB; `xz -9` asks for 65 MiB.
const MAX_XZ_MEMORY_KIB: u32 = 128 << 10;

fn read(source: io::Error) -> BulkError {
    BulkError::Read { source }
}

/// Whether a file's name is that of a record; the CVE program's archives have others beside.
pub fn is_record_name(path: &str) -> bool {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.starts_with("CVE-") && name.ends_with(".json")
}
