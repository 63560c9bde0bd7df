//! QEMU's machine protocol: commands to the machine itself (docs/interop/qmp-spec of QEMU).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::VmError;

/// How long QEMU may take to answer.
const DEADLINE: Duration = Duration::from_secs(30);

/// Longest line that is read from QEMU, in bytes.
const LINE_LIMIT: u64 = 1 << 20;

/// A connection in command mode.
#[derive(Debug)]
pub struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Takes the greeting and leaves the negotiation mode.
    pub fn open(stream: UnixStream) -> Result<Self, VmError> {
        let broken = |error| VmError::Io("talk to QEMU", error);
        stream.set_read_timeout(Some(DEADLINE)).map_err(broken)?;
        stream.set_write_timeout(Some(DEADLINE)).map_err(broken)?;
        let mut qmp = Self {
            stream: BufReader::new(stream),
        };
        qmp.read()?;
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Carries out one command.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> Result<Value, VmError> {
        let request = json!({ "execute": command, "arguments": arguments });
        let stream = self.stream.get_mut();
        writeln!(stream, "{request}").map_err(|error| VmError::Io("talk to QEMU", error))?;
        loop {
            let mut message = self.read()?;
            if let Some(error) = message.get("error") {
                return Err(VmError::Qmp {
                    command: command.to_owned(),
                    reason: error["desc"]
                        .as_str()
                        .unwrap_or("no reason given")
                        .to_owned(),
                });
            }
            // Anything else is an event.
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
        }
    }

    fn read(&mut self) -> Result<Value, VmError> {
        let mut line = String::new();
        let mut bounded = (&mut self.stream).take(LINE_LIMIT);
        let length = bounded
            .read_line(&mut line)
            .map_err(|error| VmError::Io("talk to QEMU", error))?;
        if length == 0 {
            return Err(VmError::QemuEnded {
                reason: "it closed its control socket".to_owned(),
                console: String::new(),
            });
        }
        Ok(serde_json::from_str(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Plays QEMU with real lines of it.
    fn play(lines: &'static str) -> UnixStream {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(lines.as_bytes()).unwrap();
        thread::spawn(move || std::io::copy(&mut theirs, &mut std::io::sink()));
        ours
    }

    #[test]
    fn events_are_passed_over_and_errors_name_the_command() {
        let stream = play(concat!(
            "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}}, \"capabilities\": [\"oob\"]}}\r\n",
            "{\"return\": {}}\r\n",
            "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"RESET\"}\r\n",
            "{\"return\": {\"running\": true}}\r\n",
            "{\"error\": {\"class\": \"DeviceNotFound\", \"desc\": \"Device 'n1' not found\"}}\r\n",
        ));
        let mut qmp = Qmp::open(stream).unwrap();
        let status = qmp.execute("query-status", &json!({})).unwrap();
        assert_eq!(status, json!({ "running": true }));
        let error = qmp
            .execute("set_link", &json!({ "name": "n1", "up": true }))
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "QEMU refuses `set_link`: Device 'n1' not found"
        );
    }
}
