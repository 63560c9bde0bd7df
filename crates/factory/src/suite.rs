//! Other releases of the distribution, from the mirror that this machine uses.
//!
//! A kernel and the compiler that it was built with belong to one release. Which releases there
//! are is told by the package `distro-info-data`, where they are kept by the machine's own apt.
//! apt then works in folders of the cache, with everything else as it is configured here.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::command::{Log, run};
use crate::error::FactoryError;
use crate::files::{self, Lock};

/// Keys by which Debian signs its releases, of the package `debian-archive-keyring`.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const RELEASES: &str = "/usr/share/distro-info/debian.csv";
/// Releases before Debian 11 have no kernel that could be served.
const FIRST_RELEASE: u32 = 11;
/// How old the lists of packages may be.
const LISTS_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the machine's own release comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mirror {
    /// Code name of the machine's release.
    own: String,
    main: String,
    security: Option<String>,
}

/// A release by its code name, with the package lists of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    name: String,
    mirror: Mirror,
    folder: PathBuf,
}

impl Suite {
    /// The releases besides the machine's own: those that are out, newest first, then what is to
    /// be the next one and the newest of all.
    pub fn others(cache: &Path, log: &Log) -> Result<Vec<Self>, FactoryError> {
        let mirror = Mirror::of_this_machine(log)?;
        let known =
            std::fs::read_to_string(RELEASES).map_err(|source| FactoryError::ProgramMissing {
                program: RELEASES.to_owned(),
                package: "distro-info-data",
                source,
            })?;
        let names = code_names(&known).into_iter();
        let others = names.filter(|name| *name != mirror.own);
        Ok(others.map(|name| Self::at(cache, &name, &mirror)).collect())
    }

    /// The release by its name.
    pub fn named(cache: &Path, name: &str, log: &Log) -> Result<Self, FactoryError> {
        Ok(Self::at(cache, name, &Mirror::of_this_machine(log)?))
    }

    fn at(cache: &Path, name: &str, mirror: &Mirror) -> Self {
        Self {
            name: name.to_owned(),
            mirror: mirror.clone(),
            folder: cache.join("suites").join(name),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Lines of a `sources.list` (see sources.list(5)).
    pub(crate) fn sources(&self) -> Vec<String> {
        let line = |uri: &str, suite: &str| format!("deb [signed-by={KEYRING}] {uri} {suite} main");
        let mut lines = vec![line(&self.mirror.main, &self.name)];
        // What is not released yet has no security updates of its own.
        let released = !matches!(self.name.as_str(), "sid" | "experimental");
        if let Some(security) = self.mirror.security.as_ref().filter(|_| released) {
            lines.push(line(security, &format!("{}-security", self.name)));
        }
        lines
    }

    /// Settings with which apt works on this release (see apt.conf(5)).
    pub(crate) fn options(&self) -> Vec<String> {
        let folder = self.folder.display();
        [
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=/dev/null".to_owned(),
            // What is pinned here is meant for what is installed here.
            "Dir::Etc::preferences=/dev/null".to_owned(),
            "Dir::Etc::preferencesparts=/dev/null".to_owned(),
            format!("Dir::State={folder}/state"),
            format!("Dir::State::status={folder}/status"),
            format!("Dir::Cache={folder}/cache"),
            "APT::Architecture=amd64".to_owned(),
            "APT::Architectures=amd64".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            "APT::Sandbox::User=root".to_owned(),
        ]
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect()
    }

    /// Lets apt fetch the lists of packages if those at hand are older than a day. A mirror
    /// without this release is an error.
    pub(crate) fn refresh(&self, log: &Log) -> Result<(), FactoryError> {
        let _lock = Lock::wait(&files::beside(&self.folder, "lock"))?;
        let sources = self.sources().join("\n") + "\n";
        let list = self.folder.join("sources.list");
        let marker = self.folder.join("updated");
        let same = std::fs::read_to_string(&list).is_ok_and(|kept| kept == sources);
        if same && is_fresh(&marker) {
            return Ok(());
        }
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            files::make_dir(&self.folder.join(folder))?;
        }
        files::write(&list, sources.as_bytes())?;
        files::write(&self.folder.join("status"), b"")?;
        let mut update = Command::new("apt-get");
        update.args(self.options()).args(["-q", "update"]);
        // Without this, apt takes old lists for success.
        update.args(["-o", "APT::Update::Error-Mode=any"]);
        run(&mut update, "apt", log)?;
        files::write(&marker, b"")
    }
}

fn is_fresh(marker: &Path) -> bool {
    let written = std::fs::metadata(marker).and_then(|metadata| metadata.modified());
    written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age < LISTS_AGE))
}

