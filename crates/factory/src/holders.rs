//! Which running tasks could hold a transition open, as far as a unit's own code tells.
//!
//! The kernel moves a task to the new code when no function that is replaced is on its stack
//! (the kernel's Documentation/livepatch/livepatch.rst, "Consistency model"). So a task holds the
//! transition open as long as it sleeps in such a function, or in one that this calls. Here the
//! calls are followed within the unit. What a call that leaves the unit does is told from its
//! name only, and what is behind a pointer is not known at all.

use std::collections::{BTreeMap, BTreeSet};

use object::elf;
use serde::Serialize;
use suture_differ::object::{Object, Relocation, SymbolSection};

/// Functions that wait for an event which may never come (`include/linux/{sched,wait,completion,
/// swait,delay,kthread,ptrace,hrtimer}.h`).
const WAITS: &[&str] = &[
    "schedule",
    "schedule_timeout",
    "schedule_timeout_interruptible",
    "schedule_timeout_killable",
    "schedule_timeout_uninterruptible",
    "schedule_timeout_idle",
    "schedule_hrtimeout",
    "schedule_hrtimeout_range",
    "schedule_hrtimeout_range_clock",
    "io_schedule",
    "io_schedule_timeout",
    "prepare_to_wait",
    "prepare_to_wait_event",
    "prepare_to_wait_exclusive",
    "prepare_to_swait_event",
    "prepare_to_swait_exclusive",
    "wait_woken",
    "do_wait_intr",
    "do_wait_intr_irq",
    "wait_for_completion",
    "wait_for_completion_timeout",
    "wait_for_completion_io",
    "wait_for_completion_interruptible",
    "wait_for_completion_interruptible_timeout",
    "wait_for_completion_killable",
    "wait_for_completion_state",
    "out_of_line_wait_on_bit",
    "__wait_on_bit",
    "wait_on_page_bit",
    "folio_wait_bit",
    "poll_schedule_timeout",
    "msleep",
    "msleep_interruptible",
    "hrtimer_nanosleep",
    "do_nanosleep",
    "ptrace_notify",
    "ptrace_stop",
    "do_signal_stop",
    "futex_wait_queue",
    "sigsuspend",
    "__refrigerator",
    "kthread_parkme",
    "flush_work",
    "__flush_workqueue",
];

/// What the main loop of a kernel thread asks in each round (`include/linux/kthread.h`).
const THREAD_LOOP: &[&str] = &[
    "kthread_should_stop",
    "kthread_should_park",
    "kthread_freezable_should_stop",
];

/// Make a thread of a function that they are given.
const THREAD_MAKERS: &[&str] = &[
    "kthread_create_on_node",
    "kthread_create_on_cpu",
    "kernel_thread",
    "user_mode_thread",
];

/// Why a task could stay in a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Holder {
    /// It is, or looks like, the main function of a kernel thread, which never leaves it.
    KernelThread {
        /// What the code shows.
        sign: String,
    },
    /// It waits for an event.
    Wait {
        /// The function that waits.
        primitive: String,
        /// The functions of the unit by which it is called, without the function itself.
        through: Vec<String>,
    },
    /// It calls through pointers; what these functions do is not known.
    Pointers {
        /// Number of such calls.
        calls: usize,
    },
}

/// What the unit's code tells of one of its functions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stay {
    pub holders: Vec<Holder>,
    /// Functions of the unit from which it is reached and that the unit itself does not call:
    /// where tasks come in.
    pub entries: Vec<String>,
}

/// The calls of a unit.
pub(crate) struct Calls {
    /// Functions by name: what each calls and what it only names.
    functions: BTreeMap<String, References>,
}

#[derive(Debug, Default)]
struct References {
    calls: BTreeSet<String>,
    named: BTreeSet<String>,
    pointers: usize,
}

impl Calls {
    /// Reads the functions of an object, best one with a section for each.
    pub fn of(object: &Object) -> Self {
        let mut functions: BTreeMap<String, References> = BTreeMap::new();
        for symbol in object.symbols.iter().filter(|symbol| symbol.is_function()) {
            let Some(section) = symbol.section() else {
                continue;
            };
            let of = functions.entry(whole(&symbol.name).to_owned()).or_default();
            let end = symbol.value.saturating_add(symbol.size);
            for relocation in &object.sections[section].relocations {
                if !(symbol.value..end).contains(&relocation.offset) {
                    continue;
                }
                let Some(target) = target(object, relocation) else {
                    continue;
                };
                let target = whole(&target).to_owned();
                let call = is_branch(&object.sections[section].data, relocation);
                if target.starts_with("__x86_indirect_thunk_") {
                    of.pointers += 1;
                } else if call {
                    of.calls.insert(target);
                } else {
                    of.named.insert(target);
                }
            }
        }
        Self { functions }
    }

    /// What the code tells of a function.
    pub fn stay(&self, function: &str) -> Stay {
        let function = whole(function);
        let mut holders = Vec::new();
        if let Some(sign) = self.thread_sign(function) {
            holders.push(Holder::KernelThread { sign });
        }
        let mut pointers = 0;
        let mut waits: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        // Breadth first, so that the shortest way to each wait is told.
        let mut seen = BTreeSet::from([function]);
        let mut open = vec![(function, Vec::<String>::new())];
        while !open.is_empty() {
            let mut next = Vec::new();
            for (name, way) in open {
                let Some(references) = self.functions.get(name) else {
                    continue;
                };
                pointers += references.pointers;
                for called in &references.calls {
                    if let Some(wait) = WAITS.iter().find(|wait| *wait == called) {
                        waits.entry(wait).or_insert_with(|| way.clone());
                    } else if self.functions.contains_key(called) && seen.insert(called) {
                        next.push((
                            called.as_str(),
                            [way.clone(), vec![called.clone()]].concat(),
                        ));
                    }
                }
            }
            open = next;
        }
        holders.extend(waits.into_iter().map(|(primitive, through)| Holder::Wait {
            primitive: primitive.to_owned(),
            through,
        }));
        if pointers > 0 {
            holders.push(Holder::Pointers { calls: pointers });
        }
        Stay {
            holders,
            entries: self.entries(function),
        }
    }

