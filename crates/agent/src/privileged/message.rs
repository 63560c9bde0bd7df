//! What travels between daemon and keeper: one JSON document a packet, sometimes with a file.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use suture_advisory::PatchVersion;
use suture_protocol::HardwareId;

use crate::failure::Failure;
use crate::livepatch_sysfs::{Side, Task};

/// Largest packet, in bytes: 32 tasks with the longest names have less.
const LIMIT: usize = 192 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Question {
    Load(PatchVersion),
    Unload(PatchVersion),
    Reverse(PatchVersion),
    Nudge(PatchVersion),
    Tasks(PatchVersion, Side),
    Hardware,
    KernelLog,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    Done,
    /// Whether the kernel has what was asked of it.
    Has(bool),
    Tasks(Vec<Task>),
    Hardware(Option<HardwareId>),
    /// The file goes with the packet.
    File,
    /// An error number of the kernel's.
    Errno(i32),
    /// Another error of input or output.
    Error(String),
    Refused(Failure),
}

impl Answer {
    pub(super) fn of(result: io::Result<Self>) -> Self {
        result.unwrap_or_else(|error| match error.raw_os_error() {
            Some(code) => Self::Errno(code),
            None => Self::Error(error.to_string()),
        })
    }
}

/// Both ends, which keep the packets apart and are not handed on to other programs.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

pub(super) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    file: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files: Vec<_> = file.into_iter().collect();
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(&files));
    }
    let iov = [IoSlice::new(&bytes)];
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(&socket, &iov, &mut control, SendFlags::NOSIGNAL)
    })?;
    Ok(())
}

/// The next message with its file; none when the other end is closed.
pub(super) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
) -> io::Result<Option<(T, Option<OwnedFd>)>> {
    let mut bytes = vec![0; LIMIT];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        let mut iov = [IoSliceMut::new(&mut bytes)];
        rustix::net::recvmsg(&socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    if received.bytes == 0 {
        return Ok(None);
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    Ok(Some((
        serde_json::from_slice(&bytes[..received.bytes])?,
        file,
    )))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;
    use crate::testing::version;

    #[test]
    fn a_message_travels_with_its_file_and_the_end_is_told() {
        let (one, other) = pair().unwrap();
        let question = Question::Tasks(version("104.1"), Side::Patched);
        send(&one, &question, None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), b"content").unwrap();
        let file = File::open(dir.path().join("x")).unwrap();
        send(&one, &Answer::File, Some(file.as_fd())).unwrap();
        drop(one);
        let (received, none) = receive::<Question>(&other).unwrap().unwrap();
        assert_eq!(received, question);
        assert!(none.is_none());
        let (received, file) = receive::<Answer>(&other).unwrap().unwrap();
        assert_eq!(received, Answer::File);
        let mut text = String::new();
        File::from(file.unwrap()).read_to_string(&mut text).unwrap();
        assert_eq!(text, "content");
        assert!(receive::<Answer>(&other).unwrap().is_none());
    }

    #[test]
    fn what_is_no_message_is_an_error() {
        let (one, other) = pair().unwrap();
        rustix::io::write(&one, b"{\"load\": \"../../x\"}").unwrap();
        assert!(receive::<Question>(&other).is_err());
    }
}
