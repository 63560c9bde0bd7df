//! The kernel's own messages: `/dev/kmsg` followed, and what in them is trouble.
//!
//! Only messages of the kernel itself count; what programs write into the log carries another
//! facility, which the kernel puts there.

mod follow;
mod record;
mod trouble;

pub use follow::KernelLog;
pub use record::{Record, records};
pub use trouble::{Recogniser, Trouble};
