//! The daemon's end of the socket to the keeper.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use suture_advisory::PatchVersion;
use suture_protocol::HardwareId;
use tracing::warn;

use super::message::{self, Answer, Question};
use super::{LoadError, Privileged};
use crate::failure::Failure;
use crate::livepatch_sysfs::{Side, Task};

/// The kernel, through the keeper.
#[derive(Debug)]
pub struct RemoteKernel {
    /// Held from a question to its answer.
    socket: Mutex<OwnedFd>,
}

impl RemoteKernel {
    pub fn new(socket: OwnedFd) -> Self {
        Self {
            socket: Mutex::new(socket),
        }
    }

    fn ask(&self, question: &Question) -> io::Result<(Answer, Option<OwnedFd>)> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = || io::Error::new(io::ErrorKind::BrokenPipe, "the privileged process is gone");
        message::send(&*socket, question, None).map_err(|_| gone())?;
        let (answer, file) = message::receive(&*socket)?.ok_or_else(gone)?;
        match answer {
            Answer::Errno(code) => Err(io::Error::from_raw_os_error(code)),
            Answer::Error(text) => Err(io::Error::other(text)),
            answer => Ok((answer, file)),
        }
    }

    fn tell(&self, question: &Question) -> io::Result<()> {
        match self.ask(question)? {
            (Answer::Done, _) => Ok(()),
            _ => Err(misunderstood()),
        }
    }
}

fn misunderstood() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the privileged process answered something else than it was asked",
    )
}

impl Privileged for RemoteKernel {
    fn load(&self, version: PatchVersion) -> Result<(), LoadError> {
        match self.ask(&Question::Load(version)) {
            Ok((Answer::Done, _)) => Ok(()),
            Ok((Answer::Refused(failure), _)) => Err(LoadError::Refused(failure)),
            Ok(_) => Err(LoadError::Refused(Failure::from_error(&misunderstood()))),
            Err(error) if error.raw_os_error().is_some() => Err(LoadError::Kernel(error)),
            Err(error) => Err(LoadError::Refused(Failure::from_error(&error))),
        }
    }

    fn unload(&self, version: PatchVersion) -> io::Result<()> {
        self.tell(&Question::Unload(version))
    }

    fn reverse(&self, version: PatchVersion) -> io::Result<()> {
        self.tell(&Question::Reverse(version))
    }

    fn nudge(&self, version: PatchVersion) -> io::Result<bool> {
        match self.ask(&Question::Nudge(version))? {
            (Answer::Has(has), _) => Ok(has),
            _ => Err(misunderstood()),
        }
    }

    fn tasks(&self, version: PatchVersion, side: Side) -> Vec<Task> {
        match self.ask(&Question::Tasks(version, side)) {
            Ok((Answer::Tasks(tasks), _)) => tasks,
            Ok(_) => Vec::new(),
            Err(error) => {
                warn!(%error, "the tasks in transition are not known");
                Vec::new()
            }
        }
    }

    fn hardware(&self) -> Option<HardwareId> {
        match self.ask(&Question::Hardware) {
            Ok((Answer::Hardware(id), _)) => id,
            Ok(_) => None,
            Err(error) => {
                warn!(%error, "the firmware's id of this machine is not known");
                None
            }
        }
    }

    fn kernel_log(&self) -> io::Result<File> {
        match self.ask(&Question::KernelLog)? {
            (Answer::File, Some(file)) => Ok(file.into()),
            _ => Err(misunderstood()),
        }
    }
}
