//! A build root: another release's compiler and what Kbuild needs, beside this machine's own.
//!
//! A kernel has to be compiled by the very compiler that it was built with, and that one runs
//! with the C library of its own release. `mmdebstrap` makes the root from packages that apt has
//! checked; `bwrap` runs programs in it, read-only, without network, and with the folders that
//! they work on at the paths that they have outside.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Log, run};
use crate::error::FactoryError;
use crate::files::{self, Lock, sha256_hex};
use crate::suite::Suite;

/// What Kbuild runs and links besides the compiler.
const KBUILD_NEEDS: [&str; 18] = [
    "bc",
    "bison",
    "cpio",
    "dwarves",
    "flex",
    "gawk",
    "kmod",
    "libdw-dev",
    "libelf-dev",
    "libssl-dev",
    "make",
    // Kconfig asks it for the kinds of keys that it knows.
    "openssl",
    "perl-base",
    "python3-minimal",
    "rsync",
    "xz-utils",
    "zlib1g-dev",
    "zstd",
];

/// Settings of this machine's apt that decide how an archive is reached and how old it may be.
const APT_SETTINGS: [&str; 4] = [
    "Acquire::http",
    "Acquire::https",
    "Acquire::Check-",
    "Acquire::Retries",
];

/// The root appears when it is whole, so its parts need not reach the disk one by one.
const DPKG_OPTIONS: [&str; 3] = [
    "force-unsafe-io",
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
];

/// What a process needs of the root; everything else is its own, or shared.
const TAKEN: [&str; 8] = [
    "bin", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr",
];

/// Where the programs of a kernel's build run.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// On this machine as it is.
    Here,
    In {
        root: BuildRoot,
        /// Folders that they read and write.
        shared: Vec<PathBuf>,
    },
}

impl Place {
    /// A program that runs in this place, in a folder.
    pub fn command(&self, program: &str, folder: &Path) -> Command {
        match self {
            // The shell goes there by itself, since a static program has to copy the tables of all
            // its memory for a child in another folder. It is on every machine, so nobody has to
            // be told that it is missing.
            Self::Here if program == "sh" => {
                let mut command = Command::new("env");
                command.arg("-C").arg(folder).arg(program);
                command
            }
            Self::Here => {
                let mut command = Command::new(program);
                command.current_dir(folder);
                command
            }
            Self::In { root, shared } => root.command(program, folder, shared),
        }
    }
}

/// A root folder in which programs of another release run.
#[derive(Debug, Clone)]
pub(crate) struct BuildRoot {
    path: PathBuf,
}

impl BuildRoot {
    /// The root with a compiler package of a release, from the cache if it is there. `compiler`
    /// is the wanted one's own words: a release that goes on gets a root for each compiler that
    /// kernels of it were built with.
    pub fn with(
        cache: &Path,
        suite: &Suite,
        packages: &[String],
        compiler: &str,
        log: &Log,
    ) -> Result<Self, FactoryError> {
        let path = cache.join("roots").join(name(suite, packages, compiler));
        let _lock = Lock::wait(&files::beside(&path, "lock"))?;
        let mut version = Command::new("bwrap");
        run(version.arg("--version"), "bubblewrap", log)?;
        if !path.exists() {
            make(&path, suite, packages, log)?;
        }
        Ok(Self { path })
    }

    /// Gives the root up, because it is not what was wanted.
    pub fn discard(self) -> Result<(), FactoryError> {
        let _lock = Lock::wait(&files::beside(&self.path, "lock"))?;
        files::remove_dir(&self.path)
    }

    /// A program in the root. `shared` are folders that it may read and write.
    fn command(&self, program: &str, folder: &Path, shared: &[PathBuf]) -> Command {
        let mut bwrap = Command::new("bwrap");
        bwrap.args(["--unshare-all", "--die-with-parent"]);
        for name in TAKEN {
            let (source, name) = (self.path.join(name), Path::new("/").join(name));
            if !source.exists() {
                continue;
            }
            if let Ok(target) = fs::read_link(&source) {
                bwrap.arg("--symlink").arg(target).arg(name);
            } else {
                bwrap.arg("--ro-bind").arg(&source).arg(name);
            }
        }
        bwrap.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
        for folder in shared {
            bwrap.arg("--bind").arg(folder).arg(folder);
        }
        bwrap.arg("--chdir").arg(folder);
        bwrap.args(["--setenv", "PATH", "/usr/sbin:/usr/bin:/sbin:/bin", "--"]);
        bwrap.arg(program);
        bwrap
    }
}

