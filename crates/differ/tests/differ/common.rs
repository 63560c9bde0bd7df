//! Compiles the cases under `tests/cases` the way the kernel compiles its units.

use std::path::{Path, PathBuf};
use std::process::Command;

use object::LittleEndian as LE;
use object::elf::{FileHeader64, SHF_EXECINSTR};
use object::read::elf::{FileHeader, SectionHeader, Sym};
use suture_differ::{
    Extraction, FunctionStatus, ReferencedSymbol, SymbolHome, SymbolResolver, Unresolved, compare,
    extract,
};
use suture_kernel::ObjectName;

const FLAGS: &[&str] = &[
    "-c",
    "-O2",
    "-pg",
    "-mfentry",
    "-mrecord-mcount",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-pie",
    "-mcmodel=kernel",
    "-mno-red-zone",
    "-fcf-protection=none",
    "-fno-asynchronous-unwind-tables",
    "-fno-stack-protector",
    "-fno-common",
];

/// The objects of a case, before and after.
pub fn objects(case: &str) -> (Vec<u8>, Vec<u8>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cases")
        .join(case);
    (
        compile(&folder.join("old.c")),
        compile(&folder.join("new.c")),
    )
}

/// Compiles one source; it sees itself under its bare name. A file `flags` beside it may add some.
pub fn compile(source: &Path) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let object: PathBuf = folder.path().join("unit.o");
    let mut gcc = Command::new("gcc");
    let more = std::fs::read_to_string(source.with_file_name("flags")).unwrap_or_default();
    gcc.current_dir(source.parent().unwrap())
        .args(FLAGS)
        .args(more.split_whitespace());
    gcc.arg(source.file_name().unwrap()).arg("-o").arg(&object);
    let status = gcc.status().unwrap();
    assert!(status.success(), "gcc failed on {}", source.display());
    std::fs::read(object).unwrap()
}

/// A kernel in which names say where they live.
pub struct Kernel(pub ObjectName);

impl SymbolResolver for Kernel {
    fn resolve(&self, symbol: &ReferencedSymbol<'_>) -> Result<SymbolHome, Unresolved> {
        let home = |object: &str, sympos| SymbolHome::Livepatch {
            object: object.parse().unwrap(),
            sympos,
        };
        let name = symbol.name;
        Ok(if name.ends_with("missing") {
            return Err(Unresolved {
                name: name.to_owned(),
                reason: "no such symbol".to_owned(),
            });
        } else if name.starts_with("exported_") || name == "__fentry__" {
            SymbolHome::Exported
        } else if name.starts_with("journal_") {
            home("jbd2", 0)
        } else {
            home(self.0.as_str(), if symbol.local { 2 } else { 0 })
        })
    }

    fn function_position(&self, _name: &str) -> Result<u64, Unresolved> {
        Ok(1)
    }

    fn is_inlined(&self, function: &str) -> bool {
        function.starts_with("inlined_")
    }
}

/// Which functions are not the same, and what speaks against a patch.
pub fn diff_case(case: &str) -> String {
    let (old, new) = objects(case);
    let comparison = compare(&old, &new).unwrap();
    let mut lines: Vec<String> = comparison
        .functions
        .iter()
        .filter(|function| function.status != FunctionStatus::Same)
        .map(|function| format!("{:?} {}", function.status, function.name))
        .collect();
    lines.extend(
        comparison
            .refusals
            .iter()
            .map(|refusal| format!("refused: {refusal}")),
    );
    lines.join("\n")
}

/// What is extracted for a unit of vmlinux.
pub fn extract_case(case: &str) -> String {
    extract_case_of(case, "vmlinux")
}

/// What is extracted for a unit of an object.
pub fn extract_case_of(case: &str, object: &str) -> String {
    let object: ObjectName = object.parse().unwrap();
    let (old, new) = objects(case);
    match extract(&old, &new, &object, "u0", &Kernel(object.clone())).unwrap() {
        Extraction::NoChange => "no change".to_owned(),
        Extraction::Refused(refusals) => refusals
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n"),
        Extraction::Patch(patch) => {
            let functions = patch.functions.iter();
            let mut lines: Vec<String> = functions
                .map(|function| {
                    let (name, position) = (&function.old_name, function.old_sympos);
                    format!("patch {name},{position} by {}", function.alias)
                })
                .collect();
            lines.extend(describe(&patch.object));
            lines.join("\n")
        }
    }
}

/// Sections with their size (code: without), and what each refers to. Numbers that depend on the
/// compiler at hand are left out.
pub fn describe(bytes: &[u8]) -> Vec<String> {
    let header = FileHeader64::<LE>::parse(bytes).unwrap();
    let sections = header.sections(LE, bytes).unwrap();
    let table = sections
        .symbols(LE, bytes, object::elf::SHT_SYMTAB)
        .unwrap();
    let section_name = |index: object::SectionIndex| {
        let section = sections.section(index).unwrap();
        let name = String::from_utf8_lossy(sections.section_name(LE, section).unwrap());
        name.trim_end_matches(|c: char| c.is_ascii_digit())
            .to_owned()
    };
    let mut lines = Vec::new();
    for (index, section) in sections.enumerate().skip(1) {
        let name = section_name(index);
        let alloc = section.sh_flags(LE).0 & object::elf::SHF_ALLOC.0 != 0;
        if let Some((entries, _)) = section.rela(LE, bytes).unwrap() {
            let mut targets: Vec<String> = Vec::new();
            for entry in entries {
                let index = (entry.r_info.get(LE) >> 32) as usize;
                let symbol = table.symbol(object::SymbolIndex(index)).unwrap();
                let name = String::from_utf8_lossy(symbol.name(LE, table.strings()).unwrap());
                let target = if name.is_empty() {
                    section_name(object::SectionIndex(usize::from(symbol.st_shndx(LE).0)))
                } else {
                    without_numbers(&name)
                };
                if target != "__fentry__" && !targets.contains(&target) {
                    targets.push(target);
                }
            }
            targets.sort();
            if !targets.is_empty() {
                lines.push(format!("{name} -> {}", targets.join(" ")));
            }
        } else if alloc && section.sh_size(LE) > 0 {
            let code = section.sh_flags(LE).0 & SHF_EXECINSTR.0 != 0;
            let size = if code {
                "code".to_owned()
            } else {
                section.sh_size(LE).to_string()
            };
            lines.push(format!("{name}: {size}"));
        }
    }
    lines
}

/// `.klp.sym.vmlinux.count.12,2` → `.klp.sym.vmlinux.count.N,2`.
fn without_numbers(name: &str) -> String {
    let (stem, position) = name.split_once(',').unwrap_or((name, ""));
    let parts = stem.split('.').map(|part| {
        let number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if number { "N" } else { part }
    });
    let stem = parts.collect::<Vec<_>>().join(".");
    if position.is_empty() {
        stem
    } else {
        format!("{stem},{position}")
    }
}
