//! The kernel tree of one release, prepared once and kept; and working copies of it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use suture_kernel::KernelRelease;

use crate::archive::Archive;
use crate::build_root::{BuildRoot, Place};
use crate::command::{Log, run};
use crate::error::FactoryError;
use crate::files::{self, Lock};
use crate::servable;
use crate::shipped::ShippedKernel;
use crate::sources::unpack_tree;

/// What Kconfig asks for where the kernel has parts in Rust.
const RUST_PACKAGES: [&str; 4] = ["bindgen", "rust-src", "rustc", "rustfmt"];

/// A source tree in which single units can be compiled as the distribution did.
#[derive(Debug, Clone)]
pub struct Tree {
    path: PathBuf,
    folder: PathBuf,
    compiler: Compiler,
    /// Whether the build may see a Rust compiler.
    rustc: bool,
    place: Place,
    release: KernelRelease,
    log: Log,
}

/// Where the source of a tree comes from.
#[derive(Clone, Copy)]
pub(crate) enum TreeSource<'a> {
    /// The archive's package.
    Archive,
    /// A folder in which the kernel was built; the function copies it.
    Folder(&'a (dyn Fn(&Path) -> Result<(), FactoryError> + Sync)),
}

/// The compiler by the name that the kernel's configuration records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    /// e.g. `gcc-12`.
    pub program: String,
    /// First line of `--version`.
    pub version: String,
}

impl Tree {
    /// Unpacks and prepares the tree, or takes it from the cache.
    pub fn prepare(
        shipped: &ShippedKernel,
        archive: &Archive,
        log: &Log,
    ) -> Result<Self, FactoryError> {
        Self::prepare_from(shipped, archive, TreeSource::Archive, log)
    }

    /// [`Self::prepare`], with the source from elsewhere.
    ///
    /// The configuration must come through `make olddefconfig` unchanged: if it does not, a
    /// tool is missing and structures could be laid out differently.
    pub(crate) fn prepare_from(
        shipped: &ShippedKernel,
        archive: &Archive,
        source: TreeSource<'_>,
        log: &Log,
    ) -> Result<Self, FactoryError> {
        let configuration = shipped.configuration()?;
        if let Some((setting, why)) = servable::obstacle(&configuration) {
            let release = shipped.release.clone();
            return Err(FactoryError::Unservable {
                release,
                setting,
                why,
            });
        }
        let prepared = shipped.folder().join("tree").exists();
        let fetch = || match source {
            TreeSource::Archive if !prepared => {
                if shipped.is_added() {
                    let release = shipped.release.clone();
                    return Err(FactoryError::SourceGone { release });
                }
                archive.fetch(&shipped.source).map(drop)
            }
            _ => Ok(()),
        };
        let (found, fetched) = rayon::join(
            || Compiler::of(&configuration, shipped, archive, log),
            fetch,
        );
        let (compiler, place) = found?;
        fetched?;
        let tree = Self {
            path: shipped.folder().join("tree"),
            folder: shipped.folder().to_owned(),
            compiler,
            rustc: servable::had_rustc(&configuration),
            place,
            release: shipped.release.clone(),
            log: log.clone(),
        };
        let _lock = tree.lock()?;
        if !tree.path.exists() {
            tree.make(shipped, archive, source, &configuration)?;
        }
        Ok(tree)
    }

    fn make(
        &self,
        shipped: &ShippedKernel,
        archive: &Archive,
        source: TreeSource<'_>,
        configuration: &str,
    ) -> Result<(), FactoryError> {
        let scratch = self.folder.join("tree.preparing");
        files::remove_dir(&scratch)?;
        match source {
            TreeSource::Archive => unpack_tree(archive, &shipped.source, &scratch, &self.log)?,
            TreeSource::Folder(copy) => {
                copy(&scratch)?;
                run(self.make_in(&scratch).arg("mrproper"), "make", &self.log)?;
            }
        }
        files::write(&scratch.join(".config"), configuration.as_bytes())?;
        files::write(
            &scratch.join("Module.symvers"),
            shipped.symvers_text()?.as_bytes(),
        )?;
        run(
            self.make_in(&scratch).arg("olddefconfig"),
            "make",
            &self.log,
        )?;
        let now = files::read_text(&scratch.join(".config"))?;
        if let Some(difference) = first_difference(configuration, &now) {
            let release = shipped.release.clone();
            return Err(FactoryError::ConfigurationChanged {
                release,
                difference,
            });
        }
        let mut prepare = self.make_in(&scratch);
        prepare
            .arg(format!("-j{}", jobs()))
            .args(["prepare", "modules_prepare"]);
        run(&mut prepare, "make", &self.log)?;
        fs::rename(&scratch, &self.path).map_err(FactoryError::file("make", &self.path))
    }

