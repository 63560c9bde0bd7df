//! What the running kernel says of live patches: `/sys/kernel/livepatch` and `/proc/*/patch_state`
//! (source: the kernel's Documentation/ABI/testing/sysfs-kernel-livepatch and
//! Documentation/livepatch/livepatch.rst).

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;

use crate::files::{self, if_exists};
use crate::paths::Paths;
use crate::text;

/// Most tasks that are named when a transition does not end.
const MOST_TASKS: usize = 32;
/// Most replaced functions that are named of a stack.
const MOST_FUNCTIONS: usize = 8;
/// A sysfs or procfs file that is read here is one page at most.
const PAGE: u64 = 4096;
/// A kernel stack has at most 64 entries in procfs, of some 80 bytes.
const STACK: u64 = 64 * 1024;

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
    /// Our version that the kernel takes back: disabled, while its transition is still open.
    pub reversing: Option<PatchVersion>,
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
        for patch in patches {
            let version = PatchVersion::from_module_name(&patch.name);
            if !patch.enabled {
                let reversing = version.filter(|_| patch.in_transition);
                running.reversing = running.reversing.max(reversing);
                continue;
            }
            match version {
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

/// Asks the kernel to take an unfinished transition back: 0 to `enabled`. A patch whose
/// transition ended just before is taken out the same way, so that what it has at the end is
/// known in either case.
pub fn reverse(paths: &Paths, version: PatchVersion) -> io::Result<()> {
    write(paths, version, "enabled", b"0")
}

/// Asks kernels from 4.15 to 5.0 to wake the tasks that hold a transition open, so that they
/// pass the edge of the kernel. Later kernels do so by themselves and lack the file; the
/// answer is whether it is there.
pub fn nudge(paths: &Paths, version: PatchVersion) -> io::Result<bool> {
    Ok(if_exists(write(paths, version, "signal", b"1"))?.is_some())
}

fn write(paths: &Paths, version: PatchVersion, file: &str, value: &[u8]) -> io::Result<()> {
    let path = format!("kernel/livepatch/{}/{file}", version.module_name());
    let mut file = fs::OpenOptions::new().write(true).open(paths.sys(&path))?;
    file.write_all(value)
}

/// The functions that a version replaces, sorted: the names of the folders below its objects,
/// `function,sympos`.
pub fn patched_functions(paths: &Paths, version: PatchVersion) -> Vec<String> {
    let patch = paths.sys(&format!("kernel/livepatch/{}", version.module_name()));
    let mut functions = Vec::new();
    for object in dirs(&patch) {
        functions.extend(dirs(&object).iter().filter_map(|function| {
            let name = function.file_name()?.to_str()?;
            Some(name.split_once(',')?.0.to_owned())
        }));
    }
    functions.sort();
    functions.dedup();
    functions
}

fn dirs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    let mut dirs: Vec<_> = entries.filter(is_dir).map(|entry| entry.path()).collect();
    dirs.sort();
    dirs
}

/// A task that still runs the old code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: u32,
    pub name: String,
    /// The replaced functions on its kernel stack, innermost first; empty where it runs at the
    /// moment, or where the stack may not be read.
    #[serde(default)]
    pub functions: Vec<String>,
    /// Its state as procfs has it, e.g. `t (tracing stop)`.
    #[serde(default)]
    pub state: String,
}

impl fmt::Display for Task {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.id, self.name)?;
        if !self.state.is_empty() {
            write!(formatter, ", {}", self.state)?;
        }
        if !self.functions.is_empty() {
            write!(formatter, ", in {}", self.functions.join(" called by "))?;
        }
        Ok(())
    }
}

/// Where a task is in a transition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// It runs the old code, and holds the transition open.
    Unpatched,
    /// It runs the new code, and holds one open that is taken back.
    Patched,
}

/// The tasks whose `patch_state` in procfs says that they are on `side`. A task that ends
/// meanwhile, or may not be read, is left out.
pub fn tasks(paths: &Paths, version: PatchVersion, side: Side) -> Vec<Task> {
    let wanted = match side {
        Side::Unpatched => "0",
        Side::Patched => "1",
    };
    let functions = patched_functions(paths, version);
    let is_wanted = |dir: &Path| {
        let state = files::read_text(&dir.join("patch_state"), PAGE);
        state.is_ok_and(|state| state.trim() == wanted)
    };
    let wanted = threads(paths).filter(|(_, dir)| is_wanted(dir));
    let tasks = wanted.map(|(id, dir)| task(id, &dir, &functions));
    tasks.take(MOST_TASKS).collect()
}

/// A task whose kernel stack leads into a patch's module. The kernel looks for the replaced
/// functions alone; one that the patch brings and that they jump to it does not see.
pub fn task_in_module(paths: &Paths, version: PatchVersion) -> Option<Task> {
    let module = format!("[{}]", version.module_name());
    let is_in = |dir: &Path| {
        let stack = files::read_text(&dir.join("stack"), STACK).unwrap_or_default();
        stack.lines().any(|line| line.ends_with(&module))
    };
    let (id, dir) = threads(paths).find(|(_, dir)| is_in(dir))?;
    Some(task(id, &dir, &[]))
}

