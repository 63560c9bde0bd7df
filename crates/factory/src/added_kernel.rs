//! A kernel that was built in a folder and is in no archive: its image, modules and source are
//! taken into the cache, where they lie as those of a package do.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use suture_kernel::vmlinux::Vmlinux;
use suture_kernel::{Architecture, KernelBuild};

use crate::command::{Log, run};
use crate::error::FactoryError;
use crate::files::{self, Lock};
use crate::progress::{Progress, step};
use crate::servable;
use crate::shipped::{self, ShippedKernel};
use crate::suite::Suite;
use crate::tree::{Tree, TreeSource};

/// Where Kbuild leaves what it made.
const IMAGE: &str = "arch/x86/boot/bzImage";
/// The record of a unit that every kernel has; it tells the compiler's name.
const RECORD: &str = "init/.main.o.cmd";
/// Largest file of a list or a record that is read: 64 MiB.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// What a build leaves beside the source; Kbuild's own cleaning would take minutes over it.
const MADE: [&str; 9] = [
    ".o", ".ko", ".a", ".cmd", ".mod.c", ".mod", ".order", ".dwo", ".builtin",
];

/// Takes the kernel that was built in `tree` into the cache, and prepares its source. `suite` is
/// the release of the distribution that has its compiler, if this machine lacks that.
pub fn add_kernel(
    tree: &Path,
    suite: Option<&str>,
    cache: &Path,
    log: &Log,
    progress: &dyn Progress,
) -> Result<KernelBuild, FactoryError> {
    let built = BuiltTree::open(tree)?;
    let folder = shipped::folder(cache, &built.build.release);
    let suite = suite
        .map(|name| Suite::named(cache, name, log))
        .transpose()?;
    step(progress, "taking image, modules and exports", || {
        let _lock = Lock::wait(&files::beside(&folder, "lock"))?;
        built.take_into(&folder, suite.as_ref())
    })?;
    let release = &built.build.release;
    let archive = ShippedKernel::archive(cache, release, log)?;
    let shipped = ShippedKernel::fetch(cache, &archive, release)?;
    step(progress, "copying and preparing the source", || {
        let source = |scratch: &Path| copy_source(&built.path, scratch, log);
        Tree::prepare_from(&shipped, &archive, TreeSource::Folder(&source), log)
    })?;
    Ok(built.build)
}

/// A kernel tree with a whole build in it.
struct BuiltTree {
    path: PathBuf,
    build: KernelBuild,
    configuration: String,
    symvers: String,
    /// The compiler as `--version` names it.
    compiler: String,
}

impl BuiltTree {
    fn open(path: &Path) -> Result<Self, FactoryError> {
        let path = path
            .canonicalize()
            .map_err(FactoryError::file("find the kernel tree", path))?;
        let text = |name: &str| bounded_text(&path.join(name));
        let configuration = text(".config")?;
        let image = files::read(&path.join(IMAGE))?;
        let unreadable = |why: String| not_built(&path, &why);
        let image = suture_kernel::image::vmlinux(&image);
        let image = image.map_err(|error| unreadable(error.to_string()))?;
        let vmlinux = Vmlinux::parse(&image).map_err(|error| unreadable(error.to_string()))?;
        let build = vmlinux.kernel_build(Architecture::Amd64);
        let build = build.map_err(|error| unreadable(error.to_string()))?;
        if let Some((setting, why)) = servable::obstacle(&configuration) {
            return Err(FactoryError::Unservable {
                release: build.release,
                setting,
                why,
            });
        }
        let banner = vmlinux.banner();
        let banner = banner.map_err(|error| unreadable(error.to_string()))?;
        let program = text(RECORD)?;
        let program = program.lines().next().and_then(program_of);
        let compiler = program.and_then(|program| compiler_of(banner, program));
        let compiler = compiler.ok_or_else(|| {
            not_built(
                &path,
                &format!("the banner of its image and `{RECORD}` do not tell a gcc"),
            )
        })?;
        Ok(Self {
            symvers: text("Module.symvers")?,
            path,
            build,
            configuration,
            compiler,
        })
    }

    /// Writes what the distribution's packages would have held. The version comes last: with it
    /// the kernel counts as fetched.
    fn take_into(&self, folder: &Path, suite: Option<&Suite>) -> Result<(), FactoryError> {
        let release = &self.build.release;
        let id = self.build.build_id.to_string();
        let kept = folder.join("version");
        if kept.exists() {
            if files::read_text(&kept)?.trim() == id {
                return Ok(());
            }
            return Err(FactoryError::KernelKnown {
                release: release.clone(),
                folder: folder.to_owned(),
            });
        }
        let modules = folder.join(format!("image/lib/modules/{release}"));
        copy(
            &self.path.join(IMAGE),
            &folder.join(format!("image/boot/vmlinuz-{release}")),
        )?;
        for name in module_paths(&bounded_text(&self.path.join("modules.order"))?) {
            copy(&self.path.join(&name), &modules.join("kernel").join(&name))?;
        }
        copy(
            &self.path.join("modules.builtin"),
            &modules.join("modules.builtin"),
        )?;
        let headers = folder.join(format!("headers/usr/src/linux-headers-{release}"));
        files::write(&headers.join(".config"), self.configuration.as_bytes())?;
        files::write(&headers.join("Module.symvers"), self.symvers.as_bytes())?;
        files::write(&folder.join(shipped::COMPILER), self.compiler.as_bytes())?;
        if let Some(suite) = suite {
            files::write(&folder.join("suite"), suite.name().as_bytes())?;
        }
        files::write(&folder.join(shipped::ADDED), b"")?;
        files::write(&kept, id.as_bytes())
    }
}

