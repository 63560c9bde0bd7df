//! What the guest's kernel prints.

/// Most that is kept of a console, in bytes; the older half goes first.
const CONSOLE_LIMIT: usize = 16 << 20;

/// How many lines an error shows.
const LINES_SHOWN: usize = 40;

/// The words with which a kernel panic begins.
const PANIC: &str = "Kernel panic - not syncing";

/// The words with which a boot begins.
const BOOT: &str = "] Linux version ";

/// The words with which the kernel says that a processor's timer never went off (kernel:
/// `rcu_check_gp_kthread_expired_fqs_timer` in kernel/rcu/tree_stall.h, since 5.12).
const LOST_TIMER: &str = "Possible timer handling issue on cpu=";

/// A console's text so far.
#[derive(Debug, Default)]
pub struct Console {
    text: String,
    partial: Vec<u8>,
    panics: Vec<String>,
    lost_timers: usize,
    /// Where in the text the current boot begins.
    boot: usize,
}

impl Console {
    /// Takes what came in and returns the lines that it completed.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.partial.extend_from_slice(bytes);
        let mut lines = Vec::new();
        while let Some(end) = self.partial.iter().position(|&byte| byte == b'\n') {
            let rest = self.partial.split_off(end + 1);
            let line = std::mem::replace(&mut self.partial, rest);
            lines.push(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        if self.partial.len() > CONSOLE_LIMIT {
            self.partial.clear();
        }
        for line in &lines {
            self.keep(line);
        }
        lines
    }

    fn keep(&mut self, line: &str) {
        if line.contains(PANIC) {
            self.panics.push(line.to_owned());
        }
        self.lost_timers += usize::from(line.contains(LOST_TIMER));
        if self.text.len() > CONSOLE_LIMIT {
            let mut cut = self.text.len() / 2;
            while !self.text.is_char_boundary(cut) {
                cut += 1;
            }
            self.text.drain(..cut);
            self.boot = self.boot.saturating_sub(cut);
        }
        if line.contains(BOOT) {
            self.boot = self.text.len();
        }
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// All complete lines.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The lines that announced a panic, over all boots.
    pub fn panics(&self) -> &[String] {
        &self.panics
    }

    /// How often the kernel found that a processor's timer never went off, over all boots.
    pub fn lost_timers(&self) -> usize {
        self.lost_timers
    }

    /// Puts one line in the place of all that the current boot printed.
    pub fn replace_boot(&mut self, line: &str) {
        self.text.truncate(self.boot);
        self.keep(line);
        self.boot = self.text.len();
    }

    /// The last lines, for an error message.
    pub fn tail(&self) -> String {
        let lines: Vec<&str> = self.text.lines().collect();
        let start = lines.len().saturating_sub(LINES_SHOWN);
        lines[start..].join("\n")
    }
}

/// Lines of a console in which the kernel reports a fault of its own: a panic, an oops, a
/// warning, a hung task.
///
/// The words are those of the kernel's Documentation/admin-guide/bug-hunting.rst and of
/// kernel/{hung_task,watchdog}.c, rcu stalls included.
pub fn kernel_faults(console: &str) -> Vec<&str> {
    const FAULTS: &[&str] = &[
        PANIC,
        "BUG: ",
        "Oops: ",
        "general protection fault",
        "kernel BUG at ",
        "self-detected stall on CPU",
        "detected stalls on CPUs",
        "blocked for more than",
        "soft lockup",
    ];
    let faulty = |line: &&str| {
        // Drivers say `DEBUG: ` in messages that report no fault.
        let line = line.replace("DEBUG: ", "");
        FAULTS.iter().any(|fault| line.contains(fault)) || is_warning(&line)
    };
    console.lines().filter(faulty).collect()
}

/// The line that a warning begins with (kernel: `__warn` in kernel/panic.c): `WARNING: CPU: 0 PID:
/// 1 at FILE:LINE FUNCTION`, or in newer kernels `WARNING: FILE:LINE at FUNCTION, CPU#0: COMM/1`.
fn is_warning(line: &str) -> bool {
    let Some((_, told)) = line.split_once("WARNING: ") else {
        return false;
    };
    told.starts_with("CPU:") || (told.contains(" at ") && told.contains(", CPU#"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_over_reads_and_lose_their_carriage_return() {
        let mut console = Console::default();
        assert!(console.push(b"[    0.0").is_empty());
        assert_eq!(console.push(b"] Linux\r\n[ 1"), ["[    0.0] Linux"]);
        assert_eq!(console.text(), "[    0.0] Linux\n");
    }

    #[test]
    fn a_panic_is_remembered() {
        let mut console = Console::default();
        console.push(b"fine\n[ 2.0] Kernel panic - not syncing: Fatal exception\n");
        assert_eq!(
            console.panics(),
            ["[ 2.0] Kernel panic - not syncing: Fatal exception"]
        );
    }

    #[test]
    fn a_boot_that_failed_leaves_one_line() {
        let mut console = Console::default();
        console.push(b"[ 0.0] Linux version 6.1\nfine\n[ 0.0] Linux version 6.1\n");
        console.push(b"rcu: \tPossible timer handling issue on cpu=1 timer-softirq=8\n");
        assert_eq!(console.lost_timers(), 1);
        console.replace_boot("reset");
        console.push(b"[ 0.0] Linux version 6.1\nwell\n");
        assert_eq!(
            console.text(),
            "[ 0.0] Linux version 6.1\nfine\nreset\n[ 0.0] Linux version 6.1\nwell\n"
        );
        console.replace_boot("reset again");
        assert!(console.text().ends_with("fine\nreset\nreset again\n"));
    }

    #[test]
    fn the_tail_is_forty_lines() {
        let mut console = Console::default();
        for number in 0..100 {
            console.push(format!("line {number}\n").as_bytes());
        }
        assert!(console.tail().starts_with("line 60\n"));
        assert!(console.tail().ends_with("line 99"));
    }

    #[test]
    fn faults_are_found_and_ordinary_lines_are_not() {
        let console = "livepatch: enabling patch 'a'\n\
            WARNING: CPU: 0 PID: 1 at kernel/livepatch/core.c:1 f\n\
            WARNING: fs/proc/meminfo.c:60 at f+0xc2a/0xc70 [x], CPU#0: cat/501\n\
            BUG: kernel NULL pointer dereference, address: 0000000000000000\n\
            thing: DEBUG: all is well\n\
            clocksource: Switched to clocksource tsc\n";
        let faults = kernel_faults(console);
        assert_eq!(faults, console.lines().skip(1).take(3).collect::<Vec<_>>());
        assert!(kernel_faults("a: tainting kernel with TAINT_LIVEPATCH").is_empty());
    }
}
