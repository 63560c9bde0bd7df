//! What the distribution shipped for one kernel release: its packages, unpacked and read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use suture_kernel::kallsyms::Kallsyms;
use suture_kernel::symvers::Symvers;
use suture_kernel::vmlinux::Vmlinux;
use suture_kernel::{Architecture, KernelBuild, KernelRelease};

use crate::archive::{Archive, Package};
use crate::command::Log;
use crate::error::FactoryError;
use crate::files::{self, Lock};
use crate::suite::Suite;

/// In a kernel's folder: the compiler's own words, where the configuration does not have them.
pub(crate) const COMPILER: &str = "compiler";
/// In a kernel's folder: it was added from a folder and is in no archive.
pub(crate) const ADDED: &str = "added";

/// The folders and packages of one kernel release in the cache.
#[derive(Debug, Clone)]
pub struct ShippedKernel {
    pub release: KernelRelease,
    pub architecture: Architecture,
    /// Version of the packages, and so of the source that the kernel was built from.
    pub version: String,
    pub source: Package,
    folder: PathBuf,
}

impl ShippedKernel {
    /// The release of the distribution that offers the kernel: the one that it was fetched from
    /// before, the machine's own, or another one on the machine's mirror.
    pub fn archive(
        cache: &Path,
        release: &KernelRelease,
        log: &Log,
    ) -> Result<Archive, FactoryError> {
        let folder = folder(cache, release);
        let suite = folder.join("suite");
        if suite.exists() {
            let suite = Suite::named(cache, files::read_text(&suite)?.trim(), log)?;
            return Ok(Archive::of_suite(cache, suite, log.clone()));
        }
        if folder.join("version").exists() {
            return Ok(Archive::new(cache, log.clone()));
        }
        let image = format!("linux-image-{release}");
        let found = Archive::find(cache, log, |archive| {
            Ok(!archive.versions(&image)?.is_empty())
        })?;
        found.ok_or_else(|| FactoryError::NotInArchive {
            package: image,
            wanted: " in any release of the distribution".to_owned(),
        })
    }

    /// Finds the release in the archive and unpacks its image and headers, once.
    pub fn fetch(
        cache: &Path,
        archive: &Archive,
        release: &KernelRelease,
    ) -> Result<Self, FactoryError> {
        let architecture = Architecture::Amd64;
        let folder = folder(cache, release);
        let _lock = Lock::wait(&files::beside(&folder, "lock"))?;
        let kept = folder.join("version");
        if folder.join(ADDED).exists() {
            let version = files::read_text(&kept)?.trim().to_owned();
            return Ok(Self {
                release: release.clone(),
                architecture,
                source: Package {
                    name: "kernel-tree".to_owned(),
                    version: version.clone(),
                },
                version,
                folder,
            });
        }
        let version = if kept.exists() {
            files::read_text(&kept)?.trim().to_owned()
        } else {
            archive.newest(&format!("linux-image-{release}"))?.version
        };
        let image = Package {
            name: format!("linux-image-{release}"),
            version: version.clone(),
        };
        archive.unpack(&image, &folder.join("image"))?;
        if !folder
            .join(format!("image/boot/vmlinuz-{release}"))
            .exists()
        {
            // Newer packages only name those that have the image, the modules, and lists of them.
            for part in ["binary", "modules", "base"] {
                let package = Package {
                    name: format!("linux-{part}-{release}"),
                    version: version.clone(),
                };
                archive.unpack(&package, &folder.join(part))?;
            }
        }
        join_lists(&folder, release)?;
        let headers = Package {
            name: format!("linux-headers-{release}"),
            version: version.clone(),
        };
        archive.unpack(&headers, &folder.join("headers"))?;
        if let Some(suite) = archive.suite() {
            files::write(&folder.join("suite"), suite.name().as_bytes())?;
        }
        files::write(&kept, version.as_bytes())?;
        let source = Package {
            name: source_package(release)?,
            version: version.clone(),
        };
        Ok(Self {
            release: release.clone(),
            architecture,
            version,
            source,
            folder,
        })
    }

