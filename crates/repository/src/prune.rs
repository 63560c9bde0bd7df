//! Removes metadata that no reader can ask for any more.

use std::fs;

use crate::error::RepositoryError;
use crate::layout::Layout;
use crate::signer::Versions;

/// Versions kept before the present one: a reader that fetched `timestamp.json` a moment ago, or
/// a mirror that copies slowly, still finds what it leads to. Roots are kept for ever.
const KEPT: u64 = 10;

/// Removes snapshot and targets metadata older than that.
pub(crate) fn prune(layout: &Layout, versions: &Versions) -> Result<(), RepositoryError> {
    let dir = layout.metadata();
    let entries = fs::read_dir(&dir).map_err(RepositoryError::io("list", &dir))?;
    for entry in entries {
        let entry = entry.map_err(RepositoryError::io("list", &dir))?;
        if is_superseded(&entry.file_name().to_string_lossy(), versions) {
            let path = entry.path();
            fs::remove_file(&path).map_err(RepositoryError::io("remove", path))?;
        }
    }
    Ok(())
}

/// Whether a file of the folder `metadata` is so old that no reader can ask for it any more.
pub fn is_superseded(name: &str, versions: &Versions) -> bool {
    let Some((number, role)) = name.split_once('.') else {
        return false;
    };
    let present = match role {
        "snapshot.json" => versions.snapshot,
        "targets.json" => versions.targets,
        _ => return false,
    };
    number
        .parse::<u64>()
        .is_ok_and(|version| version.saturating_add(KEPT) < present)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_snapshots_and_targets_go() {
        let versions = Versions {
            targets: 12,
            snapshot: 30,
            timestamp: 99,
        };
        for old in ["1.targets.json", "19.snapshot.json"] {
            assert!(is_superseded(old, &versions), "{old}");
        }
        for kept in [
            "2.targets.json",
            "20.snapshot.json",
            "1.root.json",
            "timestamp.json",
            "x",
        ] {
            assert!(!is_superseded(kept, &versions), "{kept}");
        }
    }
}
