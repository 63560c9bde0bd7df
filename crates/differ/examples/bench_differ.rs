//! How long the differ takes, and how much memory, against merely reading the same objects.
//!
//! `bench_differ [ORIG.o PATCHED.o]`: without arguments it compiles a unit of some 3,250 sections
//! with `gcc`, in which one function changed. Times are the best of several rounds in one run.

#[path = "../../../fuzz/allocation.rs"]
mod allocation;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use object::LittleEndian as LE;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader as _, SectionHeader as _, Sym as _};
use suture_differ::{EntrySizes, report};

const ROUNDS: u32 = 20;
/// Functions of the compiled unit. Each has its code, its relocations and a share of data.
const FUNCTIONS: u32 = 760;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (original, patched) = match arguments.as_slice() {
        [original, patched] => (read(Path::new(original)), read(Path::new(patched))),
        [] => (compile(false), compile(true)),
        _ => panic!("expected two objects or none"),
    };
    let vmlinux = "vmlinux".parse().expect("a name of an object");
    let sizes = EntrySizes::default();
    let compare = || {
        report(&original, &patched, &vmlinux, &sizes).expect("the objects are readable");
    };
    let (_, peak) = allocation::peak_of(compare);
    let both = original.len() + patched.len();
    let reading = best(|| touch(&original) + touch(&patched));
    let comparing = best(compare);
    println!("sections                 {:>8}", sections(&original));
    println!("input, both objects      {:>8} KiB", both >> 10);
    println!("reading all of it        {:>8.2} ms", milliseconds(reading));
    println!(
        "the differ               {:>8.2} ms",
        milliseconds(comparing)
    );
    let ratio = comparing.as_secs_f64() / reading.as_secs_f64();
    println!("the differ / reading     {ratio:>8.1}");
    println!("memory                   {:>8} KiB", peak >> 10);
    println!(
        "memory / input           {:>8.2}",
        peak as f64 / both as f64
    );
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("cannot read `{}`: {error}", path.display()))
}

fn best<T>(mut work: impl FnMut() -> T) -> Duration {
    let once = |_| {
        let start = Instant::now();
        std::hint::black_box(work());
        start.elapsed()
    };
    (0..ROUNDS).map(once).min().unwrap_or_default()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn sections(bytes: &[u8]) -> usize {
    let header = FileHeader64::<LE>::parse(bytes).expect("an ELF file");
    header.sections(LE, bytes).expect("sections").len()
}

/// Looks at every symbol's name and every relocation, and adds something up.
fn touch(bytes: &[u8]) -> u64 {
    let header = FileHeader64::<LE>::parse(bytes).expect("an ELF file");
    let sections = header.sections(LE, bytes).expect("sections");
    let table = sections.symbols(LE, bytes, object::elf::SHT_SYMTAB);
    let table = table.expect("symbols");
    let names = table
        .iter()
        .filter_map(|symbol| symbol.name(LE, table.strings()).ok());
    let mut sum = names.map(|name| name.len() as u64).sum();
    for section in sections.iter() {
        if let Ok(Some((entries, _))) = section.rela(LE, bytes) {
            sum += entries
                .iter()
                .map(|entry| entry.r_offset.get(LE))
                .sum::<u64>();
        } else {
            let data = section.data(LE, bytes).unwrap_or_default();
            sum += data.iter().map(|&byte| u64::from(byte)).sum::<u64>();
        }
    }
    sum
}

fn source(fixed: bool) -> String {
    let mut source = String::from("extern int printed(const char *text, ...);\n");
    for number in 0..FUNCTIONS {
        if number % 4 == 0 {
            writeln!(source, "int datum_{number} = {number};").expect("memory");
        }
        let (datum, before) = (number / 4 * 4, number.saturating_sub(7));
        let extra = if fixed && number == FUNCTIONS / 2 {
            "if (n < 0) return -22;"
        } else {
            ""
        };
        writeln!(
            source,
            "int function_{number}(int n, long *list) {{ {extra}
             static int count_{number};
             for (int i = 0; i < n; i++) {{
               if (list[i] > {number}) {{ list[i] -= datum_{datum}++; count_{number}++; }}
               else if (printed(\"text {number}: %d\", i)) list[i] ^= printed(\"other {number}\", n);
               if (list[i] == {number} * 3) n += function_{before}(n - 1, list + 1);
             }}
             return n + count_{number} + printed(\"end of {number}\"); }}"
        )
        .expect("memory");
    }
    source
}

fn compile(fixed: bool) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("unit.c");
    std::fs::write(&path, source(fixed)).expect("the source can be written");
    let object = folder.path().join("unit.o");
    let status = Command::new("gcc")
        .current_dir(folder.path())
        .args([
            "-c",
            "-O2",
            "-pg",
            "-mfentry",
            "-mrecord-mcount",
            "-ffunction-sections",
        ])
        .args([
            "-fdata-sections",
            "-fno-pie",
            "-mcmodel=kernel",
            "-fcf-protection=none",
        ])
        .args(["-fno-asynchronous-unwind-tables", "unit.c", "-o", "unit.o"])
        .status()
        .expect("gcc runs");
    assert!(status.success(), "gcc failed");
    read(&object)
}
