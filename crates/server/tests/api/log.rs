//! What the service logs, kept in memory.

use std::io;
use std::sync::{Mutex, OnceLock};

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Keep;

impl io::Write for Keep {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Keeps everything that is logged from now on, however fine.
pub fn keep() {
    static KEEPING: OnceLock<()> = OnceLock::new();
    KEEPING.get_or_init(|| {
        let levels = tracing_subscriber::EnvFilter::new("trace");
        let lines = tracing_subscriber::fmt()
            .with_env_filter(levels)
            .with_ansi(false);
        lines.with_writer(|| Keep).init();
    });
}

pub fn text() -> String {
    String::from_utf8_lossy(&LINES.lock().unwrap()).into_owned()
}
