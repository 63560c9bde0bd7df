//! How the agent tells a person that something did not work.

use std::error::Error;
use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::text;

/// An error with its causes and advice, fit to travel over the socket and to be printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What failed and on what, without a full stop.
    pub message: String,
    /// Why, outermost first.
    #[serde(default)]
    pub causes: Vec<String>,
    /// What to do.
    #[serde(default)]
    pub hint: Option<String>,
}

impl Failure {
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            causes: Vec::new(),
            hint: None,
        }
    }

    /// Takes an error with its chain of sources; a source that only repeats the sentence before
    /// it is left out. Some repeat what a server sent, so control characters are left out too.
    ///
    /// A disk without room and one that cannot be written are known wherever they come up.
    pub fn from_error(error: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::new(text::lines(&error.to_string()));
        failure.hint = disk_hint(error).map(str::to_owned);
        let mut last = failure.message.clone();
        let mut source = error.source();
        while let Some(error) = source {
            let text = text::lines(&error.to_string());
            if !last.contains(&text) {
                failure.causes.push(text.clone());
                last = text;
            }
            source = error.source();
        }
        failure
    }

    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The message and its causes in one line, for a log, a status or a report.
    pub fn one_line(&self) -> String {
        let mut line = self.message.clone();
        for cause in &self.causes {
            line.push_str(": ");
            line.push_str(cause);
        }
        line
    }
}

/// What to do about a disk, if it is the cause.
pub fn disk_hint(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        match kind {
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                return Some(
                    "make room on the file system (`df -h /var/lib/livepatch`); what is in force \
                     stays, and the agent goes on by itself",
                );
            }
            Some(io::ErrorKind::ReadOnlyFilesystem) => {
                return Some(
                    "make the file system writable (`findmnt -T /var/lib/livepatch`); after an \
                     error of the disk the kernel's log tells why it is not",
                );
            }
            _ => next = error.source(),
        }
    }
    None
}

impl fmt::Display for Failure {
    /// As it is shown on stderr.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "error: {}", self.message)?;
        for cause in &self.causes {
            write!(formatter, "\n  {}", cause.replace('\n', "\n  "))?;
        }
        match &self.hint {
            Some(hint) => write!(formatter, "\n\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read `state.json`")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn an_error_is_told_once_with_cause_and_advice() {
        let outer = Outer(std::io::Error::other("disk on fire"));
        let failure = Failure::from_error(&outer).hint("look at the disk");
        insta::assert_snapshot!(failure, @r"
        error: cannot read `state.json`
          disk on fire

        hint: look at the disk
        ");
        assert_eq!(failure.one_line(), "cannot read `state.json`: disk on fire");
    }

    #[test]
    fn what_a_server_wrote_cannot_steer_a_terminal_through_an_error() {
        let outer = Outer(std::io::Error::other("unknown variant `\u{1b}[2J`"));
        assert_eq!(
            Failure::from_error(&outer).causes,
            ["unknown variant `[2J`"]
        );
    }
}
