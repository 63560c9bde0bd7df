//! What a kernel and a module are. Bytes in, facts out: nothing here opens a file.
//!
//! From a kernel as it is installed to the place that livepatch calls a function by:
//!
//! ```
//! # use suture_kernel::{Architecture, image, kallsyms::Kallsyms, vmlinux::Vmlinux};
//! # fn sympos(vmlinuz: &[u8]) -> Result<Vec<Option<u64>>, Box<dyn std::error::Error>> {
//! let vmlinux = image::vmlinux(vmlinuz)?;
//! let vmlinux = Vmlinux::parse(&vmlinux)?;
//! println!("{}", vmlinux.kernel_build(Architecture::Amd64)?);
//! let kallsyms = Kallsyms::recover(&vmlinux)?;
//! let same_name = kallsyms.named("enabled_show");
//! # Ok(
//! same_name.map(|symbol| kallsyms.sympos(&symbol.name, symbol.address)).collect()
//! # )
//! # }
//! # assert!(sympos(b"no kernel").is_err());
//! ```
//!
//! The examples `kernel_facts` and `module_signature` of this crate read files with it.

mod compression;
mod elf;
pub mod image;
pub mod kallsyms;
mod livepatch_abi;
pub mod modinfo;
pub mod module;
mod names;
mod notes;
pub mod signature;
pub mod symvers;
pub mod vmlinux;

pub use compression::{Compression, DecompressError};
pub use elf::{ElfError, Section};
pub use livepatch_abi::{LivepatchAbi, UnknownAbi};
pub use names::{Architecture, BuildId, InvalidName, KernelBuild, KernelRelease, ObjectName};
pub use notes::{NotesError, build_id_of_notes};
