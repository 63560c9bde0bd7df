//! Kernels that take one generation of a patch at a time.
//!
//! Before 4.12 there are no transitions, and a patch can't replace another: the kernel takes no
//! newer one while an older is registered but disabled, and an older can't be disabled under a
//! newer. A patch for such a kernel has a module parameter, `in_force`, that takes it out whole and
//! puts it back. Its module stays in memory, because nobody can tell when the last task has left
//! its code. The parameter is what such a kernel is known by here.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use suture_advisory::PatchVersion;
use tracing::{info, warn};

use crate::files::if_exists;
use crate::paths::Paths;

/// Puts `version` in force: takes our others out, and then loads the module by `insert`, or brings it
/// back if it is in memory. If the kernel refuses, the others come back.
///
/// On kernels with transitions this is `insert` alone.
pub fn replace(
    paths: &Paths,
    version: PatchVersion,
    insert: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let others = registered(paths)?;
    let mut out = Vec::new();
    let mut result = Ok(());
    for &other in others.iter().filter(|&&other| other != version) {
        info!("patch {other} is taken out for patch {version}");
        result = set(paths, other, false);
        if result.is_err() {
            break;
        }
        out.push(other);
    }
    let result = result.and_then(|()| match parameter(paths, version).exists() {
        true => set(paths, version, true),
        false => insert(),
    });
    if result.is_err() {
        for other in out.into_iter().rev() {
            match set(paths, other, true) {
                Ok(()) => info!("patch {other} is in force again"),
                Err(error) => warn!(%error, "patch {other} can't be brought back"),
            }
        }
    }
    result
}

/// Our versions that such a kernel has registered, enabled or not, the newest first.
fn registered(paths: &Paths) -> io::Result<Vec<PatchVersion>> {
    let Some(entries) = if_exists(fs::read_dir(paths.sys("kernel/livepatch")))? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let version = name.to_str().and_then(PatchVersion::from_module_name);
        found.extend(version.filter(|version| parameter(paths, *version).exists()));
    }
    found.sort_by(|left, right| right.cmp(left));
    Ok(found)
}

fn set(paths: &Paths, version: PatchVersion, in_force: bool) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(parameter(paths, version))?;
    file.write_all(if in_force { b"1" } else { b"0" })
}

fn parameter(paths: &Paths, version: PatchVersion) -> PathBuf {
    let name = version.module_name();
    paths.sys(&format!("module/{name}/parameters/in_force"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeTree, version};

    /// A kernel without transitions, with a patch of ours.
    fn kernel_with(name: &str) -> FakeTree {
        let tree = FakeTree::new();
        tree.patch(name, true, None);
        tree.write(&format!("sys/module/{name}/parameters/in_force"), b"1");
        tree
    }

    fn in_force(tree: &FakeTree, name: &str) -> String {
        fs::read_to_string(tree.path(&format!("sys/module/{name}/parameters/in_force"))).unwrap()
    }

    #[test]
    fn an_older_patch_is_taken_out_before_the_newer_is_loaded() {
        let tree = kernel_with("suture_1_1");
        tree.patch("kpatch_x", true, None);
        let mut seen = String::new();
        replace(&tree.paths(), version("2.1"), || {
            seen = in_force(&tree, "suture_1_1");
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, "0");
    }

    #[test]
    fn an_older_patch_comes_back_if_the_kernel_refuses_the_newer() {
        let tree = kernel_with("suture_1_1");
        let refused = || Err(io::ErrorKind::InvalidInput.into());
        let error = replace(&tree.paths(), version("2.1"), refused).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(in_force(&tree, "suture_1_1"), "1");
    }

    #[test]
    fn a_module_that_is_in_memory_is_not_loaded_again() {
        let tree = kernel_with("suture_1_1");
        tree.write("sys/module/suture_2_1/parameters/in_force", b"0");
        let loaded = || panic!("it is in memory");
        replace(&tree.paths(), version("2.1"), loaded).unwrap();
        assert_eq!(in_force(&tree, "suture_1_1"), "0");
        assert_eq!(in_force(&tree, "suture_2_1"), "1");
    }

    #[test]
    fn where_patches_replace_each_other_nothing_is_taken_out() {
        let tree = FakeTree::new();
        tree.patch("suture_1_1", true, Some(false));
        let mut loaded = false;
        replace(&tree.paths(), version("2.1"), || {
            loaded = true;
            Ok(())
        })
        .unwrap();
        assert!(loaded);
    }
}
