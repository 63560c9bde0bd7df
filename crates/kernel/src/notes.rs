//! ELF notes: where a kernel carries its build id.

use object::elf::NT_GNU_BUILD_ID;
use object::read::elf::NoteIterator;
use thiserror::Error;

use crate::BuildId;
use crate::elf::{Header, LE};

/// Why no build id could be read from notes.
#[derive(Debug, Error)]
pub enum NotesError {
    #[error("the ELF notes are malformed")]
    Malformed(#[source] object::read::Error),
    #[error("no NT_GNU_BUILD_ID note: the kernel was linked without --build-id")]
    NoBuildId,
    #[error("the NT_GNU_BUILD_ID note holds no build id")]
    InvalidBuildId(#[source] crate::InvalidName),
}

/// The build id in a notes section: `.notes` of a vmlinux, which the running kernel shows as
/// `/sys/kernel/notes`.
pub fn build_id_of_notes(notes: &[u8]) -> Result<BuildId, NotesError> {
    let mut notes = NoteIterator::<Header>::new(LE, 4, notes).map_err(NotesError::Malformed)?;
    while let Some(note) = notes.next().map_err(NotesError::Malformed)? {
        if note.name() == b"GNU" && note.n_type(LE) == NT_GNU_BUILD_ID {
            return BuildId::from_bytes(note.desc()).map_err(NotesError::InvalidBuildId);
        }
    }
    Err(NotesError::NoBuildId)
}