    /// Whether it was added from a folder, and so is in no archive.
    pub(crate) fn is_added(&self) -> bool {
        self.folder.join(ADDED).exists()
    }

    /// The first line of the compiler's `--version`, as configuration or image record it.
    pub(crate) fn compiler(&self, configuration: &str) -> Result<String, FactoryError> {
        let recorded = configuration
            .lines()
            .find_map(|line| line.strip_prefix("CONFIG_CC_VERSION_TEXT="));
        if let Some(recorded) = recorded {
            return Ok(recorded.trim_matches('"').to_owned());
        }
        let kept = self.folder.join(COMPILER);
        if kept.exists() {
            return files::read_text(&kept);
        }
        Err(FactoryError::PackageIncomplete {
            release: self.release.clone(),
            what: "CONFIG_CC_VERSION_TEXT in its configuration".to_owned(),
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The factory's cache, in which the kernel's folder is.
    pub(crate) fn cache(&self) -> &Path {
        self.folder.ancestors().nth(2).unwrap_or(&self.folder)
    }

    /// The compressed image, as a boot loader takes it.
    pub fn vmlinuz(&self) -> PathBuf {
        let release = &self.release;
        self.first_of(&[
            format!("image/boot/vmlinuz-{release}"),
            format!("binary/usr/lib/modules/{release}/vmlinuz"),
        ])
    }

    /// The folder `lib/modules/RELEASE` of the package that has the modules.
    pub fn modules(&self) -> PathBuf {
        let release = &self.release;
        self.first_of(&[
            format!("modules/usr/lib/modules/{release}"),
            format!("image/usr/lib/modules/{release}"),
            format!("image/lib/modules/{release}"),
        ])
    }

    /// The first of these places in the unpacked packages that is there, or the last.
    fn first_of(&self, places: &[String]) -> PathBuf {
        let mut paths = places.iter().map(|place| self.folder.join(place));
        let last = paths.next_back().unwrap_or_default();
        paths.find(|path| path.exists()).unwrap_or(last)
    }

    fn headers(&self) -> PathBuf {
        self.folder
            .join(format!("headers/usr/src/linux-headers-{}", self.release))
    }

    /// The configuration that the kernel was built with. The one in `/boot` lacks four lines.
    pub fn configuration(&self) -> Result<String, FactoryError> {
        files::read_text(&self.headers().join(".config"))
    }

    /// `Module.symvers` as text.
    pub fn symvers_text(&self) -> Result<String, FactoryError> {
        files::read_text(&self.headers().join("Module.symvers"))
    }

    /// The exported symbols and their versions.
    pub fn symvers(&self) -> Result<Symvers, FactoryError> {
        Symvers::parse(&self.symvers_text()?).map_err(|error| self.unreadable(error))
    }

    /// The uncompressed image, kept beside the packages once made.
    pub fn vmlinux(&self) -> Result<Vec<u8>, FactoryError> {
        let path = self.folder.join("vmlinux");
        if path.exists() {
            return files::read(&path);
        }
        let compressed = files::read(&self.vmlinuz())?;
        let bytes =
            suture_kernel::image::vmlinux(&compressed).map_err(|error| self.unreadable(error))?;
        files::write(&path, &bytes)?;
        Ok(bytes)
    }

    /// The build that the image is, after a check that it is the release it is packed as.
    pub fn build(&self, vmlinux: &Vmlinux<'_>) -> Result<KernelBuild, FactoryError> {
        let build = vmlinux
            .kernel_build(self.architecture)
            .map_err(|error| self.unreadable(error))?;
        if build.release != self.release {
            return Err(self.unreadable(format!("its image says it is {}", build.release)));
        }
        Ok(build)
    }

    /// The symbols of the image.
    pub fn kallsyms(&self, vmlinux: &Vmlinux<'_>) -> Result<Kallsyms, FactoryError> {
        Kallsyms::recover(vmlinux).map_err(|error| self.unreadable(error))
    }

    /// A shipped module by the name it has in memory, decompressed.
    pub fn module(&self, name: &str) -> Result<Vec<u8>, FactoryError> {
        let found = find_module(&self.modules().join("kernel"), name)?;
        let path = found.ok_or_else(|| FactoryError::PackageIncomplete {
            release: self.release.clone(),
            what: format!("module {name}"),
        })?;
        let bytes = files::read(&path)?;
        let plain = suture_kernel::image::decompress_module(&bytes)
            .map_err(|error| self.unreadable(error))?;
        Ok(plain.into_owned())
    }

    /// All shipped modules, by the names that they have in memory.
    pub(crate) fn module_names(&self) -> Result<BTreeSet<String>, FactoryError> {
        let mut found = BTreeSet::new();
        collect_modules(&self.modules().join("kernel"), &mut found)?;
        Ok(found)
    }

    fn unreadable(&self, why: impl std::fmt::Display) -> FactoryError {
        FactoryError::ShippedKernel {
            release: self.release.clone(),
            why: why.to_string(),
        }
    }
}

/// Where a kernel is kept.
pub(crate) fn folder(cache: &Path, release: &KernelRelease) -> PathBuf {
    let architecture = Architecture::Amd64;
    cache
        .join("kernels")
        .join(format!("{release}_{architecture}"))
}

/// Puts the lists of modules (`modules.builtin`, `modules.order`) beside the modules, where they
/// are once the packages are installed.
fn join_lists(folder: &Path, release: &KernelRelease) -> Result<(), FactoryError> {
    let place = format!("usr/lib/modules/{release}");
    let (lists, modules) = (
        folder.join("base").join(&place),
        folder.join("modules").join(&place),
    );
    if !lists.exists() {
        return Ok(());
    }
    let fail = || FactoryError::file("list", &lists);
    for entry in std::fs::read_dir(&lists).map_err(fail())? {
        let list = entry.map_err(fail())?.path();
        let Some(name) = list.file_name().filter(|_| list.is_file()) else {
            continue;
        };
        let joined = modules.join(name);
        if name.to_string_lossy().starts_with("modules.") && !joined.exists() {
            files::write(&joined, &files::read(&list)?)?;
        }
    }
    Ok(())
}

/// `linux-source-6.1` for `6.1.0-53-amd64`, `linux-source-6.12` for `6.12.117+deb13-amd64`.
fn source_package(release: &KernelRelease) -> Result<String, FactoryError> {
    let mut numbers = release.as_str().split('.');
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if minor.bytes().all(|byte| byte.is_ascii_digit()) => {
            Ok(format!("linux-source-{major}.{minor}"))
        }
        _ => Err(FactoryError::UnservedRelease {
            release: release.clone(),
            why: "its name does not begin with MAJOR.MINOR",
        }),
    }
}

/// Looks for `NAME.ko`, also compressed, with `-` and `_` alike.
fn find_module(folder: &Path, name: &str) -> Result<Option<PathBuf>, FactoryError> {
    let fail = || FactoryError::file("list", folder);
    for entry in std::fs::read_dir(folder).map_err(fail())? {
        let path = entry.map_err(fail())?.path();
        if path.is_dir() {
            if let Some(found) = find_module(&path, name)? {
                return Ok(Some(found));
            }
        } else if module_name(&path).is_some_and(|found| found == name) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn collect_modules(folder: &Path, found: &mut BTreeSet<String>) -> Result<(), FactoryError> {
    let fail = || FactoryError::file("list", folder);
    for entry in std::fs::read_dir(folder).map_err(fail())? {
        let path = entry.map_err(fail())?.path();
        if path.is_dir() {
            collect_modules(&path, found)?;
        } else {
            found.extend(module_name(&path));
        }
    }
    Ok(())
}

fn module_name(path: &Path) -> Option<String> {
    let file = path.file_name()?.to_str()?;
    let (stem, extension) = file.split_once('.')?;
    (extension == "ko" || extension.starts_with("ko.")).then(|| stem.replace('-', "_"))
}

/// A stock kernel on offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockKernel {
    pub release: KernelRelease,
    /// Version of its packages.
    pub version: String,
    /// Whether the archive has the very source that it was built from.
    pub has_source: bool,
}

/// The stock kernels that the archive offers, newest first; of one series (`6.12`), or of all.
pub fn stock_kernels(
    archive: &Archive,
    series: Option<&str>,
) -> Result<Vec<StockKernel>, FactoryError> {
    let series = series.map_or("[0-9]+\\.[0-9]+".to_owned(), |series| {
        series.replace('.', "\\.")
    });
    let images = format!("^linux-image-{series}\\.[0-9]+(-[0-9]+)?[^-]*-amd64$");
    let mut names = archive.names(&images)?;
    names.extend(archive.names(&format!("^linux-source-{series}$"))?);
    let versions = archive.all_versions(&names)?;
    let mut found = Vec::new();
    for (name, offered) in &versions {
        let release = name.strip_prefix("linux-image-").map(str::parse);
        let (Some(Ok(release)), Some(version)) = (release, offered.first()) else {
            continue;
        };
        let sources = source_package(&release).ok();
        let sources = sources.and_then(|package| versions.get(&package));
        found.push(StockKernel {
            release,
            version: version.clone(),
            has_source: sources.is_some_and(|sources| sources.contains(version)),
        });
    }
    let mut failure = None;
    found.sort_by(|left, right| {
        crate::archive::compare_versions(&right.version, &left.version).unwrap_or_else(|error| {
            failure = Some(error);
            std::cmp::Ordering::Equal
        })
    });
    failure.map_or(Ok(found), Err)
}

/// Release and version of the stock kernels of a series, newest first:
/// `("6.1.0-53-amd64", "6.1.187-1")`.
pub fn stock_releases(
    archive: &Archive,
    series: &str,
) -> Result<Vec<(KernelRelease, String)>, FactoryError> {
    let kernels = stock_kernels(archive, Some(series))?.into_iter();
    Ok(kernels
        .map(|kernel| (kernel.release, kernel.version))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_package_follows_the_release() {
        let package = |release: &str| source_package(&release.parse().unwrap());
        assert_eq!(package("6.1.0-53-amd64").unwrap(), "linux-source-6.1");
        assert_eq!(
            package("6.12.117+deb13-amd64").unwrap(),
            "linux-source-6.12"
        );
        assert!(package("6").is_err());
    }

    #[test]
    fn lists_of_another_package_come_to_the_modules() {
        let folder = tempfile::tempdir().unwrap();
        let release: KernelRelease = "7.2.13+deb14-amd64".parse().unwrap();
        join_lists(folder.path(), &release).unwrap();
        let file = |part: &str, name: &str| {
            let place = format!("{part}/usr/lib/modules/{release}/{name}");
            folder.path().join(place)
        };
        files::write(&file("base", "modules.builtin"), b"kernel/fs/ext4.ko\n").unwrap();
        files::write(&file("base", "config"), b"").unwrap();
        files::write(&file("modules", "kernel/net/x.ko"), b"").unwrap();
        join_lists(folder.path(), &release).unwrap();
        let joined = files::read(&file("modules", "modules.builtin")).unwrap();
        assert_eq!(joined, b"kernel/fs/ext4.ko\n");
        assert!(!file("modules", "config").exists());
    }

    #[test]
    fn modules_are_named_as_in_memory() {
        let name = |path: &str| module_name(Path::new(path));
        assert_eq!(
            name("kernel/sound/core/seq/snd-seq.ko").as_deref(),
            Some("snd_seq")
        );
        assert_eq!(name("kernel/fs/ext4/ext4.ko.xz").as_deref(), Some("ext4"));
        assert_eq!(name("kernel/modules.order"), None);
    }
}
