//! What a kernel and a module are. Bytes in, facts out: nothing here opens a file.

mod names;

pub use names::{Architecture, BuildId, InvalidName, KernelBuild, KernelRelease, ObjectName};
