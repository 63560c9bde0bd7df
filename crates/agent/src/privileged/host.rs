//! The running kernel itself, asked by a process that may.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::io::Errno;
use suture_advisory::PatchVersion;
use suture_protocol::HardwareId;

use super::{LoadError, Privileged};
use crate::config;
use crate::facts;
use crate::failure::Failure;
use crate::files;
use crate::livepatch_sysfs::{self, Running, Side, Task};
use crate::mode::Brake;
use crate::one_at_a_time;
use crate::patches::{Patches, VerifiedPatch};
use crate::paths::Paths;

/// See [`Privileged`].
#[derive(Debug, Clone)]
pub struct HostKernel {
    paths: Paths,
}

impl HostKernel {
    pub fn new(paths: Paths) -> Self {
        Self { paths }
    }

    /// Reads the patch from the cache and proves it from the trusted root on.
    fn prove(&self, version: PatchVersion) -> Result<VerifiedPatch, Failure> {
        let brake = Brake::read(&self.paths);
        if !brake.mode.may_apply() {
            return Err(brake.refusal(version));
        }
        self.is_newest(version)?;
        let kernel =
            facts::kernel_build(&self.paths).map_err(|error| Failure::from_error(&error))?;
        let root = config::load(&self.paths)?.root;
        let scratch = self.paths.keeper_dir();
        files::create_dir(&scratch, 0o700).map_err(|error| {
            Failure::new(format!("cannot make `{}`", scratch.display())).because(error.to_string())
        })?;
        let patches = Patches::kept_by_another(&root, &self.paths.state_dir(), &scratch);
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime
            .map_err(|error| Failure::new("cannot check the patch").because(error.to_string()))?;
        Ok(runtime.block_on(patches.offline(&kernel, version))?)
    }

    /// A version never goes back to an earlier one while the machine is up.
    fn is_newest(&self, version: PatchVersion) -> Result<(), Failure> {
        let running = Running::read(&self.paths).map_err(|error| {
            Failure::new("cannot read the kernel's live patches").because(error.to_string())
        })?;
        match running.in_force.max(running.in_transition) {
            Some(newest) if newest >= version => Err(Failure::new(format!(
                "patch {version} is not applied, the kernel has {newest}"
            ))
            .hint("a patch is replaced by later ones alone")),
            _ => Ok(()),
        }
    }
}

impl Privileged for HostKernel {
    fn load(&self, version: PatchVersion) -> Result<(), LoadError> {
        let patch = self.prove(version).map_err(LoadError::Refused)?;
        let insert = || insert(&patch.module);
        one_at_a_time::replace(&self.paths, version, insert).map_err(LoadError::Kernel)
    }

    fn unload(&self, version: PatchVersion) -> io::Result<()> {
        // It would go on in memory that is given to others.
        if livepatch_sysfs::task_in_module(&self.paths, version).is_some() {
            return Err(Errno::BUSY.into());
        }
        let name = CString::new(version.module_name())?;
        // O_NONBLOCK: fail instead of waiting for users (delete_module(2)).
        let flags = OFlags::NONBLOCK.bits();
        Ok(rustix::system::delete_module(&name, flags as i32)?)
    }

    fn reverse(&self, version: PatchVersion) -> io::Result<()> {
        livepatch_sysfs::reverse(&self.paths, version)
    }

    fn nudge(&self, version: PatchVersion) -> io::Result<bool> {
        livepatch_sysfs::nudge(&self.paths, version)
    }

    fn tasks(&self, version: PatchVersion, side: Side) -> Vec<Task> {
        livepatch_sysfs::tasks(&self.paths, version, side)
    }

    fn hardware(&self) -> Option<HardwareId> {
        facts::hardware_id(&self.paths)
    }

    fn kernel_log(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NONBLOCK.bits() as i32)
            .open(self.paths.kernel_log())
    }
}

/// The very bytes that were proven go into a sealed memory file, which nobody can change between
/// the check and the load; finit_module(2) takes them from there.
fn insert(module: &[u8]) -> io::Result<()> {
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
            "if /sys/kernel/security/lockdown says `[integrity]` or `[confidentiality]`, as under \
             Secure Boot, the kernel takes only modules that a key of its own signed: enrol the \
             vendor's module signing certificate (`mokutil --import`) and restart; if \
             /proc/sys/kernel/modules_disabled says 1, it takes none until a restart",
        ),
        Some(Errno::EXIST) => failure.hint(format!(
            "the module is loaded, but its patch is not in force; `rmmod {module_name}` lets it \
             be loaded anew, once no `/proc/*/task/*/stack` names it"
        )),
        Some(Errno::BUSY) => failure.hint(
            "another live patch is in transition, or, before Linux 4.12, disabled and still \
             registered; it is tried again",
        ),
        Some(Errno::NOSYS) => failure.hint("this kernel cannot load modules"),
        _ => failure.hint("the kernel's reason is in its log: `dmesg | tail`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeTree, version};

    #[test]
    fn refusals_come_with_advice() {
        let explain = |errno: Errno| explain("suture_104_1", &errno.into()).to_string();
        insta::assert_snapshot!(explain(Errno::KEYREJECTED), @r"
        error: the kernel refused the module `suture_104_1`
          Key was rejected by service (os error 129)

        hint: this kernel accepts signed modules only: enrol the vendor's module signing certificate (`mokutil --import`) and restart
        ");
        assert!(explain(Errno::EXIST).contains("`rmmod suture_104_1`"));
        assert!(explain(Errno::PERM).contains("Secure Boot"));
        assert!(explain(Errno::INVAL).contains("dmesg"));
    }

    #[test]
    fn bytes_that_are_no_module_never_get_past_the_kernel() {
        assert!(insert(b"not a module").is_err());
        let kernel = HostKernel::new(Paths::new("/nonexistent"));
        assert!(kernel.unload(version("4294967295.1")).is_err());
    }

    fn refusal(tree: &FakeTree, text: &str) -> String {
        let kernel = HostKernel::new(tree.paths());
        match kernel.load(version(text)) {
            Err(LoadError::Refused(failure)) => failure.message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_not_proven_here_is_not_loaded_whoever_asks() {
        let tree = FakeTree::new();
        assert!(refusal(&tree, "2.1").starts_with("cannot read the trusted root"));
        tree.write("etc/livepatch/root.json", b"{}");
        assert!(refusal(&tree, "2.1").contains("no metadata of an earlier update"));
        tree.patch("suture_2_1", true, Some(false));
        assert_eq!(
            refusal(&tree, "2.1"),
            "patch 2.1 is not applied, the kernel has 2.1"
        );
        tree.write("etc/livepatch/mode", b"no-apply\n");
        assert!(refusal(&tree, "3.1").contains("a brake is on"));
    }

    #[test]
    fn the_daemons_user_cannot_name_another_root() {
        let tree = FakeTree::new();
        tree.write("run/evil.json", b"{}");
        let evil = format!("root = \"{}\"\n", tree.path("run/evil.json").display());
        tree.write("run/livepatch/config.d/50-evil.toml", evil.as_bytes());
        assert!(refusal(&tree, "2.1").contains("etc/livepatch/root.json"));
        tree.write("etc/livepatch/config.d/50-site.toml", evil.as_bytes());
        assert!(!refusal(&tree, "2.1").contains("etc/livepatch/root.json"));
    }
}
