//! The factory: from a fix to a signed live patch with its manifest and source archive.
//!
//! It never builds a kernel. It compiles the touched units with the kernel's own flags, proves
//! function by function that the unpatched compile equals what the distribution shipped, and
//! refuses what it can't prove.

pub mod archive;
mod build;
mod command;
mod equality;
mod error;
mod files;
mod fix;
mod gate;
mod glue;
mod included;
mod line_numbers;
mod link;
mod opened_kernel;
mod output;
mod progress;
mod prove;
mod relocation;
mod resolver;
mod shipped;
mod shipped_object;
mod source_archive;
mod sources;
mod tree;
mod unit;

pub use build::{BuildRequest, CompileTimes, build};
pub use command::Log;
pub use error::{FactoryError, Refusal, Refusals};
pub use files::{default_cache, sha256_hex};
pub use line_numbers::keep_line_numbers;
pub use output::BuildOutput;
pub use progress::{Progress, Silent};
pub use prove::{UnitProof, prove};
pub use shipped::{ShippedKernel, stock_releases};
pub use source_archive::{Recipe, SourceArchive};
pub use sources::{extract_sources, source_difference, unified};
