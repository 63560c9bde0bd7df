//! The process that stays root: starts the daemon as another user and answers its questions.
//!
//! It has no network, no state and nothing to do between questions; it ends with the daemon.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::message::{self, Answer, Question};
use super::{HostKernel, LoadError, Privileged};
use crate::cli::print_error;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::idle;
use crate::paths::Paths;
use crate::sandbox::{self, ServiceUser};

/// Runs until the daemon ends, and ends as it did.
pub fn run(paths: &Paths) -> Result<ExitCode, Failure> {
    // For the daemon as well, which inherits it.
    idle::take_small_pages();
    let user = ServiceUser::find(paths)?;
    sandbox::hand_over(paths, user)?;
    let cannot =
        |error: io::Error| Failure::new("cannot start the daemon").because(error.to_string());
    // Before the daemon is there: from now on a signal is for the daemon, and none is lost.
    let signals = Signals::new([SIGTERM, SIGINT]).map_err(cannot)?;
    let (ours, theirs) = message::pair().map_err(cannot)?;
    let mut daemon = start(paths, theirs).map_err(cannot)?;
    sandbox::confine_keeper()?;
    hand_on(signals, Pid::from_child(&daemon));
    let served = serve(&ours, &HostKernel::new(paths.clone()));
    // It waits for no answer of ours, nor starts another load.
    drop(ours);
    if served.is_err() {
        // Without a keeper it would go on, and apply nothing.
        let _ = rustix::process::kill_process(Pid::from_child(&daemon), Signal::TERM);
    }
    let ended = daemon.wait().map_err(cannot)?;
    served.map_err(|error| {
        Failure::new("the daemon sent something that is no question").because(error.to_string())
    })?;
    Ok(match ended.success() {
        true => ExitCode::Success,
        // It said itself what went wrong, unless a signal ended it.
        false => {
            if ended.code().is_none() {
                print_error(&format!("error: the daemon was ended: {ended}\n"));
            }
            ExitCode::Failure
        }
    })
}

/// This very program, even if its file was replaced meanwhile.
fn start(paths: &Paths, socket: OwnedFd) -> io::Result<Child> {
    Command::new("/proc/self/exe")
        .arg("--root-dir")
        .arg(paths.prefix())
        .args(["daemon", "--unprivileged"])
        .stdin(Stdio::from(socket))
        .spawn()
}

fn hand_on(mut signals: Signals, daemon: Pid) {
    thread::spawn(move || {
        for _ in signals.forever() {
            // It may have ended already.
            let _ = rustix::process::kill_process(daemon, Signal::TERM);
        }
    });
}

fn serve(socket: &OwnedFd, kernel: &dyn Privileged) -> io::Result<()> {
    while let Some((question, _)) = message::receive::<Question>(socket)? {
        let (answer, file) = answer(&question, kernel);
        idle::give_memory_back();
        let sent = message::send(socket, &answer, file.as_ref().map(AsFd::as_fd));
        match sent {
            // The daemon was ended; the next read says so, too.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other?,
        }
    }
    Ok(())
}

fn answer(question: &Question, kernel: &dyn Privileged) -> (Answer, Option<OwnedFd>) {
    let done = |result: io::Result<()>| Answer::of(result.map(|()| Answer::Done));
    let answer = match *question {
        Question::Load(version) => match kernel.load(version) {
            Ok(()) => Answer::Done,
            Err(LoadError::Kernel(error)) => Answer::of(Err(error)),
            Err(LoadError::Refused(failure)) => Answer::Refused(failure),
        },
        Question::Unload(version) => done(kernel.unload(version)),
        Question::Reverse(version) => done(kernel.reverse(version)),
        Question::Nudge(version) => Answer::of(kernel.nudge(version).map(Answer::Has)),
        Question::Tasks(version, side) => Answer::Tasks(kernel.tasks(version, side)),
        Question::Hardware => Answer::Hardware(kernel.hardware()),
        Question::KernelLog => match kernel.kernel_log() {
            Ok(file) => return (Answer::File, Some(file.into())),
            Err(error) => Answer::of(Err(error)),
        },
    };
    (answer, None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustix::io::Errno;

    use super::super::RemoteKernel;
    use super::*;
    use crate::livepatch_sysfs::Side;
    use crate::testing::{Behaviour, FakeKernel, FakeTree, version};

    /// A keeper of a fake kernel, and the daemon's end.
    fn kept() -> (Arc<FakeTree>, Arc<FakeKernel>, RemoteKernel) {
        let tree = Arc::new(FakeTree::new());
        let kernel = Arc::new(FakeKernel::new(tree.clone()));
        let (ours, theirs) = message::pair().unwrap();
        let serving = kernel.clone();
        thread::spawn(move || serve(&ours, &*serving).unwrap());
        (tree, kernel, RemoteKernel::new(theirs))
    }

    #[test]
    fn the_daemon_hears_what_the_kernel_says() {
        let (tree, kernel, remote) = kept();
        remote.load(version("104.1")).unwrap();
        assert_eq!(kernel.loads(), ["suture_104_1"]);
        kernel.set(Behaviour::Refuse(Errno::KEYREJECTED));
        let refused = remote.load(version("105.1")).unwrap_err();
        let LoadError::Kernel(error) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(Errno::from_io_error(&error), Some(Errno::KEYREJECTED));
        remote.unload(version("104.1")).unwrap();
        assert_eq!(kernel.unloads(), ["suture_104_1"]);
        assert!(!remote.nudge(version("104.1")).unwrap());
        assert!(remote.reverse(version("9.9")).is_err());
        tree.write("proc/7/task/7/patch_state", b"0\n");
        tree.write("proc/7/task/7/comm", b"sh\n");
        let tasks = remote.tasks(version("104.1"), Side::Unpatched);
        assert_eq!((tasks.len(), tasks[0].name.as_str()), (1, "sh"));
        assert!(remote.kernel_log().is_err());
        assert_eq!(remote.hardware(), None);
        let uuid = b"4c4c4544-0051-3510-8052-b4c04f4a4d32\n";
        tree.write("sys/class/dmi/id/product_uuid", uuid);
        assert!(remote.hardware().is_some());
        tree.write("dev/kmsg", b"");
        assert!(remote.kernel_log().is_ok());
    }

    #[test]
    fn a_keeper_that_is_gone_is_told_and_never_a_hang() {
        let (ours, theirs) = message::pair().unwrap();
        let remote = RemoteKernel::new(theirs);
        drop(ours);
        let Err(LoadError::Refused(failure)) = remote.load(version("1.1")) else {
            panic!("there is no keeper");
        };
        assert_eq!(failure.message, "the privileged process is gone");
        assert!(remote.tasks(version("1.1"), Side::Patched).is_empty());
    }
}
