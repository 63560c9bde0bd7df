//! The differ: two relocatable objects of one kernel translation unit in, unpatched and patched;
//! the functions that changed out, and an object that holds them for a livepatch module.
//!
//! Both objects are x86-64, built with `-ffunction-sections -fdata-sections` and, where the kernel
//! does so per unit (6.1), already processed by objtool. What is not understood is refused
//! ([`Refusal`]): a wrong patch is worse than none.

mod address_flow;
mod alone;
mod called_by_name;
mod chunk;
mod code;
mod code_checks;
mod compare;
mod constants;
mod correlate;
mod data_checks;
mod elf_file;
mod emit;
mod entry_sizes;
mod error;
mod extract;
mod follow;
mod ignore;
mod klp;
mod left_out;
mod line_numbers;
mod matcher;
mod names;
pub mod object;
mod post_link;
mod readers;
mod refusal;
mod relocation_table;
mod report;
mod resolve;
mod special;
mod symbols;
mod tables;
mod taken_in;
mod unit;
mod untraceable;

pub use called_by_name::callers_by_name;
pub use compare::{Comparison, FunctionChange, FunctionStatus, compare, compare_with};
pub use entry_sizes::{EntrySizes, EntrySizesError};
pub use error::DifferError;
pub use extract::{Extracted, ExtractedFunction, Extraction, extract, extract_also, extract_with};
pub use ignore::has_markers;
pub use left_out::LeftOut;
pub use post_link::post_link;
pub use refusal::Refusal;
pub use relocation_table::{TableEntry, TableError, plain_calls, relocation_table};
pub use report::{
    IgnoredThing, Outcome, Report, ReportedFunction, ReportedRefusal, ReportedRelocation, report,
    write_beside,
};
pub use resolve::{ReferencedSymbol, SymbolHome, SymbolKind, SymbolResolver, Unresolved};
pub use taken_in::{taken_in_wrongly, unseen_code, untraceable};
