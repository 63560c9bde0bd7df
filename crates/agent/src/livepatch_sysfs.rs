//! What the running kernel says of live patches: `/sys/kernel/livepatch` and `/proc/*/patch_state`
//! (source: the kernel's Documentation/ABI/testing/sysfs-kernel-livepatch and
//! Documentation/livepatch/livepatch.rst).

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;

use crate::files::{self, if_exists};
use crate::paths::Paths;

/// Most tasks that are named when a transition does not end.
const MOST_TASKS: usize = 32;
/// A sysfs or procfs file that is read here is one page at most.
const PAGE: u64 = 4096;

/// A live patch as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedPatch {
    /// The module's name.
    pub name: String,
    pub enabled: bool,
    /// Kernels before 4.12 have no transitions: a patch is in force at once.
    pub in_transition: bool,
}

/// The kernel's live patches, sorted into what concerns us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// The newest of our versions that every task runs.
    pub in_force: Option<PatchVersion>,
    /// Our version to which the kernel still moves tasks.
    pub in_transition: Option<PatchVersion>,
    /// Names of enabled live patches that are not ours.
    pub foreign: Vec<String>,
}

impl Running {
    /// Reads sysfs; a kernel without live patching has nothing.
    pub fn read(paths: &Paths) -> io::Result<Self> {
        Ok(Self::of(&loaded_patches(&paths.sys("kernel/livepatch"))?))
    }

    fn of(patches: &[LoadedPatch]) -> Self {
        let mut running = Self::default();
        for patch in patches.iter().filter(|patch| patch.enabled) {
            match PatchVersion::from_module_name(&patch.name) {
                None => running.foreign.push(patch.name.clone()),
                Some(version) if patch.in_transition => {
                    running.in_transition = running.in_transition.max(Some(version));
                }
                Some(version) => running.in_force = running.in_force.max(Some(version)),
            }
        }
        running
    }
}

fn loaded_patches(dir: &Path) -> io::Result<Vec<LoadedPatch>> {
    let Some(entries) = if_exists(fs::read_dir(dir))? else {
        return Ok(Vec::new());
    };
    let mut patches = Vec::new();
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        // A patch may vanish while its folder is read.
        if let Some(enabled) = flag(&path.join("enabled"))? {
            patches.push(LoadedPatch {
                name: entry.file_name().to_string_lossy().into_owned(),
                enabled,
                in_transition: flag(&path.join("transition"))?.unwrap_or(false),
            });
        }
    }
    patches.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(patches)
}

fn flag(path: &Path) -> io::Result<Option<bool>> {
    let text = match files::read_text(path, PAGE) {
        Err(error) if vanished(&error) => return Ok(None),
        other => other?,
    };
    Ok(Some(text.trim_start().starts_with('1')))
}

/// `ENODEV` is what sysfs answers when the object goes away between open and read.
fn vanished(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.kind() == io::ErrorKind::NotADirectory
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

/// A task that still runs the old code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: u32,
    pub name: String,
}

/// The tasks that hold a transition open: those with `patch_state` 0, the unpatched state.
/// A task that ends meanwhile, or may not be read, is left out.
pub fn unpatched_tasks(paths: &Paths) -> Vec<Task> {
    let mut tasks = Vec::new();
    for process in numbered_dirs(&paths.proc("")) {
        for thread in numbered_dirs(&process.1.join("task")) {
            if tasks.len() == MOST_TASKS {
                return tasks;
            }
            let state = files::read_text(&thread.1.join("patch_state"), PAGE);
            if state.is_ok_and(|state| state.trim() == "0") {
                let name = files::read_text(&thread.1.join("comm"), PAGE).unwrap_or_default();
                tasks.push(Task {
                    id: thread.0,
                    name: name.trim().to_owned(),
                });
            }
        }
    }
    tasks
}

fn numbered_dirs(dir: &Path) -> Vec<(u32, std::path::PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let number = |entry: &fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let mut dirs: Vec<_> = entries
        .filter_map(|entry| Some((number(&entry)?, entry.path())))
        .collect();
    dirs.sort();
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeTree, version};

    #[test]
    fn the_newest_enabled_version_is_in_force() {
        let tree = FakeTree::new();
        assert_eq!(Running::read(&tree.paths()).unwrap(), Running::default());
        tree.patch("suture_9_1", true, Some(false));
        tree.patch("suture_10_1", true, Some(false));
        tree.patch("suture_11_1", false, Some(false));
        tree.patch("kpatch_x", true, Some(false));
        let running = Running::read(&tree.paths()).unwrap();
        assert_eq!(running.in_force, Some(version("10.1")));
        assert_eq!(running.in_transition, None);
        assert_eq!(running.foreign, ["kpatch_x"]);
    }

    #[test]
    fn a_patch_in_transition_is_not_in_force() {
        let tree = FakeTree::new();
        tree.patch("suture_10_1", true, Some(false));
        tree.patch("suture_11_1", true, Some(true));
        let running = Running::read(&tree.paths()).unwrap();
        assert_eq!(running.in_force, Some(version("10.1")));
        assert_eq!(running.in_transition, Some(version("11.1")));
    }

    #[test]
    fn a_kernel_without_transitions_or_without_livepatch_is_read_too() {
        let tree = FakeTree::new();
        tree.patch("suture_10_1", true, None);
        let running = Running::read(&tree.paths()).unwrap();
        assert_eq!(running.in_force, Some(version("10.1")));
        assert_eq!(
            Running::read(&Paths::new("/nonexistent")).unwrap(),
            Running::default()
        );
    }

    #[test]
    fn tasks_on_old_code_are_named() {
        let tree = FakeTree::new();
        for (id, name, state) in [
            (1, "systemd", "1"),
            (812, "kworker/3:1", "0"),
            (9, "x", "-1"),
        ] {
            tree.write(&format!("proc/{id}/task/{id}/comm"), name.as_bytes());
            tree.write(
                &format!("proc/{id}/task/{id}/patch_state"),
                state.as_bytes(),
            );
        }
        let expected = Task {
            id: 812,
            name: "kworker/3:1".to_owned(),
        };
        assert_eq!(unpatched_tasks(&tree.paths()), [expected]);
    }
}
