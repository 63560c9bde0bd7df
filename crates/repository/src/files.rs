//! The files that make up a repository's present state: what a copy of it needs.

use std::path::Path;

use tough::Repository;
use tough::schema::Target;

use crate::current;
use crate::error::RepositoryError;
use crate::layout::Layout;
use crate::signer::Versions;

/// A repository's files, of verified metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The latest root's version. All since the first are needed, for readers that trust an
    /// older one.
    pub root: u64,
    pub versions: Versions,
    /// All targets, ours and others.
    pub targets: Vec<TargetFile>,
}

/// A target as it lies in the folder `targets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFile {
    /// As the metadata calls it, without its hash.
    pub name: String,
    /// Lowercase hex.
    pub sha256: String,
    /// Bytes.
    pub length: u64,
}

impl Files {
    /// Reads and verifies what lies in a repository's folder now.
    pub async fn read(dir: &Path) -> Result<Self, RepositoryError> {
        let repository = current::load(&Layout::new(dir), None).await?;
        Ok(Self::of(&repository))
    }

    pub(crate) fn of(repository: &Repository) -> Self {
        let targets = &repository.targets().signed;
        let files = targets.targets.iter();
        let files = files.filter(|(name, _)| is_plain(name.raw()));
        Self {
            root: repository.root().signed.version.get(),
            versions: Versions {
                targets: targets.version.get(),
                snapshot: repository.snapshot().signed.version.get(),
                timestamp: repository.timestamp().signed.version.get(),
            },
            targets: files
                .map(|(name, target)| TargetFile::of(name.raw(), target))
                .collect(),
        }
    }

    /// The metadata in the order in which a copy is safe at every moment: a file comes after all
    /// that it leads to, and the timestamp last.
    pub fn metadata(&self) -> Vec<String> {
        let roots = (1..=self.root).map(|version| format!("{version}.root.json"));
        let Versions {
            targets, snapshot, ..
        } = self.versions;
        let rest = [
            format!("{targets}.targets.json"),
            format!("{snapshot}.snapshot.json"),
            "timestamp.json".to_owned(),
        ];
        roots.chain(rest).collect()
    }
}

impl TargetFile {
    fn of(name: &str, target: &Target) -> Self {
        Self {
            name: name.to_owned(),
            sha256: hex::encode(&target.hashes.sha256),
            length: target.length,
        }
    }

    /// `<sha256>.<name>`.
    pub fn file_name(&self) -> String {
        format!("{}.{}", self.sha256, self.name)
    }
}

/// TUF allows names with folders in them; a publisher here makes none, and no copy follows them.
fn is_plain(name: &str) -> bool {
    !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_others_comes_after_them() {
        let files = Files {
            root: 2,
            versions: Versions {
                targets: 7,
                snapshot: 8,
                timestamp: 9,
            },
            targets: Vec::new(),
        };
        let expected = [
            "1.root.json",
            "2.root.json",
            "7.targets.json",
            "8.snapshot.json",
            "timestamp.json",
        ];
        assert_eq!(files.metadata(), expected);
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        assert!(is_plain("livepatch_0.1_amd64.deb"));
        for bad in ["../x", "a/b", ".hidden", "a\\b", "a\0"] {
            assert!(!is_plain(bad), "{bad}");
        }
    }
}
