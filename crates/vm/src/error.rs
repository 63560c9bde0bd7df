//! What can go wrong with a virtual machine.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use suture_kernel::InvalidName;
use thiserror::Error;

use crate::wire::WireError;

/// Why a virtual machine could not be made, or did not do what it was asked for.
#[derive(Debug, Error)]
pub enum VmError {
    #[error("`{program}` is not installed: apt-get install {package}")]
    NotInstalled {
        program: &'static str,
        package: &'static str,
    },
    #[error("cannot run `{program}`")]
    Start {
        program: &'static str,
        source: io::Error,
    },
    #[error("`{program}` failed ({status}): {reason}")]
    Program {
        program: &'static str,
        status: String,
        reason: String,
    },
    #[error(
        "no guest init beside `{}`: build it with `cargo build -p suture-vm`, name it in \
         SUTURE_GUEST_INIT or give it to the builder",
        looked.display()
    )]
    NoGuestInit { looked: PathBuf },
    #[error("cannot {action} `{}`", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("cannot {0}")]
    Io(&'static str, #[source] io::Error),
    #[error("`{}` is not a modules folder: expected lib/modules/RELEASE", path.display())]
    ModulesFolder { path: PathBuf, source: InvalidName },
    #[error("kernel {release} has no module `{module}`, neither as a file nor built in")]
    NoModule { release: String, module: String },
    #[error("cannot read module `{}`", path.display())]
    Module {
        path: PathBuf,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("cannot read the kernel `{}`", path.display())]
    Kernel {
        path: PathBuf,
        source: suture_kernel::image::ImageError,
    },
    #[error("`{path}` cannot be put into the initramfs: {reason}")]
    Initramfs { path: String, reason: &'static str },
    #[error("QEMU ended: {reason}\n{console}")]
    QemuEnded { reason: String, console: String },
    #[error("QEMU refuses `{command}`: {reason}")]
    Qmp { command: String, reason: String },
    #[error("port {guest_port} of the guest cannot be reached: the machine has no network")]
    NotForwarded { guest_port: u16 },
    #[error("the guest did not answer within {after:?}; the end of its console:\n{console}")]
    NoAnswer { after: Duration, console: String },
    #[error("the guest's kernel panicked: {message}\n{console}")]
    KernelPanic { message: String, console: String },
    #[error("the guest, or the server in it, was started anew meanwhile")]
    Restarted,
    #[error("`{command}` did not end within {after:?}; it wrote: {output}")]
    CommandTimeout {
        command: String,
        after: Duration,
        output: String,
    },
    #[error("the guest cannot do it: {0}")]
    Guest(String),
    #[error("the guest answered something else than what was asked for: {0}")]
    UnexpectedAnswer(String),
    #[error("cannot send the request")]
    Wire(#[from] WireError),
    #[error("cannot write the guest's configuration")]
    Json(#[from] serde_json::Error),
}

impl VmError {
    /// An error about a file; `action` is a verb as in `cannot read`.
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File {
            action,
            path,
            source,
        }
    }

    /// An error about starting a program of the host; names its package if it is missing.
    pub(crate) fn start(
        program: &'static str,
        package: &'static str,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::NotFound => Self::NotInstalled { program, package },
            _ => Self::Start { program, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error = VmError::start("qemu-system-x86_64", "qemu-system-x86");
        assert_eq!(
            error(io::ErrorKind::NotFound.into()).to_string(),
            "`qemu-system-x86_64` is not installed: apt-get install qemu-system-x86"
        );
        let error = VmError::start("gcc", "gcc libc6-dev");
        let denied = error(io::ErrorKind::PermissionDenied.into());
        assert_eq!(denied.to_string(), "cannot run `gcc`");
    }
}
