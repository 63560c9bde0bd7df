//! Hands a module to the kernel.

use std::ffi::CStr;
use std::io;

use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::io::Errno;

use crate::failure::Failure;

/// Loads a module that was verified before, and takes one out whose patch is in no use.
pub trait ModuleLoader: Send + Sync {
    fn load(&self, module: &[u8]) -> io::Result<()>;

    /// The kernel refuses while anything uses the module.
    fn unload(&self, name: &CStr) -> io::Result<()>;
}

/// The running kernel, by finit_module(2).
#[derive(Debug, Clone, Copy)]
pub struct HostKernel;

impl ModuleLoader for HostKernel {
    /// The very bytes that were verified go into a sealed memory file, which nobody can change
    /// between the check and the load.
    fn load(&self, module: &[u8]) -> io::Result<()> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create(c"livepatch", flags)?;
        let mut rest = module;
        while !rest.is_empty() {
            let written = rustix::io::write(&file, rest)?;
            rest = rest.get(written..).unwrap_or_default();
        }
        let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(rustix::system::finit_module(&file, c"", 0)?)
    }

    fn unload(&self, name: &CStr) -> io::Result<()> {
        // O_NONBLOCK: fail instead of waiting for users (delete_module(2)).
        let flags = OFlags::NONBLOCK.bits();
        Ok(rustix::system::delete_module(name, flags as i32)?)
    }
}

/// What a refusal of finit_module(2) means, and what to do about it.
pub fn explain(module_name: &str, error: &io::Error) -> Failure {
    let failure = Failure::new(format!("the kernel refused the module `{module_name}`"))
        .because(error.to_string());
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::KEYREJECTED | Errno::NOKEY) => failure.hint(
            "this kernel accepts signed modules only: enrol the vendor's module signing \
             certificate (`mokutil --import`) and restart",
        ),
        Some(Errno::PERM) => failure.hint(
            "the kernel is locked down or module loading is switched off: see \
             /sys/kernel/security/lockdown and /proc/sys/kernel/modules_disabled",
        ),
        Some(Errno::EXIST) => failure.hint(format!(
            "the module is loaded, but its patch is not in force; `rmmod {module_name}` lets it \
             be loaded anew"
        )),
        Some(Errno::BUSY) => failure.hint("another live patch is in transition; it is tried again"),
        Some(Errno::NOSYS) => failure.hint("this kernel cannot load modules"),
        _ => failure.hint("the kernel's reason is in its log: `dmesg | tail`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_come_with_advice() {
        let explain = |errno: Errno| explain("suture_104_1", &errno.into()).to_string();
        insta::assert_snapshot!(explain(Errno::KEYREJECTED), @r"
        error: the kernel refused the module `suture_104_1`
          Key was rejected by service (os error 129)

        hint: this kernel accepts signed modules only: enrol the vendor's module signing certificate (`mokutil --import`) and restart
        ");
        assert!(explain(Errno::EXIST).contains("`rmmod suture_104_1`"));
        assert!(explain(Errno::INVAL).contains("dmesg"));
    }

    #[test]
    fn bytes_that_are_no_module_never_get_past_the_kernel() {
        assert!(HostKernel.load(b"not a module").is_err());
        assert!(HostKernel.unload(c"suture_no_such_module").is_err());
    }
}
