//! The memory of this process and of all programs that it started, watched from a thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Time between two looks, short against a compile.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks until it is asked for the peak.
pub struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Watch {
    pub fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let mut peak = 0;
            while !told.load(Ordering::Relaxed) {
                peak = peak.max(now());
                std::thread::sleep(INTERVAL);
            }
            peak
        });
        Self { over, thread }
    }

    /// The most bytes that were resident at one time.
    pub fn peak(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().expect("the watching thread")
    }
}

/// Bytes that are resident now. Pages that processes share count for each of them.
fn now() -> u64 {
    let mut processes = HashMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        // A process that has just ended has no status any more.
        if let Ok(status) = std::fs::read_to_string(entry.path().join("status")) {
            let parent = field(&status, "PPid:").unwrap_or_default() as u32;
            let resident = field(&status, "VmRSS:").unwrap_or_default() << 10;
            processes.insert(id, (parent, resident));
        }
    }
    let ours = std::process::id();
    let is_ours = |mut id: u32| {
        while id != ours {
            match processes.get(&id) {
                Some((parent, _)) if *parent != 0 => id = *parent,
                _ => return false,
            }
        }
        true
    };
    let resident = processes.iter().filter(|(id, _)| is_ours(**id));
    resident.map(|(_, (_, resident))| resident).sum()
}

/// The number after a name in `/proc/PID/status` (proc_pid_status(5)).
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