impl Mirror {
    fn of_this_machine(log: &Log) -> Result<Self, FactoryError> {
        let mut command = Command::new("apt-get");
        command.args([
            "indextargets",
            "--format",
            "$(LABEL)|$(CODENAME)|$(REPO_URI)",
        ]);
        let output = run(command.arg("Created-By: Packages"), "apt", log)?;
        Self::told(&String::from_utf8_lossy(&output)).ok_or_else(|| FactoryError::NotInArchive {
            package: "Debian archive".to_owned(),
            wanted: " (apt knows of none)".to_owned(),
        })
    }

    /// Reads lines of label, code name and address.
    fn told(text: &str) -> Option<Self> {
        let lines: Vec<(&str, &str, &str)> = text
            .lines()
            .filter_map(|line| {
                let mut columns = line.splitn(3, '|');
                Some((columns.next()?, columns.next()?, columns.next()?))
            })
            .collect();
        let is_release = |name: &str| !name.contains(['-', '/']);
        let (_, own, main) = lines
            .iter()
            .find(|(label, name, _)| *label == "Debian" && is_release(name))?;
        let security = lines
            .iter()
            .find(|(label, _, _)| *label == "Debian-Security");
        Some(Self {
            own: (*own).to_owned(),
            main: (*main).to_owned(),
            security: security.map(|(_, _, uri)| (*uri).to_owned()),
        })
    }
}

/// Reads the table of releases: version, code name, series, and the days of creation, release
/// and ends of support.
fn code_names(table: &str) -> Vec<String> {
    let (mut released, mut coming, mut unversioned) = (Vec::new(), None, Vec::new());
    for line in table.lines().skip(1) {
        let columns: Vec<&str> = line.split(',').collect();
        let [version, _, series, created, rest @ ..] = columns.as_slice() else {
            continue;
        };
        let series = (*series).to_owned();
        match version.parse::<f32>() {
            Err(_) if series == "sid" => unversioned.push(series),
            Err(_) => {}
            Ok(version) if version < FIRST_RELEASE as f32 || created.is_empty() => {}
            Ok(_) if rest.first().is_some_and(|day| !day.is_empty()) => released.push(series),
            // The one after the next is in the table long before it is in the archive.
            Ok(_) => coming = coming.or(Some(series)),
        }
    }
    released.reverse();
    released
        .into_iter()
        .chain(coming)
        .chain(unversioned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirror() -> Mirror {
        let told = "Debian|bookworm-updates|http://mirror/debian/\n\
             Debian|bookworm|http://mirror/debian/\n\
             Other|bookworm|http://other/\n\
             Debian-Security|bookworm-security|http://mirror/security/\n";
        Mirror::told(told).unwrap()
    }

    #[test]
    fn the_machines_own_mirror_serves_other_releases() {
        let suite = |name: &str| Suite::at(Path::new("/cache"), name, &mirror());
        let [main, security] = &suite("trixie").sources()[..] else {
            panic!("two sources");
        };
        assert_eq!(
            main,
            "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] \
             http://mirror/debian/ trixie main"
        );
        assert!(security.ends_with(" http://mirror/security/ trixie-security main"));
        assert_eq!(suite("sid").sources().len(), 1);
        assert_eq!(Mirror::told("Other|stable|http://other/\n"), None);
    }

    #[test]
    fn releases_are_those_that_are_out_and_the_next_ones() {
        let table = "version,codename,series,created,release,eol,eol-lts,eol-elts\n\
            10,Buster,buster,2017-06-17,2019-07-06,2022-09-10,2024-06-30,2029-06-30\n\
            11,Bullseye,bullseye,2019-07-06,2021-08-14,2024-08-14,2026-08-31,2031-06-30\n\
            12,Bookworm,bookworm,2021-08-14,2023-06-10,2026-07-11,2028-06-30,2033-06-30\n\
            13,Trixie,trixie,2023-06-10\n14,Forky,forky,2025-08-09\n\
            ,Sid,sid,1993-08-16\n,Experimental,experimental,1993-08-16\n";
        assert_eq!(code_names(table), ["bookworm", "bullseye", "trixie", "sid"]);
    }
}