/// Another list of packages, or another compiler, is another root.
fn name(suite: &Suite, packages: &[String], compiler: &str) -> String {
    let packages = packages.join("_");
    let hash = sha256_hex(format!("{compiler} {}", KBUILD_NEEDS.join(" ")).as_bytes());
    format!("{}_{packages}_{}", suite.name(), &hash[..16])
}

/// `mmdebstrap` writes a tar archive, so that the files of the root belong to whoever runs this,
/// also where it had to work with the user names of another range.
fn make(path: &Path, suite: &Suite, packages: &[String], log: &Log) -> Result<(), FactoryError> {
    let archive = files::beside(path, "tar");
    let packages = packages.iter().map(String::as_str);
    let wanted: Vec<&str> = packages.chain(KBUILD_NEEDS).collect();
    bootstrap(suite, &wanted, &DPKG_OPTIONS, &archive, log)?;
    let scratch = files::beside(path, "making");
    files::remove_dir(&scratch)?;
    files::make_dir(&scratch)?;
    let mut tar = Command::new("tar");
    tar.args(["--no-same-owner", "--exclude=./dev/*", "-x", "-C"]);
    run(tar.arg(&scratch).arg("-f").arg(&archive), "tar", log)?;
    fs::remove_file(&archive).map_err(FactoryError::file("remove", &archive))?;
    fs::rename(&scratch, path).map_err(FactoryError::file("make the folder", path))
}

/// Makes a tar archive of a root of a release with packages and all that they need.
pub(crate) fn bootstrap(
    suite: &Suite,
    packages: &[&str],
    dpkg_options: &[&str],
    archive: &Path,
    log: &Log,
) -> Result<(), FactoryError> {
    files::make_dir(archive.parent().unwrap_or(archive))?;
    let mut mmdebstrap = Command::new("mmdebstrap");
    mmdebstrap.args(["--variant=apt", "--format=tar", "--architectures=amd64"]);
    for option in dpkg_options {
        mmdebstrap.arg(format!("--dpkgopt={option}"));
    }
    mmdebstrap.arg(format!("--include={}", packages.join(",")));
    for setting in apt_settings(log)? {
        mmdebstrap.arg(format!("--aptopt={setting}"));
    }
    mmdebstrap
        .arg(suite.name())
        .arg(archive)
        .args(suite.sources());
    run(&mut mmdebstrap, "mmdebstrap", log)?;
    Ok(())
}

fn apt_settings(log: &Log) -> Result<Vec<String>, FactoryError> {
    let output = run(
        Command::new("apt-config").args(["dump", "--no-empty", "Acquire"]),
        "apt",
        log,
    )?;
    let text = String::from_utf8_lossy(&output).into_owned();
    let wanted = |line: &&str| APT_SETTINGS.iter().any(|name| line.starts_with(name));
    Ok(text.lines().filter(wanted).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_in_a_root_writes_only_to_what_is_shared() {
        let shared = tempfile::tempdir().unwrap();
        let place = Place::In {
            root: BuildRoot {
                path: PathBuf::from("/"),
            },
            shared: vec![shared.path().to_owned()],
        };
        let shell = |script: &str| {
            let mut command = place.command("sh", shared.path());
            run(command.args(["-c", script]), "bubblewrap", &Log::none())
        };
        shell("pwd > here").unwrap();
        let here = files::read_text(&shared.path().join("here")).unwrap();
        assert_eq!(Path::new(here.trim()), shared.path());
        let refused = shell("touch /usr/written").unwrap_err().to_string();
        assert!(refused.contains("Read-only file system"), "{refused}");
        assert!(
            refused.starts_with("`sh -c touch /usr/written` failed"),
            "{refused}"
        );
    }
}