fn not_built(path: &Path, why: &str) -> FactoryError {
    FactoryError::NoBuiltKernel {
        path: path.to_owned(),
        why: why.to_owned(),
    }
}

fn bounded_text(path: &Path) -> Result<String, FactoryError> {
    let size = fs::metadata(path)
        .map_err(FactoryError::file("read", path))?
        .len();
    if size > MAX_TEXT_BYTES {
        return Err(not_built(path, "it has more than 64 MiB"));
    }
    files::read_text(path)
}

fn copy(from: &Path, to: &Path) -> Result<(), FactoryError> {
    files::write(to, &files::read(from)?)
}

/// The compiler's name in `cmd_init/main.o := gcc-9 -Wp,… `.
fn program_of(record: &str) -> Option<&str> {
    let (_, command) = record.split_once(" := ")?;
    command.split_whitespace().next()
}

/// What `PROGRAM --version` says first, from the image's `(gcc version 9.3.0 (Debian 9.3.0-22) )`
/// or `(gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld …)`.
fn compiler_of(banner: &str, program: &str) -> Option<String> {
    if let Some((_, told)) = banner.split_once("(gcc version ") {
        let (version, package) = told.split_once(' ')?;
        let package = package.strip_prefix('(')?.split(')').next()?;
        return Some(format!("{program} ({package}) {version}"));
    }
    let (_, told) = banner.split_once(&format!("({program} "))?;
    let (told, _) = told.split_once(", GNU ld ")?;
    Some(format!("{program} {told}"))
}

/// Paths of the modules in the tree; the list names them below `kernel/` or, later, as objects.
fn module_paths(order: &str) -> Vec<String> {
    let lines = order.lines().map(str::trim).filter(|line| !line.is_empty());
    let plain = lines.map(|line| line.strip_prefix("kernel/").unwrap_or(line));
    plain
        .map(|line| match line.strip_suffix(".o") {
            Some(stem) => format!("{stem}.ko"),
            None => line.to_owned(),
        })
        .collect()
}

/// Copies the source without what was built from it. Kbuild then takes away what it made for its
/// own use, so that it is made anew.
fn copy_source(from: &Path, to: &Path, log: &Log) -> Result<(), FactoryError> {
    files::make_dir(to)?;
    let mut tar = Command::new("bash");
    let excluded: String = MADE
        .iter()
        .map(|end| format!(" --exclude='*{end}'"))
        .collect();
    let script = format!(
        "set -o pipefail; tar -C \"$1\" --exclude=./.git --exclude=./vmlinux \
         --exclude=./.tmp_vmlinux* --exclude='./{IMAGE}'{excluded} -cf - . | tar -C \"$2\" -xf -"
    );
    tar.args(["-c", &script, "copy"]).arg(from).arg(to);
    run(&mut tar, "tar", log).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_told_by_image_and_record() {
        let record =
            "cmd_init/main.o := gcc-9 -Wp,-MD,init/.main.o.d -c -o init/main.o init/main.c";
        assert_eq!(program_of(record), Some("gcc-9"));
        let older =
            "Linux version 4.4.0-187-generic (a@b) (gcc version 9.3.0 (Debian 9.3.0-22) ) #1";
        assert_eq!(
            compiler_of(older, "gcc-9").as_deref(),
            Some("gcc-9 (Debian 9.3.0-22) 9.3.0")
        );
        let newer = "Linux version 6.1.0 (a@b) (gcc-12 (Debian 12.2.0-14) 12.2.0, GNU ld (GNU Binutils) 2.40) #1";
        assert_eq!(
            compiler_of(newer, "gcc-12").as_deref(),
            Some("gcc-12 (Debian 12.2.0-14) 12.2.0")
        );
        assert_eq!(
            compiler_of("Linux version 6.1 (clang version 14)", "clang"),
            None
        );
    }

    #[test]
    fn modules_are_listed_as_files_whatever_the_list_calls_them() {
        let paths = module_paths("kernel/fs/ext4/ext4.ko\nnet/x.o\nlib/y.ko\n\n");
        assert_eq!(paths, ["fs/ext4/ext4.ko", "net/x.ko", "lib/y.ko"]);
    }

    #[test]
    fn a_source_is_copied_without_what_was_built_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for name in [
            "init/main.c",
            "init/main.o",
            "init/.main.o.cmd",
            "vmlinux",
            "a/x.mod.c",
        ] {
            files::write(&from.join(name), b"").unwrap();
        }
        files::write(&from.join(IMAGE), b"").unwrap();
        copy_source(&from, &to, &Log::none()).unwrap();
        assert!(to.join("init/main.c").exists());
        for name in [
            "init/main.o",
            "init/.main.o.cmd",
            "vmlinux",
            "a/x.mod.c",
            IMAGE,
        ] {
            assert!(!to.join(name).exists(), "{name}");
        }
    }

    #[test]
    fn a_folder_without_a_built_kernel_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = BuiltTree::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains(".config"), "{error}");
    }
}