/// All threads of all processes, with their folders in procfs.
fn threads(paths: &Paths) -> impl Iterator<Item = (u32, PathBuf)> {
    let processes = numbered_dirs(&paths.proc("")).into_iter();
    processes.flat_map(|(_, process)| numbered_dirs(&process.join("task")))
}

fn task(id: u32, dir: &Path, functions: &[String]) -> Task {
    let read = |name: &str| files::read_text(&dir.join(name), STACK).unwrap_or_default();
    let status = read("status");
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    Task {
        id,
        name: text::one_line(read("comm").trim(), 64),
        functions: on_stack(&read("stack"), functions),
        state: text::one_line(state.unwrap_or_default().trim(), 40),
    }
}

/// Which of `functions` are on a stack, of which each line is `[<0>] function+0x1/0x2 [module]`.
/// The compiler's endings (`.constprop.0`) are part of a name, also in sysfs.
fn on_stack(stack: &str, functions: &[String]) -> Vec<String> {
    let names = stack.lines().filter_map(|line| {
        let frame = line.split_whitespace().nth(1)?;
        Some(frame.split_once('+')?.0.to_owned())
    });
    let replaced = names.filter(|name| functions.contains(name));
    replaced.take(MOST_FUNCTIONS).collect()
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
            ..Task::default()
        };
        assert_eq!(
            tasks(&tree.paths(), version("1.1"), Side::Unpatched),
            [expected]
        );
        let patched = tasks(&tree.paths(), version("1.1"), Side::Patched);
        assert_eq!(patched.iter().map(|it| it.id).collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_task_is_told_with_the_replaced_functions_on_its_stack() {
        let tree = FakeTree::new();
        tree.patch("suture_1_1", true, Some(true));
        for function in [
            "vmlinux/syscall_trace_enter.constprop.0,1",
            "nf_tables/nft_x,1",
        ] {
            tree.write(
                &format!("sys/kernel/livepatch/suture_1_1/{function}/x"),
                b"",
            );
        }
        let task = |name: &str, bytes: &[u8]| tree.write(&format!("proc/7/task/7/{name}"), bytes);
        task("comm", b"holder\n");
        task("patch_state", b"0\n");
        task(
            "status",
            b"Name:\tholder\nState:\tt (tracing stop)\nTgid:\t7\n",
        );
        task(
            "stack",
            b"[<0>] ptrace_stop+0x162/0x2c0\n\
              [<0>] syscall_trace_enter.constprop.0+0x6c/0x1c0\n\
              [<0>] do_syscall_64+0x1a/0x80\n",
        );
        let tasks = tasks(&tree.paths(), version("1.1"), Side::Unpatched);
        assert_eq!(
            tasks[0].to_string(),
            "7 (holder), t (tracing stop), in syscall_trace_enter.constprop.0"
        );
    }

    #[test]
    fn a_task_in_a_patch_of_its_own_functions_is_found() {
        let tree = FakeTree::new();
        let stack = "[<0>] io_schedule+0x46/0x70\n[<0>] new_helper+0x1f/0x40 [suture_1_1]\n\
                     [<0>] do_syscall_64+0x1a/0x80\n";
        tree.write("proc/7/task/8/stack", stack.as_bytes());
        tree.write("proc/7/task/8/comm", b"reader\n");
        let found = |text: &str| task_in_module(&tree.paths(), version(text));
        assert_eq!(found("1.1").unwrap().to_string(), "8 (reader)");
        assert_eq!(found("1.11"), None);
    }

    #[test]
    fn a_patch_that_is_taken_back_is_neither_in_force_nor_on_its_way() {
        let tree = FakeTree::new();
        tree.patch("suture_10_1", true, Some(false));
        tree.patch("suture_11_1", false, Some(true));
        let running = Running::read(&tree.paths()).unwrap();
        assert_eq!(running.in_force, Some(version("10.1")));
        assert_eq!(running.in_transition, None);
        assert_eq!(running.reversing, Some(version("11.1")));
    }

    #[test]
    fn the_kernel_is_asked_through_its_files() {
        let tree = FakeTree::new();
        tree.patch("suture_1_1", true, Some(true));
        assert!(!nudge(&tree.paths(), version("1.1")).unwrap());
        tree.write("sys/kernel/livepatch/suture_1_1/signal", b"");
        assert!(nudge(&tree.paths(), version("1.1")).unwrap());
        reverse(&tree.paths(), version("1.1")).unwrap();
        let read = |file: &str| {
            std::fs::read_to_string(tree.path(&format!("sys/kernel/livepatch/suture_1_1/{file}")))
        };
        assert_eq!(read("signal").unwrap(), "1");
        assert!(read("enabled").unwrap().starts_with('0'));
        assert!(reverse(&tree.paths(), version("2.1")).is_err());
    }
}
