//! Whoever is told by hooks: see `tests/hooks/stand_in.py`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver as Channel};
use std::time::Duration;

use serde_json::Value;

use crate::stand_in::python;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Far longer than a call takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running receiver; it ends with this.
pub struct Receiver {
    child: Child,
    pub address: String,
    calls: Mutex<Channel<String>>,
}

impl Receiver {
    pub fn start() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut child = Command::new(python("hooks"))
            .arg(here.join("tests/hooks/stand_in.py"))
            .arg(SECRET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the receiver starts");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.next().expect("it listens").unwrap();
        let (said, calls) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            address,
            calls: Mutex::new(calls),
        }
    }

    /// The next call, whose signature was right if it had one.
    pub fn call(&self) -> Value {
        let line = self.calls.lock().unwrap().recv_timeout(PATIENCE);
        serde_json::from_str(&line.expect("somebody calls")).unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