    fn thread_sign(&self, function: &str) -> Option<String> {
        let maker = self.functions.iter().find_map(|(name, references)| {
            let maker = THREAD_MAKERS
                .iter()
                .find(|maker| references.calls.contains(**maker))?;
            let given = references.named.contains(function);
            given.then(|| format!("`{name}` gives it to `{maker}`"))
        });
        maker.or_else(|| {
            let references = self.functions.get(function)?;
            let asks = THREAD_LOOP
                .iter()
                .find(|name| references.calls.contains(**name))?;
            Some(format!("it asks `{asks}`"))
        })
    }

    fn entries(&self, function: &str) -> Vec<String> {
        let mut seen = BTreeSet::from([function]);
        let mut open = vec![function];
        let mut entries = BTreeSet::new();
        while let Some(name) = open.pop() {
            let mut called = false;
            for (caller, references) in &self.functions {
                if caller != name && references.calls.contains(name) {
                    called = true;
                    if seen.insert(caller) {
                        open.push(caller);
                    }
                }
            }
            if !called {
                entries.insert(name.to_owned());
            }
        }
        entries.remove(function);
        entries.into_iter().collect()
    }
}

/// The function that a split-off part belongs to.
fn whole(name: &str) -> &str {
    name.find(".cold").map_or(name, |end| &name[..end])
}

/// Whether the relocated field is that of a `call`, `jmp` or conditional jump. A field of another
/// instruction that counts from its end follows a byte that none of these has.
fn is_branch(code: &[u8], relocation: &Relocation) -> bool {
    let near = [elf::R_X86_64_PC32.0, elf::R_X86_64_PLT32.0];
    if !near.contains(&relocation.r_type) {
        return false;
    }
    let before = |distance: u64| {
        let place = relocation.offset.checked_sub(distance)?;
        code.get(usize::try_from(place).ok()?).copied()
    };
    match before(1) {
        Some(0xe8 | 0xe9) => true,
        Some(0x80..=0x8f) => before(2) == Some(0x0f),
        _ => false,
    }
}

/// The name of what a relocation refers to; of a place in a section, the function there.
fn target(object: &Object, relocation: &Relocation) -> Option<String> {
    let symbol = object.symbols.get(relocation.symbol as usize)?;
    if !symbol.name.is_empty() && symbol.kind != elf::STT_SECTION.0 {
        return Some(symbol.name.clone());
    }
    let SymbolSection::Section(section) = symbol.home else {
        return None;
    };
    // A branch's addend counts from the end of its field.
    let place = relocation.addend.saturating_add(4).max(0).cast_unsigned();
    let covers = |value: u64, size: u64| value <= place && place < value.saturating_add(size + 4);
    object
        .symbols
        .iter()
        .find(|other| {
            other.is_function()
                && other.section() == Some(section)
                && covers(other.value, other.size)
        })
        .map(|other| other.name.clone())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const UNIT: &str = "
        void schedule(void); int kthread_should_stop(void); void *kthread_create_on_node(int (*)(void *));
        __attribute__((noinline)) static void sleeps(void) { schedule(); __asm__(\"\"); }
        __attribute__((noinline)) static int step(int x) { __asm__(\"\"); sleeps(); return x * 3; }
        int quick(int x) { return x + 1; }
        int entry(int x) { return step(x) + 1; }
        static int loop(void *data) { while (!kthread_should_stop()) step(1); return 0; }
        void start(void) { kthread_create_on_node(loop); }
        static int once(void *data) { return quick(2); }
        void start_once(void) { kthread_create_on_node(once); }
    ";

    fn calls() -> Calls {
        let folder = tempfile::tempdir().unwrap();
        let (input, output) = (folder.path().join("u.c"), folder.path().join("u.o"));
        std::fs::write(&input, UNIT).unwrap();
        let flags = [
            "-c",
            "-O2",
            "-fno-pic",
            "-mcmodel=kernel",
            "-ffunction-sections",
            "-o",
        ];
        let gcc = Command::new("gcc")
            .args(flags)
            .args([&output, &input])
            .status();
        assert!(gcc.unwrap().success());
        Calls::of(&Object::parse(&std::fs::read(output).unwrap()).unwrap())
    }

    #[test]
    fn a_wait_is_found_behind_calls_and_an_entry_above_them() {
        let stay = calls().stay("step");
        let wait = Holder::Wait {
            primitive: "schedule".into(),
            through: vec!["sleeps".into()],
        };
        assert_eq!(stay.holders, [wait]);
        assert_eq!(stay.entries, ["entry", "loop"]);
        assert_eq!(calls().stay("quick").holders, []);
    }

    #[test]
    fn a_thread_is_known_by_its_maker_and_by_its_loop() {
        let sign = |function: &str| match calls().stay(function).holders.first() {
            Some(Holder::KernelThread { sign }) => sign.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(sign("loop"), "`start` gives it to `kthread_create_on_node`");
        assert_eq!(
            sign("once"),
            "`start_once` gives it to `kthread_create_on_node`"
        );
    }
}
