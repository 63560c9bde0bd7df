//! What a kernel and a module are. Bytes in, facts out: nothing here opens a file.

mod compression;
mod elf;
pub mod image;
pub mod kallsyms;
pub mod modinfo;
pub mod module;
mod names;
mod notes;
pub mod signature;
pub mod symvers;
pub mod vmlinux;

pub use compression::{Compression, DecompressError};
pub use elf::{ElfError, Section};
pub use names::{Architecture, BuildId, InvalidName, KernelBuild, KernelRelease, ObjectName};
pub use notes::{NotesError, build_id_of_notes};
