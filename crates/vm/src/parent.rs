//! Children that do not outlive the process that started them.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::io::Errno;
use rustix::process::Signal;

/// Lets the kernel kill the child when the thread that starts it ends, as it also does when its
/// process is killed and runs no destructor (source: PR_SET_PDEATHSIG(2const)).
///
/// So the thread that starts the child has to live as long as the child is needed.
pub fn end_with_parent(command: &mut Command) -> &mut Command {
    let parent = rustix::process::getpid();
    let prepare = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        // Of a parent that ended before this, no signal comes any more.
        if rustix::process::getppid() == Some(parent) {
            Ok(())
        } else {
            Err(Errno::SRCH.into())
        }
    };
    // SAFETY: between fork and exec it makes two system calls, prctl(2) and getppid(2), and
    // neither allocates nor takes a lock.
    unsafe { command.pre_exec(prepare) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::thread;

    use super::*;

    #[test]
    fn a_child_is_killed_when_the_thread_that_started_it_ends() {
        let mut command = Command::new("sleep");
        command.arg("60");
        let started = thread::spawn(move || end_with_parent(&mut command).spawn());
        let mut child = started.join().unwrap().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
    }
}
