//! What host and guest say to each other over their own line: one JSON object a line of text.
//!
//! A UART has no flow control towards the guest, so a request is kept below what the guest's
//! tty buffers without being read ([`MAX_REQUEST_LINE`]).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Longest request line in bytes. A tty of Linux 4.4 buffers 64 KiB.
pub const MAX_REQUEST_LINE: usize = 48 << 10;

/// Bytes of a file in one [`Action::WriteFile`]; in base64 they fill two thirds of a line.
pub const WRITE_CHUNK: usize = 24 << 10;

/// Bytes of a file in one answer to [`Action::ReadFile`].
pub const READ_CHUNK: u64 = 256 << 10;

/// Bytes kept of each output stream of a command; the rest is dropped and reported as such.
pub const OUTPUT_LIMIT: u64 = 1 << 20;

/// Longest answer line in bytes: two full output streams in base64, with room for the rest.
pub const MAX_ANSWER_LINE: usize = 3 << 20;

/// A request of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Comes back in the answer; answers may come in any order.
    pub id: u64,
    pub action: Action,
}

/// What the guest shall do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Runs a command to its end.
    Run {
        command: Command,
        /// After this many milliseconds the command's process group is killed.
        timeout_ms: u64,
    },
    /// Starts a command and leaves it running, both output streams appended to `log`.
    Spawn { command: Command, log: String },
    /// Writes a piece of a file; `offset` 0 starts it anew.
    WriteFile {
        path: String,
        offset: u64,
        mode: u32,
        data: Bytes,
    },
    /// Reads up to [`READ_CHUNK`] bytes of a file.
    ReadFile { path: String, offset: u64 },
    /// Ends all processes, unmounts the disk and restarts the machine.
    Reboot,
    /// Ends all processes, unmounts the disk and switches the machine off.
    PowerOff,
}

/// A program with its arguments, and who runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub argv: Vec<String>,
    /// Added to the guest's environment.
    pub env: Vec<(String, String)>,
    /// User and group id.
    pub uid: u32,
    pub stdin: Bytes,
}

/// A line of the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The guest serves requests now. Sent once per boot.
    Ready(Ready),
    Answer {
        id: u64,
        answer: Answer,
    },
}

/// What the guest says of itself when it is ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The kernel's `/proc/sys/kernel/random/boot_id`: another one after each boot.
    pub boot_id: String,
    /// What `uname -r` prints.
    pub kernel_release: String,
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    Finished(Finished),
    Started { pid: u32 },
    TimedOut { stdout: Bytes, stderr: Bytes },
    Written,
    Piece { data: Bytes, end: bool },
    GoingDown,
    Failed { reason: String },
}

/// A command that came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// Exit code, or 128 plus the number of the signal that ended it, as a shell has it.
    pub status: i32,
    pub stdout: Bytes,
    pub stderr: Bytes,
    /// Whether a stream was longer than [`OUTPUT_LIMIT`].
    pub truncated: bool,
}

/// Bytes, as base64 in JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Self).map_err(D::Error::custom)
    }
}

/// Why a message cannot be sent.
#[derive(Debug, Error)]
pub enum WireError {
    #[error("a request of {length} bytes is too long, at most {MAX_REQUEST_LINE} fit")]
    TooLong { length: usize },
    #[error("cannot write JSON")]
    Json(#[from] serde_json::Error),
}

/// The bytes of a request on the line, newline included.
pub fn encode_request(request: &Request) -> Result<Vec<u8>, WireError> {
    let line = encode(request)?;
    if line.len() > MAX_REQUEST_LINE {
        return Err(WireError::TooLong { length: line.len() });
    }
    Ok(line)
}

/// The bytes of a message on the line, newline included.
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, WireError> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// Cuts what comes in into lines. A line that is too long is dropped, so that neither side can
/// fill the other's memory.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    partial: Vec<u8>,
    overlong: bool,
}

impl Lines {
    /// `limit`: longest line in bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            partial: Vec::new(),
            overlong: false,
        }
    }

    /// Takes what was read and returns the lines that are complete now, without their newline.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (content, complete) = match piece.strip_suffix(b"\n") {
                Some(content) => (content, true),
                None => (piece, false),
            };
            self.extend(content);
            if complete {
                lines.extend(self.finish());
            }
        }
        lines
    }

    fn extend(&mut self, content: &[u8]) {
        if self.overlong || self.partial.len() + content.len() > self.limit {
            self.overlong = true;
            self.partial.clear();
        } else {
            self.partial.extend_from_slice(content);
        }
    }

    fn finish(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.partial);
        let keep = !std::mem::take(&mut self.overlong) && !line.is_empty();
        keep.then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(argv: &[&str]) -> Request {
        Request {
            id: 7,
            action: Action::Run {
                command: Command {
                    argv: argv.iter().map(ToString::to_string).collect(),
                    env: vec![],
                    uid: 1000,
                    stdin: Bytes::default(),
                },
                timeout_ms: 1500,
            },
        }
    }

    #[test]
    fn a_request_comes_back_from_its_line() {
        let request = run(&["sh", "-c", "printf 'a\\nb'"]);
        let line = encode_request(&request).unwrap();
        assert_eq!(line.iter().filter(|&&byte| byte == b'\n').count(), 1);
        let lines = Lines::new(MAX_REQUEST_LINE).push(&line);
        assert_eq!(
            serde_json::from_slice::<Request>(&lines[0]).unwrap(),
            request
        );
    }

    #[test]
    fn output_that_is_not_text_survives() {
        let line = Line::Answer {
            id: 1,
            answer: Answer::Piece {
                data: Bytes((0..=255).collect()),
                end: true,
            },
        };
        let bytes = encode(&line).unwrap();
        assert_eq!(serde_json::from_slice::<Line>(&bytes).unwrap(), line);
    }

    #[test]
    fn a_request_too_long_for_the_tty_is_refused() {
        let error = encode_request(&run(&[&"x".repeat(MAX_REQUEST_LINE)])).unwrap_err();
        assert!(matches!(error, WireError::TooLong { .. }));
    }

    #[test]
    fn lines_arrive_in_pieces_and_an_overlong_one_is_dropped() {
        let mut lines = Lines::new(5);
        assert!(lines.push(b"ab").is_empty());
        assert_eq!(lines.push(b"c\n\nde"), [b"abc".to_vec()]);
        assert!(lines.push(b"fgh").is_empty());
        assert_eq!(lines.push(b"ijk\nok\n"), [b"ok".to_vec()]);
    }

    #[test]
    fn a_full_write_chunk_fits_into_a_line() {
        let request = Request {
            id: u64::MAX,
            action: Action::WriteFile {
                path: "/".repeat(4096),
                offset: u64::MAX,
                mode: 0o7777,
                data: Bytes(vec![0xff; WRITE_CHUNK]),
            },
        };
        assert!(encode_request(&request).is_ok());
    }
}
