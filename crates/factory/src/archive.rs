//! The distribution's package archive, through its own package client.
//!
//! `apt-get` checks every package against the signed index, so what is unpacked here is what
//! the distribution published.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command::{Log, run};
use crate::error::FactoryError;
use crate::files::{self, Lock};
use crate::suite::Suite;

/// A package in one version, e.g. `linux-source-6.1` `6.1.187-1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    pub name: String,
    pub version: String,
}

/// The archive as the machine's apt is configured, or another release of it; with a folder for
/// downloads.
#[derive(Debug, Clone)]
pub struct Archive {
    downloads: PathBuf,
    /// None: the machine's own release.
    suite: Option<Suite>,
    log: Log,
}

impl Archive {
    pub fn new(cache: &Path, log: Log) -> Self {
        Self {
            downloads: cache.join("packages"),
            suite: None,
            log,
        }
    }

    /// The archive of another release.
    pub fn of_suite(cache: &Path, suite: Suite, log: Log) -> Self {
        Self {
            suite: Some(suite),
            ..Self::new(cache, log)
        }
    }

    /// The machine's own release, and the others that its mirror may have.
    pub fn all(cache: &Path, log: &Log) -> Result<Vec<Self>, FactoryError> {
        let others = Suite::others(cache, log)?.into_iter();
        let others = others.map(|suite| Self::of_suite(cache, suite, log.clone()));
        Ok(std::iter::once(Self::new(cache, log.clone()))
            .chain(others)
            .collect())
    }

