//! Input that is not what the differ works on. What it declines to patch is a `Refusal` instead.

use thiserror::Error;

/// Why bytes could not be read or written as an x86-64 object.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DifferError {
    /// The bytes are no readable ELF file.
    #[error("the object is not a readable 64-bit little-endian ELF file: {0}")]
    NotElf(String),
    /// An ELF file, but not a relocatable one for x86-64.
    #[error(
        "expected a relocatable x86-64 object (e_type 1, e_machine 62), found e_type {file_type}, \
         e_machine {machine}"
    )]
    WrongKind { file_type: u16, machine: u16 },
    /// What a compiler leaves for an optimiser of the whole program, beside code or instead of it.
    #[error(
        "the object is made for link-time optimisation (it has {0}), so its code is not what runs; \
         compile it without (`-fno-lto`), and refuse kernels that are optimised so"
    )]
    LinkTimeOptimised(String),
    /// Something inside contradicts itself.
    #[error("section `{section}` is damaged: {what}")]
    Damaged { section: String, what: String },
    /// More sections than ELF can count in 16 bits.
    #[error("{0} sections do not fit into an object; split the patch")]
    TooManySections(usize),
    /// A livepatch symbol whose name the kernel would not parse.
    #[error("`{symbol}` is not `.klp.sym.<object>.<name>,<position>`")]
    BadLivepatchSymbol { symbol: String },
}

impl DifferError {
    pub(crate) fn damaged(section: &str, what: impl Into<String>) -> Self {
        Self::Damaged {
            section: section.to_owned(),
            what: what.into(),
        }
    }
}

impl From<object::read::Error> for DifferError {
    fn from(error: object::read::Error) -> Self {
        Self::NotElf(error.to_string())
    }
}
