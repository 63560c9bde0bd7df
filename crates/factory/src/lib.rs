//! The factory: from a fix to a signed live patch with its manifest and source archive.
//!
//! It never builds a kernel. It compiles the touched units with the kernel's own flags, proves
//! function by function that the unpatched compile equals what the distribution shipped, and
//! refuses what it can't prove.

mod added;
mod added_kernel;
pub mod archive;
mod build;
mod build_root;
mod by_hand;
mod command;
mod commands;
mod compiler_message;
mod declared;
mod equality;
mod error;
mod files;
mod fix;
mod gate;
mod glue;
mod holders;
mod includes;
mod job;
mod judge;
mod layout;
mod line_numbers;
mod link;
mod module_link;
mod needed_modules;
mod opened_kernel;
mod output;
mod paths;
mod precompiled;
mod preprocessed;
mod presence;
mod progress;
mod prove;
mod reach;
mod relocation;
mod resolver;
mod servable;
mod shipped;
mod shipped_object;
mod smoke;
mod source_archive;
mod sources;
mod static_branches;
mod suite;
mod system_image;
mod tree;
mod trial;
mod unit;
mod verdict;
mod way_back;

pub use added_kernel::add_kernel;
pub use build::{BuildRequest, build};
pub use command::Log;
pub use error::{FactoryError, Refusal, Refusals};
pub use files::{default_cache, sha256_hex};
pub use holders::{Holder, Stay};
pub use job::CompileTimes;
pub use judge::judge;
pub use line_numbers::keep_line_numbers;
pub use output::{BuildOutput, SMOKE_FILE};
pub use presence::Presence;
pub use progress::{Progress, Silent};
pub use prove::{UnitProof, prove};
pub use shipped::{ShippedKernel, StockKernel, stock_kernels, stock_releases};
pub use smoke::{SmokePlan, check_use};
pub use source_archive::{Recipe, SourceArchive};
pub use sources::{extract_sources, source_difference, unified, unpack_tree};
pub use suite::Suite;
pub use system_image::system_image;
pub use trial::{Trial, TrialFunction, Workbench, with_workbench};
pub use verdict::{JudgedFunction, JudgedObject, JudgedRefusal, Verdict};
pub use way_back::{NoWayBack, check_way_back};
