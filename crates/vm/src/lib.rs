//! Boots a stock kernel under QEMU with a small userland made here, and runs commands in it.
//!
//! ```no_run
//! # use suture_vm::{GuestKernel, Vm};
//! let kernel = GuestKernel::new("boot/vmlinuz-6.1.0-53-amd64", "lib/modules/6.1.0-53-amd64");
//! let vm = Vm::builder(kernel).module("phonet").boot()?;
//! let output = vm.shell("grep -c phonet /proc/modules")?;
//! assert!(output.success(), "{output:?}");
//! # Ok::<(), suture_vm::VmError>(())
//! ```
//!
//! The host talks to the guest's init over a line of its own ([`wire`]), so a machine without a
//! network can be used as well. Everything that waits has a deadline.

mod accelerator;
mod builder;
mod channel;
mod command;
mod console;
mod disk;
mod error;
mod forward;
pub mod guest;
mod initramfs;
mod kernel;
mod modules;
mod parent;
pub mod probe;
mod qemu;
mod qmp;
mod state;
mod strip;
mod userland;
mod vm;
pub mod wire;

pub use builder::{FileSource, VmBuilder};
pub use command::{CommandOutput, GuestCommand};
pub use console::kernel_faults;
pub use error::VmError;
pub use kernel::GuestKernel;
pub use parent::end_with_parent;
pub use vm::Vm;

/// Whether machines are emulated here, because this host has no KVM that works.
pub fn is_emulated() -> bool {
    accelerator::Accelerator::of_this_host() == accelerator::Accelerator::Tcg
}
