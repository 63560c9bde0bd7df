//! Recognises the beginning of trouble in the kernel's messages and gathers what belongs to it.
//! Pure, and bounded in memory whatever the messages say.
//!
//! ```text
//! ------------[ cut here ]------------          remembered, with the lines up to the next
//! refcount_t: underflow; use-after-free.
//! WARNING: CPU: 1 PID: 812 at lib/refcount.c    trouble begins
//! Modules linked in: …                          left out: it lists every module, guilty or not
//! RIP: 0010:nft_set_destroy+0x42/0x90 [suture_104_1]       names the patch
//! RAX: …                                        left out: addresses stay here
//! ---[ end trace 0000000000000000 ]---          told; also after silence, or too many lines
//! ```

use suture_advisory::PatchVersion;
use suture_protocol::{EventKind, KernelTrouble};

use super::Record;
use crate::text;

/// Lines of one trouble that are looked at; the stacks of all processors would be thousands.
const MOST_LINES: usize = 300;
/// Longest line that is kept, in characters.
const LONGEST_LINE: usize = 200;
/// Lines between `cut here` and the trouble's name that are kept.
const MOST_CONTEXT: usize = 4;
/// Silence in the log after which a trouble is over, in microseconds.
const SILENCE_MICROS: u64 = 2_000_000;
/// Troubles that are told of one minute; a warning in a loop says the same each time.
const MOST_A_MINUTE: u32 = 8;

/// What the kernel reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    pub kind: KernelTrouble,
    /// The first of our live patches that a stack or an instruction pointer names.
    pub names_patch: Option<PatchVersion>,
    /// Its first lines, without those that hold addresses or lists of modules.
    pub text: String,
    /// Of its last message.
    pub sequence: u64,
}

/// Takes message by message, and gives a trouble when its last one is there.
#[derive(Debug, Default)]
pub struct Recogniser {
    open: Option<Open>,
    /// What stands since `cut here`.
    context: Option<Vec<String>>,
    /// The minute of the log in which something was told last, and how often.
    told: (u64, u32),
}

#[derive(Debug)]
struct Open {
    trouble: Trouble,
    lines: usize,
    chars: usize,
    micros: u64,
}

impl Recogniser {
    /// Whether a trouble is being gathered, which [`Self::silence`] would end.
    pub fn is_gathering(&self) -> bool {
        self.open.is_some()
    }

    /// The next message; those of programs are passed over.
    pub fn record(&mut self, record: &Record) -> Vec<Trouble> {
        let mut told = Vec::new();
        if !record.by_kernel {
            return told;
        }
        let late = |open: &Open| record.micros.saturating_sub(open.micros) > SILENCE_MICROS;
        if self.open.as_ref().is_some_and(late) {
            told.extend(self.silence());
        }
        for line in record.text.lines() {
            told.extend(self.line(&text::one_line(line, LONGEST_LINE), record));
        }
        told
    }

    /// Nothing came for a while: what was gathered is all.
    pub fn silence(&mut self) -> Option<Trouble> {
        let open = self.open.take()?;
        let minute = open.micros / 60_000_000;
        if self.told.0 != minute {
            self.told = (minute, 0);
        }
        self.told.1 = self.told.1.saturating_add(1);
        (self.told.1 <= MOST_A_MINUTE).then_some(open.trouble)
    }

    fn line(&mut self, line: &str, record: &Record) -> Option<Trouble> {
        if line.contains("[ cut here ]") {
            self.context = Some(Vec::new());
            return self.silence();
        }
        let begins = beginning(line);
        // An oops tells its name in several lines; all else is a trouble of its own.
        let goes_on = |open: &Open| {
            begins.is_none_or(|kind| {
                kind == KernelTrouble::Oops && open.trouble.kind == KernelTrouble::Oops
            })
        };
        let mut told = None;
        if !self.open.as_ref().is_some_and(goes_on) {
            told = self.silence();
            match begins {
                Some(kind) => self.begin(kind, record),
                None => self.remember(line),
            }
        }
        self.gather(line, record).or(told)
    }

