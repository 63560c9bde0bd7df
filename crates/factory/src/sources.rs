//! Source packages as a place to take fixes from.

use std::path::Path;
use std::process::Command;

use similar::TextDiff;

use crate::archive::{Archive, Package};
use crate::command::{Log, run};
use crate::error::FactoryError;
use crate::files;
use crate::paths::normal;

/// Writes chosen files of a source package below `folder`, at their paths in the tree. Files
/// that the package does not have are left out.
///
/// To find them the package has to be read from its beginning; so they are kept in the cache.
pub fn extract_sources(
    archive: &Archive,
    package: &Package,
    paths: &[String],
    folder: &Path,
    log: &Log,
) -> Result<(), FactoryError> {
    let kept = archive.kept_files(package);
    let inside = |path: &&String| normal(Path::new(path)).as_ref() == Some(*path);
    let paths: Vec<&String> = paths.iter().filter(inside).collect();
    let missing = paths.iter().filter(|path| !kept.join(path).exists());
    let missing: Vec<&String> = missing.copied().collect();
    if !missing.is_empty() {
        keep(archive, package, &missing, &kept, log)?;
    }
    files::make_dir(folder)?;
    for path in paths {
        let (from, to) = (kept.join(path), folder.join(path));
        if from.is_file() {
            files::make_dir(to.parent().unwrap_or(folder))?;
            std::fs::copy(&from, &to).map_err(FactoryError::file("write", &to))?;
        }
    }
    Ok(())
}

/// Takes files out of a package; each appears in `kept` when it is whole.
fn keep(
    archive: &Archive,
    package: &Package,
    paths: &[&String],
    kept: &Path,
    log: &Log,
) -> Result<(), FactoryError> {
    files::make_dir(kept)?;
    let scratch =
        tempfile::tempdir_in(kept).map_err(FactoryError::file("make a folder in", kept))?;
    // Reading ends with the last file found (141: the writer of the pipe was told so); tar
    // answers 2 for a name that isn't there, which the caller sees by the missing file.
    let members = paths.iter().map(|path| format!("{}/{path}", package.name));
    let members: Vec<String> = members.collect();
    unpack(
        archive,
        package,
        &members,
        scratch.path(),
        &[0, 2, 141],
        log,
    )?;
    for path in paths {
        let (from, to) = (scratch.path().join(path), kept.join(path));
        if from.is_file() {
            files::make_dir(to.parent().unwrap_or(kept))?;
            std::fs::rename(&from, &to).map_err(FactoryError::file("move", &from))?;
        }
    }
    Ok(())
}

/// Unpacks the whole source tree of a package into `folder`.
pub fn unpack_tree(
    archive: &Archive,
    package: &Package,
    folder: &Path,
    log: &Log,
) -> Result<(), FactoryError> {
    unpack(archive, package, &[], folder, &[0], log)
}

/// Unpacks members of the tar archive in a source package, all if none is named; `good` are the
/// exit codes that are no failure.
fn unpack(
    archive: &Archive,
    package: &Package,
    members: &[String],
    folder: &Path,
    good: &[u8],
    log: &Log,
) -> Result<(), FactoryError> {
    let deb = archive.fetch(package)?;
    files::make_dir(folder)?;
    let script = "set -o pipefail; deb=$1 folder=$2 good=$3; shift 3; \
        dpkg-deb --fsys-tarfile \"$deb\" | tar -xO --wildcards './usr/src/linux-source-*.tar.xz' | \
        tar -xJ -C \"$folder\" --strip-components=1 ${1:+--occurrence=1} \"$@\"; \
        status=$?; [[ \" $good \" = *\" $status \"* ]] || exit $status";
    let good: Vec<String> = good.iter().map(u8::to_string).collect();
    let mut command = Command::new("bash");
    command
        .args(["-c", script, "unpack"])
        .arg(&deb)
        .arg(folder)
        .arg(good.join(" "));
    run(command.args(members), "tar", log)?;
    Ok(())
}

