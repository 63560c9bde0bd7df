//! Landlock: which files the daemon may change.

use std::fmt;
use std::io;
use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, PathFdError, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use thiserror::Error;

/// What is asked for; older kernels enforce the part that they know.
const NEWEST: ABI = ABI::V6;

/// How much of it the kernel enforces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enforced {
    Fully,
    Partly,
    /// The kernel has no Landlock, or it is not switched on (`lsm=`).
    Not,
}

impl fmt::Display for Enforced {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Fully => "Landlock",
            Self::Partly => "Landlock as far as this kernel has it",
            Self::Not => "no Landlock in this kernel",
        })
    }
}

#[derive(Debug, Error)]
pub enum FilesError {
    #[error("the agent cannot confine itself to its files")]
    Ruleset(#[from] RulesetError),
    #[error("the agent cannot confine itself to its files")]
    Path(#[from] PathFdError),
    #[error("the agent cannot confine itself to its files")]
    Io(#[from] io::Error),
}

/// From now on this thread, and those it starts, read what the user may read, write below
/// `writable` alone, run no program, and signal no process outside.
pub(super) fn confine(writable: &[PathBuf]) -> Result<Enforced, FilesError> {
    let all = AccessFs::from_all(NEWEST);
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut ruleset = Ruleset::default()
        .handle_access(all)?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new("/")?, read))?;
    for folder in writable {
        let access = all & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock);
        ruleset = ruleset.add_rule(PathBeneath::new(PathFd::new(folder)?, access))?;
    }
    Ok(match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Enforced::Fully,
        RulesetStatus::PartiallyEnforced => Enforced::Partly,
        RulesetStatus::NotEnforced => Enforced::Not,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// In a thread of its own, which alone is confined.
    #[test]
    fn the_daemon_writes_its_folders_alone_and_runs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, others) = (dir.path().join("ours"), dir.path().join("others"));
        fs::create_dir(&ours).unwrap();
        fs::create_dir(&others).unwrap();
        fs::write(others.join("file"), b"text").unwrap();
        let tried = std::thread::spawn(move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            let enforced = confine(std::slice::from_ref(&ours)).unwrap();
            fs::write(ours.join("file"), b"ours").unwrap();
            fs::rename(ours.join("file"), ours.join("renamed")).unwrap();
            assert_eq!(fs::read(others.join("file")).unwrap(), b"text");
            let foreign = [
                fs::write(others.join("new"), b"").err(),
                fs::remove_file(others.join("file")).err(),
                Command::new("/bin/true").spawn().err(),
            ];
            (enforced, foreign.map(|error| error.map(|it| it.kind())))
        });
        let (enforced, foreign) = tried.join().unwrap();
        let expected = match enforced {
            // The build machine's kernel decides; a virtual machine of ours has it.
            Enforced::Not => [None; 3],
            _ => [Some(io::ErrorKind::PermissionDenied); 3],
        };
        assert_eq!(foreign, expected);
    }
}