    /// `make` in a tree with everything that names the compiler and the release.
    fn make_in(&self, tree: &Path) -> Command {
        let mut make = self.place.command("make", tree);
        make.arg("-C").arg(tree);
        make.arg(format!("CC={}", self.compiler.program));
        make.arg(format!("HOSTCC={}", self.compiler.host_program()));
        make.arg(format!("KERNELRELEASE={}", self.release));
        make.args(["KBUILD_BUILD_USER=suture", "KBUILD_BUILD_HOST=suture"]);
        // Units in Rust are not patched, and the libraries that they need take minutes to make.
        make.arg("CONFIG_RUST=");
        if !self.rustc {
            make.arg("RUSTC=false");
        }
        make.env("KBUILD_BUILD_TIMESTAMP", "1970-01-01");
        make
    }

    /// `make` in the prepared tree.
    pub(crate) fn make_command(&self) -> Command {
        self.make_in(&self.path)
    }

    /// A program of the kernel's build, in the tree or in a copy of it.
    pub(crate) fn command(&self, program: &str, folder: &Path) -> Command {
        self.place.command(program, folder)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn release(&self) -> &KernelRelease {
        &self.release
    }

    pub fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    /// Where what was compiled from the unpatched tree is kept.
    pub(crate) fn units(&self) -> PathBuf {
        self.folder.join("units")
    }

    /// Where the commands by which Kbuild compiles the units are kept.
    pub(crate) fn commands(&self) -> PathBuf {
        self.folder.join("commands")
    }

    /// Where the commands by which Kbuild links a module are kept.
    pub(crate) fn links(&self) -> PathBuf {
        self.folder.join("links")
    }

    /// Where the `#include` lines of the tree are kept.
    pub(crate) fn inclusions(&self) -> PathBuf {
        self.folder.join("includes")
    }

    /// Keeps two processes from changing the tree at once.
    pub(crate) fn lock(&self) -> Result<Lock, FactoryError> {
        Lock::wait(&self.folder.join("tree.lock"))
    }

    /// A working copy for one build, of hard links, in which patched files take the place of
    /// the original ones. A copy is used again once its build has ended.
    pub(crate) fn working_copy(&self) -> Result<WorkingCopy, FactoryError> {
        for number in 0.. {
            let path = self.folder.join(format!("copy-{number}"));
            if let Some(lock) = Lock::try_now(&files::beside(&path, "lock"))? {
                return WorkingCopy::take(self, path, lock);
            }
        }
        unreachable!("an endless range ends")
    }
}

/// A working copy, locked for this build.
pub(crate) struct WorkingCopy {
    path: PathBuf,
    _lock: Lock,
}

impl WorkingCopy {
    fn take(tree: &Tree, path: PathBuf, lock: Lock) -> Result<Self, FactoryError> {
        let changed = files::beside(&path, "changed");
        if !path.exists() {
            let scratch = files::beside(&path, "copying");
            files::remove_dir(&scratch)?;
            let mut copy = Command::new("cp");
            run(
                copy.arg("-al").arg(tree.path()).arg(&scratch),
                "coreutils",
                &tree.log,
            )?;
            fs::rename(&scratch, &path).map_err(FactoryError::file("make", &path))?;
        } else if changed.exists() {
            for name in files::read_text(&changed)?.lines() {
                restore(&tree.path.join(name), &path.join(name))?;
            }
            fs::remove_file(&changed).map_err(FactoryError::file("remove", &changed))?;
        }
        Ok(Self { path, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds files that Kbuild has made in the tree since the copy was taken, because a unit
    /// needs them.
    pub fn complete(&self, tree: &Tree, needed: &[String]) -> Result<(), FactoryError> {
        for name in needed {
            let (original, copy) = (tree.path.join(name), self.path.join(name));
            if !original.exists() || copy.exists() {
                continue;
            }
            files::make_dir(copy.parent().unwrap_or(&self.path))?;
            match fs::hard_link(&original, &copy) {
                // Another unit needs it too.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                result => result.map_err(FactoryError::file("link", &copy))?,
            }
        }
        Ok(())
    }

    /// Puts patched files in place. The list of them is written first, so that whoever takes
    /// the copy next can undo it, even after a crash.
    pub fn replace(&self, replaced: &[(String, String)]) -> Result<(), FactoryError> {
        let names: String = replaced
            .iter()
            .map(|(name, _)| format!("{name}\n"))
            .collect();
        files::write(&files::beside(&self.path, "changed"), names.as_bytes())?;
        for (name, content) in replaced {
            // Written beside and renamed: the tree's own file is another name of the old inode.
            files::write(&self.path.join(name), content.as_bytes())?;
        }
        Ok(())
    }
}

/// Makes `copy` a link to `original` again; a file that the original tree lacks goes.
fn restore(original: &Path, copy: &Path) -> Result<(), FactoryError> {
    if copy.exists() {
        fs::remove_file(copy).map_err(FactoryError::file("remove", copy))?;
    }
    if original.exists() {
        fs::hard_link(original, copy).map_err(FactoryError::file("link", copy))?;
    }
    Ok(())
}

impl Compiler {
    /// The compiler that the configuration names, and where that very version is: on this
    /// machine, or in a build root of the release that the kernel is of.
    fn of(
        configuration: &str,
        shipped: &ShippedKernel,
        archive: &Archive,
        log: &Log,
    ) -> Result<(Self, Place), FactoryError> {
        let recorded = shipped.compiler(configuration)?;
        let program = recorded.split_whitespace().next().unwrap_or_default();
        let wanted = Self {
            program: program.to_owned(),
            version: recorded,
        };
        let here = wanted.check(&Place::Here, shipped);
        let (Err(_), Some(suite)) = (&here, archive.suite()) else {
            return here.map(|()| (wanted, Place::Here));
        };
        let mut packages = vec![wanted.host_program().to_owned()];
        if servable::has_rust(configuration) {
            packages.extend(RUST_PACKAGES.map(str::to_owned));
        }
        let root = BuildRoot::with(shipped.cache(), suite, &packages, &wanted.version, log)?;
        let shared = vec![shipped.folder().to_owned(), std::env::temp_dir()];
        let place = Place::In {
            root: root.clone(),
            shared,
        };
        if let Err(why) = wanted.check(&place, shipped) {
            // The release may have the compiler another day.
            root.discard()?;
            return Err(why);
        }
        Ok((wanted, place))
    }

    /// Asks the compiler in a place for its version.
    fn check(&self, place: &Place, shipped: &ShippedKernel) -> Result<(), FactoryError> {
        let mut version = place.command(&self.program, shipped.folder());
        let output = run(version.arg("--version"), "gcc-12", &Log::none())?;
        let found = String::from_utf8_lossy(&output);
        let found = found.lines().next().unwrap_or_default();
        if found == self.version {
            return Ok(());
        }
        Err(FactoryError::WrongCompiler {
            release: shipped.release.clone(),
            program: self.program.clone(),
            wanted: self.version.clone(),
            found: found.to_owned(),
            place: match place {
                Place::Here => "on this machine; install that very compiler",
                Place::In { .. } => {
                    "in its release of the distribution today; take a newer kernel of that release"
                }
            },
        })
    }

    /// The compiler for programs that run during the build.
    fn host_program(&self) -> &str {
        self.program
            .rsplit_once("gnu-")
            .map_or(self.program.as_str(), |(_, name)| name)
    }
}

/// How many processes to run at once.
pub(crate) fn jobs() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The first line that one text has and the other lacks, with a sign for which.
fn first_difference(before: &str, after: &str) -> Option<String> {
    use std::collections::HashSet;
    let settings = |text: &str| -> HashSet<String> {
        let kept = |line: &&str| line.starts_with("CONFIG_") || line.ends_with("is not set");
        text.lines().filter(kept).map(str::to_owned).collect()
    };
    let (before, after) = (settings(before), settings(after));
    let mut lines: Vec<String> = before
        .difference(&after)
        .map(|line| format!("-{line}"))
        .collect();
    lines.extend(after.difference(&before).map(|line| format!("+{line}")));
    lines.sort();
    lines.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_gets_what_was_made_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let tree = Tree {
            path: folder.path().join("tree"),
            folder: folder.path().to_owned(),
            compiler: Compiler {
                program: "gcc-12".into(),
                version: String::new(),
            },
            rustc: false,
            place: Place::Here,
            release: "6.1.0-53-amd64".parse().unwrap(),
            log: Log::none(),
        };
        files::write(&tree.path.join("security/x.c"), b"int x;\n").unwrap();
        let copy = tree.working_copy().unwrap();
        files::write(&tree.path.join("security/made/flask.h"), b"int y;\n").unwrap();
        let needed = ["security/x.c", "security/made/flask.h", "lib/none.h"].map(str::to_owned);
        copy.complete(&tree, &needed).unwrap();
        let made = files::read(&copy.path().join("security/made/flask.h")).unwrap();
        assert_eq!(made, b"int y;\n");
        assert!(!copy.path().join("lib").exists());
    }

    #[test]
    fn a_changed_setting_is_named() {
        let before = "# header\nCONFIG_A=y\n# CONFIG_B is not set\n";
        assert_eq!(
            first_difference(
                before,
                "# other header\nCONFIG_A=y\n# CONFIG_B is not set\n"
            ),
            None
        );
        assert_eq!(
            first_difference(before, "CONFIG_A=y\n").as_deref(),
            Some("-# CONFIG_B is not set")
        );
    }
}