    fn remember(&mut self, line: &str) {
        if let Some(context) = &mut self.context {
            context.push(line.to_owned());
            if context.len() > MOST_CONTEXT {
                self.context = None;
            }
        }
    }

    fn begin(&mut self, kind: KernelTrouble, record: &Record) {
        let mut open = Open {
            trouble: Trouble {
                kind,
                names_patch: None,
                text: String::new(),
                sequence: record.sequence,
            },
            lines: 0,
            chars: 0,
            micros: record.micros,
        };
        for line in self.context.take().unwrap_or_default() {
            open.keep(&line);
        }
        self.open = Some(open);
    }

    fn gather(&mut self, line: &str, record: &Record) -> Option<Trouble> {
        let open = self.open.as_mut()?;
        open.micros = record.micros;
        open.trouble.sequence = record.sequence;
        open.lines += 1;
        if !is_module_list(line) && open.trouble.names_patch.is_none() {
            open.trouble.names_patch = named_patch(line);
        }
        open.keep(line);
        let ends = line.starts_with("---[ end ") || open.lines >= MOST_LINES;
        if ends { self.silence() } else { None }
    }
}

impl Open {
    fn keep(&mut self, line: &str) {
        let count = line.chars().count() + 1;
        if is_module_list(line)
            || holds_addresses(line)
            || self.chars + count > EventKind::MAX_TEXT_CHARS
        {
            return;
        }
        if !self.trouble.text.is_empty() {
            self.trouble.text.push('\n');
        }
        self.trouble.text.push_str(line);
        self.chars += count;
    }
}

/// Names of the processor's exceptions that are told without a word like `BUG` before them.
const EXCEPTIONS: [&str; 8] = [
    "alignment check:",
    "bad frame in ",
    "divide error:",
    "double fault:",
    "int3:",
    "invalid opcode:",
    "stack segment:",
    "PANIC: double fault",
];

/// The kind of trouble whose first line this is.
fn beginning(line: &str) -> Option<KernelTrouble> {
    // Since 4.19, messages of RCU say so.
    let plain = line.strip_prefix("rcu: ").unwrap_or(line);
    let starts = |words: &[&str]| words.iter().any(|word| plain.starts_with(word));
    let task_hangs = plain.starts_with("INFO: task ") && plain.contains(" blocked for more than ");
    let rcu_stalls = plain.starts_with("INFO: rcu") && plain.contains("stall");
    if task_hangs || rcu_stalls || is_lockup(plain) {
        Some(KernelTrouble::Lockup)
    } else if starts(&["WARNING: "]) {
        Some(KernelTrouble::Warning)
    } else if starts(&[
        "BUG: ",
        "kernel BUG at ",
        "Oops: ",
        "Internal error: ",
        "general protection fault",
        "Unable to handle kernel ",
        "Kernel panic - not syncing",
    ]) || starts(&EXCEPTIONS)
    {
        Some(KernelTrouble::Oops)
    } else {
        None
    }
}

fn is_lockup(line: &str) -> bool {
    let watchdog = ["watchdog: ", "NMI watchdog: "];
    let rest = watchdog.iter().find_map(|name| line.strip_prefix(name));
    let rest = rest.unwrap_or(line);
    [
        "BUG: soft lockup",
        "BUG: workqueue lockup",
        "Watchdog detected hard LOCKUP",
    ]
    .iter()
    .any(|start| rest.starts_with(start))
}

fn is_module_list(line: &str) -> bool {
    line.starts_with("Modules linked in:") || line.contains("[last unloaded:")
}

