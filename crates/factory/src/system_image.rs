//! A disk with a whole system of a release, for machines on which something is tried.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::build_root::bootstrap;
use crate::command::{Log, run};
use crate::error::FactoryError;
use crate::files::{self, Lock, sha256_hex};
use crate::suite::Suite;

/// What a machine needs to start by itself and to have packages installed.
const SYSTEM: [&str; 5] = [
    "dbus",
    "init-system-helpers",
    "kmod",
    "systemd-sysv",
    "udev",
];

/// The image appears when it is whole, and machines on it may lose what they write.
const DPKG_OPTIONS: [&str; 1] = ["force-unsafe-io"];

/// Most that the file system can hold; the image is sparse.
const SIZE: &str = "2G";

/// Unpacks `$2` into the folder `$1` and makes the image `$3` of it.
const MAKE_IMAGE: &str = "set -eu
tar --numeric-owner --exclude='./dev/*' -x -C \"$1\" -f \"$2\"
truncate -s \"$4\" \"$3\"
PATH=\"$PATH:/usr/sbin:/sbin\" mke2fs -q -F -t ext4 -m 0 -d \"$1\" \"$3\"";

/// A raw ext4 image of a release with systemd and `packages`, from the cache if it is there. It
/// has no kernel. Whoever boots it leaves it as it is.
///
/// Owners and modes are the packages' own, also where somebody else than root makes it.
pub fn system_image(
    cache: &Path,
    suite: &Suite,
    packages: &[&str],
    log: &Log,
) -> Result<PathBuf, FactoryError> {
    let mut wanted = [&SYSTEM, packages].concat();
    wanted.sort_unstable();
    let name = format!(
        "{}_system_{}.ext4",
        suite.name(),
        &sha256_hex(wanted.join(" ").as_bytes())[..16]
    );
    let path = cache.join("roots").join(name);
    let _lock = Lock::wait(&files::beside(&path, "lock"))?;
    if !path.exists() {
        make(&path, suite, &wanted, log)?;
    }
    Ok(path)
}

fn make(path: &Path, suite: &Suite, packages: &[&str], log: &Log) -> Result<(), FactoryError> {
    let archive = files::beside(path, "tar");
    bootstrap(suite, packages, &DPKG_OPTIONS, &archive, log)?;
    let scratch = files::beside(path, "making");
    files::remove_dir(&scratch)?;
    files::make_dir(&scratch)?;
    let unfinished = files::beside(path, "unfinished");
    // `fakeroot` keeps owners and modes in mind that only root could give to a file.
    let mut image = Command::new("fakeroot");
    image.args(["sh", "-c", MAKE_IMAGE, "make-image"]);
    image.arg(&scratch).arg(&archive).arg(&unfinished).arg(SIZE);
    run(&mut image, "fakeroot", log)?;
    files::remove_dir(&scratch)?;
    fs::remove_file(&archive).map_err(FactoryError::file("remove", &archive))?;
    fs::rename(&unfinished, path).map_err(FactoryError::file("make", path))
}
