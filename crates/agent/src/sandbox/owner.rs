//! Gives the agent's folders to the daemon's user.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, lchown};
use std::path::Path;

use super::ServiceUser;
use crate::failure::Failure;
use crate::files;
use crate::paths::Paths;

/// Folders within folders: `tuf/metadata` and what unfinished updates leave there.
const DEEPEST: usize = 4;

/// Makes the folders where they are missing. What is in them is root's after an update from an
/// agent that ran as root, or after the service manager took the folders as its own.
pub fn hand_over(paths: &Paths, user: Option<ServiceUser>) -> Result<(), Failure> {
    for (path, mode) in [(paths.state_dir(), 0o700), (paths.run_dir(), 0o755)] {
        // What is above them is everyone's.
        let above = path.parent().unwrap_or(&path);
        files::create_dir(above, 0o755)
            .and_then(|()| files::create_dir(&path, mode))
            .and_then(|()| match user {
                Some(user) if rustix::process::geteuid().is_root() => give(&path, user, DEEPEST),
                _ => Ok(()),
            })
            .map_err(|error| {
                Failure::new(format!("cannot give `{}` to the daemon", path.display()))
                    .because(error.to_string())
            })?;
    }
    Ok(())
}

/// Never through a symbolic link, nor a file that has another name elsewhere.
fn give(path: &Path, user: ServiceUser, depth: usize) -> io::Result<()> {
    let about = fs::symlink_metadata(path)?;
    if about.is_dir() && depth > 0 {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), user, depth - 1)?;
        }
    }
    if !may_be_given(&about) || (about.uid(), about.gid()) == (user.uid, user.gid) {
        return Ok(());
    }
    lchown(path, Some(user.uid), Some(user.gid))
}

fn may_be_given(about: &Metadata) -> bool {
    about.is_dir() || (about.is_file() && about.nlink() == 1)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::testing::FakeTree;

    #[test]
    fn what_is_ours_is_given_and_nothing_else() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let tree = FakeTree::new();
        tree.write("var/lib/livepatch/tuf/metadata/timestamp.json", b"{}");
        tree.write("etc/shadow", b"secret");
        symlink(tree.path("etc/shadow"), tree.path("var/lib/livepatch/link")).unwrap();
        fs::hard_link(tree.path("etc/shadow"), tree.path("var/lib/livepatch/hard")).unwrap();
        let user = ServiceUser {
            uid: 12_345,
            gid: 12_346,
        };
        hand_over(&tree.paths(), Some(user)).unwrap();
        let owner = |path: &str| fs::metadata(tree.path(path)).unwrap().uid();
        for given in ["", "/tuf", "/tuf/metadata", "/tuf/metadata/timestamp.json"] {
            assert_eq!(
                owner(&format!("var/lib/livepatch{given}")),
                12_345,
                "{given}"
            );
        }
        assert_eq!(owner("run/livepatch"), 12_345);
        assert_eq!(owner("etc/shadow"), 0);
    }
}