/// The unified diff of some files between two source packages. A file that is the same in
/// both, or that neither has, is an error: then the versions are not those of the fix.
pub fn source_difference(
    archive: &Archive,
    from: &Package,
    to: &Package,
    paths: &[String],
    log: &Log,
) -> Result<String, FactoryError> {
    let folder = tempfile::tempdir().map_err(FactoryError::file("make", &std::env::temp_dir()))?;
    let (old, new) = (folder.path().join("a"), folder.path().join("b"));
    let (from_old, from_new) = rayon::join(
        || extract_sources(archive, from, paths, &old, log),
        || extract_sources(archive, to, paths, &new, log),
    );
    from_old.and(from_new)?;
    let mut diff = String::new();
    for path in paths {
        let before = optional_text(&old.join(path))?;
        let after = optional_text(&new.join(path))?;
        if before == after {
            let what = if before.is_none() {
                "lacks it in both"
            } else {
                "has the same in"
            };
            let why = format!("{} {what} {} and {}", from.name, from.version, to.version);
            return Err(FactoryError::BadFix {
                path: path.into(),
                why,
            });
        }
        diff.push_str(&unified(path, before.as_deref(), after.as_deref()));
    }
    Ok(diff)
}

fn optional_text(path: &Path) -> Result<Option<String>, FactoryError> {
    if path.exists() {
        files::read_text(path).map(Some)
    } else {
        Ok(None)
    }
}

/// The diff of one file as `diff -up a/PATH b/PATH` writes it, without times; `None` is a file
/// that is not there.
pub fn unified(path: &str, before: Option<&str>, after: Option<&str>) -> String {
    let name = |side: &str, text: Option<&str>| match text {
        Some(_) => format!("{side}/{path}"),
        None => "/dev/null".to_owned(),
    };
    TextDiff::from_lines(before.unwrap_or_default(), after.unwrap_or_default())
        .unified_diff()
        .context_radius(3)
        .header(&name("a", before), &name("b", after))
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A source package like the distribution's, with one file.
    fn source_package(downloads: &Path, package: &Package) {
        let folder = tempfile::tempdir().unwrap();
        let script = "mkdir -p tree/$1/kernel deb/DEBIAN deb/usr/src && \
            echo 'int x;' > tree/$1/kernel/x.c && \
            tar -cJf deb/usr/src/$1.tar.xz -C tree $1 && \
            printf 'Package: %s\\nVersion: %s\\nArchitecture: all\\nMaintainer: x\\n\
            Description: x\\n' $1 $2 > deb/DEBIAN/control && \
            dpkg-deb --build deb $3/$1_$2.deb";
        let mut shell = Command::new("sh");
        shell.args(["-ec", script, "sh", &package.name, &package.version]);
        shell.arg(downloads).current_dir(folder.path());
        run(&mut shell, "dpkg", &Log::none()).unwrap();
    }

    #[test]
    fn a_file_is_taken_out_of_a_package_once() {
        let cache = tempfile::tempdir().unwrap();
        let package = Package {
            name: "linux-source-9.9".to_owned(),
            version: "9.9.1-1".to_owned(),
        };
        let downloads = cache.path().join("packages");
        std::fs::create_dir(&downloads).unwrap();
        source_package(&downloads, &package);
        let archive = Archive::new(cache.path(), Log::none());
        let extract = |paths: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
            let (package, log) = (&package, &Log::none());
            extract_sources(&archive, package, &paths, folder.path(), log)?;
            Ok::<_, FactoryError>(std::fs::read_to_string(folder.path().join("kernel/x.c")).ok())
        };
        let paths = [
            "kernel/x.c",
            "kernel/none.c",
            "../linux-source-9.9_9.9.1-1.deb",
        ];
        assert_eq!(extract(&paths).unwrap().as_deref(), Some("int x;\n"));
        std::fs::write(downloads.join("linux-source-9.9_9.9.1-1.deb"), b"gone").unwrap();
        assert_eq!(extract(&paths[..1]).unwrap().as_deref(), Some("int x;\n"));
        assert_eq!(extract(&paths[1..]).unwrap(), None);
    }

    #[test]
    fn a_difference_is_a_diff_that_patch_takes() {
        assert_eq!(
            unified("kernel/x.c", Some("a\nb\n"), Some("a\nc\n")),
            "--- a/kernel/x.c\n+++ b/kernel/x.c\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
        );
        assert!(unified("x.c", None, Some("a\n")).starts_with("--- /dev/null\n+++ b/x.c\n"));
    }
}
