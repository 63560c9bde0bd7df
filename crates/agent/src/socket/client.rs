//! The command line's end. Blocking.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::message::{ANSWER_LIMIT, Answer, Request};
use crate::failure::Failure;

/// Time to take a request.
const SEND_PATIENCE: Duration = Duration::from_secs(5);

/// Asks the daemon. An answer that tells of a failure comes back as one.
pub fn call(path: &Path, request: &Request, patience: Duration) -> Result<Answer, Failure> {
    let answer = exchange(path, request, patience).map_err(|error| not_answered(path, &error))?;
    match serde_json::from_slice(&answer) {
        Ok(Answer::Failed { failure }) => Err(failure),
        Ok(answer) => Ok(answer),
        Err(error) => Err(Failure::new("the daemon's answer cannot be read")
            .because(error.to_string())
            .hint("is the daemon of another version? `systemctl restart livepatchd`")),
    }
}

fn exchange(path: &Path, request: &Request, patience: Duration) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(SEND_PATIENCE))?;
    stream.set_read_timeout(Some(patience))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = Vec::new();
    stream.take(ANSWER_LIMIT).read_to_end(&mut answer)?;
    Ok(answer)
}

fn not_answered(path: &Path, error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            Failure::new("the livepatch daemon is not running")
                .because(format!("cannot connect to `{}`: {error}", path.display()))
                .hint("start it: `systemctl start livepatchd`")
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            Failure::new("the livepatch daemon does not answer")
                .hint("what it does is in its log: `journalctl -u livepatchd`")
        }
        _ => Failure::new(format!("cannot talk to the daemon at `{}`", path.display()))
            .because(error.to_string()),
    }
}
