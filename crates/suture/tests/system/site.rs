//! What the stories share: a vendor's site in a folder of its own, fixes, and machines.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::Context as _;
use suture::scenario::{
    CommandFailed, Guest, KnownFix, PHONET, Picked, SECCOMP, Server, Vendor, pick,
};
use suture_factory::archive::{Archive, Package};
use suture_factory::{Log, ShippedKernel, default_cache, extract_sources, unified};
use suture_vm::{CommandOutput, VmBuilder};
use tempfile::TempDir;

/// A vendor's site that goes with the test.
pub struct Site {
    pub vendor: Vendor,
    pub picked: Picked,
    pub shipped: ShippedKernel,
    _folder: TempDir,
}

/// The kernel that all stories use, chosen once: the one that SUTURE_TEST_KERNEL names, else the
/// newest that lacks both known fixes.
pub fn picked() -> Picked {
    static PICKED: OnceLock<Picked> = OnceLock::new();
    let choose = || {
        let archive = Archive::new(&default_cache(), Log::none());
        let wanted = std::env::var("SUTURE_TEST_KERNEL").ok();
        let wanted = wanted.map(|release| release.parse().expect("a kernel release"));
        let picked = pick(&archive, &SECCOMP, wanted.as_ref()).expect("a kernel without the fix");
        assert_eq!(
            SECCOMP.fixed_in, PHONET.fixed_in,
            "one kernel has to lack both fixes"
        );
        eprintln!(
            "picked kernel {} ({}), fixed in {}",
            picked.release, picked.version, picked.fixed_version
        );
        picked
    };
    PICKED.get_or_init(choose).clone()
}

impl Site {
    /// A site with a module key and an empty repository.
    pub fn new() -> anyhow::Result<Self> {
        Self::of(picked())
    }

    /// The same for another kernel.
    pub fn of(picked: Picked) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("a folder for the site")?;
        let vendor = Vendor::new(&folder.path().join("vendor"), false)?;
        vendor.suture(&["module-key", "--output", "module-key"])?;
        vendor.set_up_repository()?;
        vendor.write("seccomp.json", SECCOMP.record.as_bytes())?;
        vendor.write("phonet.json", PHONET.record.as_bytes())?;
        let archive = Archive::new(&default_cache(), Log::none());
        let shipped = ShippedKernel::fetch(&default_cache(), &archive, &picked.release)?;
        Ok(Self {
            vendor,
            picked,
            shipped,
            _folder: folder,
        })
    }

    /// Writes the diff of a known fix.
    pub fn make_fix(&self, fix: &KnownFix, output: &str) -> anyhow::Result<()> {
        let Picked {
            version,
            fixed_version,
            ..
        } = &self.picked;
        let mut arguments = vec![
            "fix",
            "--package",
            fix.package,
            "--from",
            version,
            "--to",
            fixed_version,
            "--output",
            output,
        ];
        arguments.extend(fix.files);
        self.vendor.suture(&arguments)?;
        Ok(())
    }

    /// Builds from fixes (file names in the vendor's folder), with a signature and without the
    /// smoke test, for stories of something else.
    pub fn build(
        &self,
        version: &str,
        output: &str,
        more: &[&str],
    ) -> Result<String, CommandFailed> {
        let skip = ["--skip-smoke-test", "this story is of something else"];
        self.build_tested(version, output, &[&skip[..], more].concat())
    }

    /// The same with the smoke test.
    pub fn build_tested(
        &self,
        version: &str,
        output: &str,
        more: &[&str],
    ) -> Result<String, CommandFailed> {
        let mut arguments = vec![
            "build",
            "--kernel",
            self.picked.release.as_str(),
            "--patch-version",
            version,
            "--module-key",
            "module-key/module.key",
            "--module-certificate",
            "module-key/module.crt",
            "--output",
            output,
        ];
        arguments.extend(more);
        self.vendor.suture(&arguments)
    }

    /// Builds the fix of the seccomp hole as a version.
    pub fn build_seccomp(&self, version: &str, output: &str) -> anyhow::Result<()> {
        self.make_fix(&SECCOMP, "seccomp.diff")?;
        self.build(
            version,
            output,
            &["--fix", "seccomp.diff", "--advisory", "seccomp.json"],
        )?;
        Ok(())
    }

    /// The same with the smoke test.
    pub fn build_seccomp_tested(&self, version: &str, output: &str) -> anyhow::Result<String> {
        self.make_fix(&SECCOMP, "seccomp.diff")?;
        Ok(self.build_tested(
            version,
            output,
            &["--fix", "seccomp.diff", "--advisory", "seccomp.json"],
        )?)
    }

    /// Writes a diff that replaces a text in a file of this kernel's source.
    pub fn edit_source(
        &self,
        file: &str,
        from: &str,
        to: &str,
        output: &str,
    ) -> anyhow::Result<()> {
        let diff = self.edited(file, &[(from, to)])?;
        self.vendor.write(output, diff.as_bytes())
    }

    /// A diff that replaces texts, each once, in a file of this kernel's source.
    pub fn edited(&self, file: &str, edits: &[(&str, &str)]) -> anyhow::Result<String> {
        let folder = tempfile::tempdir()?;
        let archive = Archive::new(&default_cache(), Log::none());
        let package = Package {
            name: SECCOMP.package.to_owned(),
            version: self.picked.version.clone(),
        };
        extract_sources(
            &archive,
            &package,
            &[file.to_owned()],
            folder.path(),
            &Log::none(),
        )?;
        let before = std::fs::read_to_string(folder.path().join(file))?;
        let mut after = before.clone();
        for (from, to) in edits {
            anyhow::ensure!(after.contains(from), "`{file}` has no `{from}` any more");
            after = after.replacen(from, to, 1);
        }
        Ok(unified(file, Some(&before), Some(&after)))
    }

    pub fn serve(&self) -> anyhow::Result<Server> {
        self.vendor.serve("127.0.0.1:0")
    }

    pub fn machine(&self, server: &Server) -> anyhow::Result<VmBuilder> {
        Guest::builder(&self.vendor, server, &self.shipped)
    }
}

/// Copies a folder of files and folders.
pub fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// The command failed, and its messages hold all of these words.
#[track_caller]
pub fn assert_refused(output: &CommandOutput, words: &[&str]) {
    assert!(!output.success(), "it should have failed: {output:?}");
    for word in words {
        assert!(
            output.stderr.contains(word),
            "no `{word}` in:\n{}",
            output.stderr
        );
    }
}

/// No patch is in the kernel.
#[track_caller]
pub fn assert_nothing_loaded(guest: &Guest) {
    assert_eq!(guest.loaded_patches().unwrap(), Vec::<String>::new());
    let modules = guest.vm.shell("grep -c suture_ /proc/modules").unwrap();
    assert_eq!(modules.stdout.trim(), "0");
}

/// The kernel printed nothing that speaks of trouble.
#[track_caller]
pub fn assert_kernel_is_well(guest: &Guest) {
    let console = guest.vm.console();
    let faults = suture_vm::kernel_faults(&console);
    assert!(faults.is_empty(), "{faults:#?}");
}