/// Registers and code: of use to a developer at the machine, and a map for an intruder elsewhere.
fn holds_addresses(line: &str) -> bool {
    let line = line.trim_start();
    let Some((name, _)) = line.split_once(':') else {
        return false;
    };
    let name = name.trim_end();
    let general = |prefix: char| {
        let digits = name.strip_prefix(prefix);
        digits.is_some_and(|digits| digits.starts_with(|it: char| it.is_ascii_digit()))
    };
    let known = [
        "Code", "RSP", "RAX", "RDX", "RBP", "FS", "CS", "CR2", "DR0", "DR3", "PKRU", "EAX", "ESI",
        "DS", "sp",
    ];
    known.contains(&name) || ['R', 'x', 'r'].into_iter().any(general)
}

/// `[suture_104_1]` after a function's name; newer kernels may put a build id behind it.
fn named_patch(line: &str) -> Option<PatchVersion> {
    line.split('[').skip(1).find_map(|rest| {
        let inside = rest.split(']').next()?;
        PatchVersion::from_module_name(inside.split(' ').next()?)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::version;

    /// The troubles in a log as dmesg(1) prints it: `[  seconds] text`.
    fn troubles(log: &str) -> Vec<Trouble> {
        let mut recogniser = Recogniser::default();
        let mut told = Vec::new();
        for (n, line) in log.lines().enumerate() {
            let (time, text) = line.strip_prefix('[').unwrap().split_once("] ").unwrap();
            let seconds: f64 = time.trim().parse().unwrap();
            let record = Record {
                by_kernel: true,
                sequence: n as u64,
                micros: (seconds * 1e6) as u64,
                text: text.to_owned(),
            };
            told.extend(recogniser.record(&record));
        }
        told.extend(recogniser.silence());
        told
    }

    /// Kind, named patch and first line of each.
    fn told(log: &str) -> String {
        let line = |trouble: &Trouble| {
            let patch = trouble.names_patch.map(|it| it.to_string());
            let first = trouble.text.lines().next().unwrap_or_default();
            format!(
                "{:?} {}: {first}\n",
                trouble.kind,
                patch.unwrap_or("-".to_owned())
            )
        };
        troubles(log).iter().map(line).collect()
    }

    #[test]
    fn a_warning_in_the_patch_is_told_without_addresses_and_lists() {
        let log = include_str!("samples/warning-in-patch.txt");
        let found = troubles(log);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].names_patch, Some(version("104.1")));
        assert_eq!(found[0].kind, KernelTrouble::Warning);
        insta::assert_snapshot!(found[0].text, @r"
        refcount_t: underflow; use-after-free.
        WARNING: CPU: 1 PID: 812 at lib/refcount.c:28 refcount_warn_saturate+0xba/0x110
        CPU: 1 PID: 812 Comm: nft Tainted: G           OEK    6.1.0-53-amd64 #1  Debian 6.1.187-1
        Hardware name: QEMU Standard PC (i440FX + PIIX, 1996), BIOS 1.16.2-debian-1.16.2-1 04/01/2014
        RIP: 0010:refcount_warn_saturate+0xba/0x110
        Call Trace:
         <TASK>
         nft_set_destroy+0x5c/0x90 [suture_104_1]
         nf_tables_commit+0x31a/0xd40 [nf_tables]
         nfnetlink_rcv_batch+0x7b1/0x8c0 [nfnetlink]
         </TASK>
        ---[ end trace 0000000000000000 ]---
        ");
    }

    #[test]
    fn an_oops_is_one_trouble_and_the_panic_after_it_another() {
        assert_eq!(
            told(include_str!("samples/oops.txt")),
            "Oops 104.1: BUG: kernel NULL pointer dereference, address: 0000000000000018\n\
             Oops -: Kernel panic - not syncing: Fatal exception in interrupt\n"
        );
    }

    #[test]
    fn a_loaded_patch_is_not_guilty_of_what_others_do() {
        assert_eq!(
            told(include_str!("samples/protection-fault.txt")),
            "Oops -: general protection fault, probably for non-canonical address \
             0xdead000000000108: 0000 [#1] PREEMPT SMP NOPTI\n"
        );
    }

    #[test]
    fn a_failed_assertion_begins_after_the_cut() {
        assert_eq!(
            told(include_str!("samples/kernel-bug.txt")),
            "Oops -: kernel BUG at mm/slub.c:435!\n"
        );
    }

    #[test]
    fn lockups_stalls_and_hung_tasks() {
        assert_eq!(
            told(include_str!("samples/lockups.txt")),
            "Lockup 104.1: watchdog: BUG: soft lockup - CPU#2 stuck for 26s! [kworker/2:1:119]\n\
             Lockup -: rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n\
             Lockup -: INFO: task jbd2/vda1-8:214 blocked for more than 120 seconds.\n\
             Lockup -: NMI watchdog: Watchdog detected hard LOCKUP on cpu 3\n"
        );
    }

    #[test]
    fn an_arm64_oops_counts_too() {
        assert_eq!(
            told(include_str!("samples/oops-arm64.txt")),
            "Oops 104.1: Unable to handle kernel NULL pointer dereference at virtual address \
             0000000000000010\n"
        );
    }

    #[test]
    fn loading_a_live_patch_and_a_program_that_crashes_are_no_trouble() {
        assert_eq!(troubles(include_str!("samples/no-trouble.txt")), []);
    }

    #[test]
    fn a_build_id_behind_the_name_does_not_hide_it() {
        let line = " nft_set_destroy+0x5c/0x90 [suture_104_1 5d9e0b4ad84d8c1f0e8f6f2d9d4f]";
        assert_eq!(named_patch(line), Some(version("104.1")));
        assert_eq!(named_patch(" foo+0x1/0x2 [suture_x]"), None);
    }

    #[test]
    fn a_warning_in_a_loop_is_told_a_few_times_a_minute() {
        let warnings = |second: u32| {
            let line = format!("[{second:>5}.000000] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n");
            line.repeat(100)
        };
        let log = format!("{}{}", warnings(10), warnings(100));
        assert_eq!(troubles(&log).len(), 2 * MOST_A_MINUTE as usize);
    }

    #[test]
    fn an_endless_trouble_ends() {
        let mut log = "[1.0] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n".to_owned();
        log.push_str(&"[1.0]  more of it\n".repeat(1000));
        let found = troubles(&log);
        assert_eq!(found.len(), 1);
        assert!(found[0].text.len() <= EventKind::MAX_TEXT_CHARS);
        assert_eq!(found[0].sequence, MOST_LINES as u64 - 1);
    }

    /// Lines as trouble has them, in any order, and others.
    fn any_line() -> impl Strategy<Value = String> {
        let known = [
            "------------[ cut here ]------------",
            "WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2",
            "BUG: soft lockup - CPU#0 stuck for 22s!",
            "Oops: 0002 [#1] PREEMPT SMP",
            "RIP: 0010:f+0x1/0x2 [suture_1_1]",
            "---[ end trace 0000000000000000 ]---",
        ];
        prop_oneof![
            proptest::sample::select(known.to_vec()).prop_map(str::to_owned),
            ".{0,400}",
            "\\PC*\\[suture_[0-9]*_[0-9]*\\]?",
        ]
    }

    proptest! {
        #[test]
        fn any_messages_stay_within_bounds(
            messages in proptest::collection::vec((any_line(), any::<u64>()), 0..400)
        ) {
            let mut recogniser = Recogniser::default();
            let mut last = None;
            for (n, (text, micros)) in messages.into_iter().enumerate() {
                let record = Record { by_kernel: true, sequence: n as u64, micros, text };
                for trouble in recogniser.record(&record) {
                    prop_assert!(trouble.text.chars().count() <= EventKind::MAX_TEXT_CHARS);
                    prop_assert!(Some(trouble.sequence) >= last, "in their order");
                    last = Some(trouble.sequence);
                }
                prop_assert!(recogniser.context.as_ref().is_none_or(|it| it.len() <= MOST_CONTEXT));
            }
            recogniser.silence();
            prop_assert!(!recogniser.is_gathering());
        }
    }
}