    /// The first release of [`Self::all`] for which `has` holds.
    pub fn find(
        cache: &Path,
        log: &Log,
        has: impl Fn(&Self) -> Result<bool, FactoryError>,
    ) -> Result<Option<Self>, FactoryError> {
        for archive in Self::all(cache, log)? {
            match has(&archive) {
                Ok(true) => return Ok(Some(archive)),
                Ok(false) => {}
                // The mirror need not have every release.
                Err(error) if archive.suite.is_some() => {
                    log.note(&format!("a release is left out: {error}"));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Whether the archive offers a package in its very version.
    pub fn offers(&self, package: &Package) -> Result<bool, FactoryError> {
        Ok(self.versions(&package.name)?.contains(&package.version))
    }

    /// None: the machine's own release.
    pub fn suite(&self) -> Option<&Suite> {
        self.suite.as_ref()
    }

    /// An apt program that knows this release as it is in the archive today.
    fn apt(&self, program: &str) -> Result<Command, FactoryError> {
        let mut command = Command::new(program);
        if let Some(suite) = &self.suite {
            suite.refresh(&self.log)?;
            command.args(suite.options());
        }
        Ok(command)
    }

    /// The versions on offer, as apt lists them (newest first).
    pub fn versions(&self, name: &str) -> Result<Vec<String>, FactoryError> {
        Ok(self
            .all_versions(&[name.to_owned()])?
            .remove(name)
            .unwrap_or_default())
    }

    /// The versions on offer of several packages, by name, in one question to apt.
    pub fn all_versions(
        &self,
        names: &[String],
    ) -> Result<HashMap<String, Vec<String>>, FactoryError> {
        if names.is_empty() {
            return Ok(HashMap::new());
        }
        let output = run(
            self.apt("apt-cache")?.arg("madison").args(names),
            "apt",
            &self.log,
        )?;
        Ok(madison_versions(&String::from_utf8_lossy(&output)))
    }

    /// Names of packages that match an extended regular expression.
    pub fn names(&self, pattern: &str) -> Result<Vec<String>, FactoryError> {
        let mut command = self.apt("apt-cache")?;
        let output = run(
            command.args(["search", "--names-only", pattern]),
            "apt",
            &self.log,
        )?;
        let text = String::from_utf8_lossy(&output).into_owned();
        Ok(text
            .lines()
            .filter_map(|line| Some(line.split_once(" - ")?.0.to_owned()))
            .collect())
    }

    /// The package in its only or newest version.
    pub fn newest(&self, name: &str) -> Result<Package, FactoryError> {
        let version =
            self.versions(name)?
                .into_iter()
                .next()
                .ok_or_else(|| FactoryError::NotInArchive {
                    package: name.to_owned(),
                    wanted: String::new(),
                })?;
        Ok(Package {
            name: name.to_owned(),
            version,
        })
    }

    /// The `.deb` file, downloaded unless it is already here.
    pub fn fetch(&self, package: &Package) -> Result<PathBuf, FactoryError> {
        let Package { name, version } = package;
        let path = self
            .downloads
            .join(format!("{name}_{}.deb", version.replace(':', "%3a")));
        let _lock = Lock::wait(&self.downloads.join(format!("{name}.lock")))?;
        if path.exists() {
            return Ok(path);
        }
        if !self.offers(package)? {
            let wanted = format!(" in version {version}");
            return Err(FactoryError::NotInArchive {
                package: name.clone(),
                wanted,
            });
        }
        let scratch = tempfile::tempdir_in(&self.downloads)
            .map_err(FactoryError::file("make a folder in", &self.downloads))?;
        let mut command = self.apt("apt-get")?;
        // Root's download into a private folder needs no second user.
        command.args(["-o", "APT::Sandbox::User=root", "-q", "download"]);
        command
            .arg(format!("{name}={version}"))
            .current_dir(scratch.path());
        run(&mut command, "apt", &self.log)?;
        let downloaded = only_file(scratch.path())?;
        std::fs::rename(&downloaded, &path).map_err(FactoryError::file("move", &downloaded))?;
        Ok(path)
    }

    /// Where single files of a package are kept that were taken out of it.
    pub(crate) fn kept_files(&self, package: &Package) -> PathBuf {
        let Package { name, version } = package;
        self.downloads.join(format!("{name}_{version}.files"))
    }

    /// Unpacks the package into a folder that appears only when it is complete.
    pub fn unpack(&self, package: &Package, folder: &Path) -> Result<(), FactoryError> {
        if folder.exists() {
            return Ok(());
        }
        let deb = self.fetch(package)?;
        let scratch = files::beside(folder, "unpacking");
        files::remove_dir(&scratch)?;
        files::make_dir(&scratch)?;
        run(
            Command::new("dpkg-deb").arg("-x").arg(&deb).arg(&scratch),
            "dpkg",
            &self.log,
        )?;
        std::fs::rename(&scratch, folder).map_err(FactoryError::file("make the folder", folder))
    }
}

fn only_file(folder: &Path) -> Result<PathBuf, FactoryError> {
    let fail = || FactoryError::file("find a package in", folder);
    let mut entries = std::fs::read_dir(folder).map_err(fail())?;
    let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
    let entry = entries
        .next()
        .ok_or_else(missing)
        .and_then(|entry| entry)
        .map_err(fail())?;
    Ok(entry.path())
}

/// Lines look like `linux-source-6.1 |  6.1.192-2 | URI Packages`; source packages are listed
/// too and end in `Sources`.
fn madison_versions(text: &str) -> HashMap<String, Vec<String>> {
    let mut found: HashMap<String, Vec<String>> = HashMap::new();
    for line in text
        .lines()
        .filter(|line| line.trim_end().ends_with("Packages"))
    {
        let mut columns = line.split('|').map(str::trim);
        if let (Some(name), Some(version)) = (columns.next(), columns.next()) {
            let versions = found.entry(name.to_owned()).or_default();
            if !version.is_empty() && !versions.iter().any(|known| known == version) {
                versions.push(version.to_owned());
            }
        }
    }
    found
}

/// Orders two Debian versions as dpkg does.
pub fn compare_versions(left: &str, right: &str) -> Result<std::cmp::Ordering, FactoryError> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    for (word, ordering) in [("lt", Less), ("eq", Equal)] {
        let mut command = Command::new("dpkg");
        command.args(["--compare-versions", left, word, right]);
        let status = command
            .status()
            .map_err(|source| FactoryError::ProgramMissing {
                program: "dpkg".to_owned(),
                package: "dpkg",
                source,
            })?;
        if status.success() {
            return Ok(ordering);
        }
    }
    Ok(Greater)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_listed_once_and_in_order() {
        let text = " linux-source-6.1 |  6.1.192-2 | file:/archive bookworm-security/main amd64 Packages\n \
                    linux-source-6.1 |  6.1.176-1 | file:/archive bookworm/main amd64 Packages\n \
                    linux-source-6.1 |  6.1.176-1 | file:/archive bookworm/main i386 Packages\n \
                    linux |  6.1.176-1 | file:/archive bookworm/main Sources\n";
        let versions = madison_versions(text);
        assert_eq!(versions["linux-source-6.1"], ["6.1.192-2", "6.1.176-1"]);
        assert_eq!(versions.len(), 1, "source packages are left out");
    }

    #[test]
    fn versions_are_compared_as_dpkg_does() {
        use std::cmp::Ordering;
        assert_eq!(
            compare_versions("6.1.187-1", "6.1.190-1").unwrap(),
            Ordering::Less
        );
        assert_eq!(
            compare_versions("6.1.192-2", "6.1.192-2").unwrap(),
            Ordering::Equal
        );
        assert_eq!(
            compare_versions("6.1.192-2", "6.1.192~rc1-1").unwrap(),
            Ordering::Greater
        );
    }
}
