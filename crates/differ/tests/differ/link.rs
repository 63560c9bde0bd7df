//! Extracted objects go through the linker, and their code runs.

use std::path::Path;
use std::process::Command;

use crate::common::{Kernel, compile, objects};
use insta::assert_snapshot;
use object::LittleEndian as LE;
use object::elf::FileHeader64;
use object::read::elf::{FileHeader, SectionHeader, Sym};
use suture_differ::{Extraction, extract, post_link};
use suture_kernel::ObjectName;

fn extracted(case: &str, object: &str, unit: &str) -> Vec<u8> {
    let object: ObjectName = object.parse().unwrap();
    let (old, new) = objects(case);
    match extract(&old, &new, &object, unit, &Kernel(object.clone())).unwrap() {
        Extraction::Patch(patch) => patch.object,
        other => panic!("{other:?}"),
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// The new code runs in a program that plays the kernel: its variables, constants and functions
/// are the program's, what is new is the patch's own.
#[test]
fn extracted_code_runs_against_the_originals_symbols() {
    let folder = tempfile::tempdir().unwrap();
    let (patch, bound) = (folder.path().join("patch.o"), folder.path().join("bound.o"));
    std::fs::write(&patch, extracted("runs", "vmlinux", "u0")).unwrap();
    let symbols = run(Command::new("nm").arg("-u").arg(&patch));
    let mut objcopy = Command::new("objcopy");
    for symbol in symbols
        .split_whitespace()
        .filter(|name| name.starts_with(".klp.sym."))
    {
        let plain = symbol.strip_prefix(".klp.sym.vmlinux.").unwrap();
        let plain = plain.split([',', '.']).next().unwrap();
        objcopy.arg(format!("--redefine-sym={symbol}={plain}"));
    }
    run(objcopy.arg(&patch).arg(&bound));
    let driver = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/runs/driver.c");
    let program = folder.path().join("program");
    run(Command::new("gcc")
        .args(["-static", "-no-pie", "-O1", "-o"])
        .args([&program, &driver, &bound]));
    assert_snapshot!(run(&mut Command::new(&program)), @r"
    three
    of
    fixed
    kernel's
    patch's
    53130
    far too small
    two
    fresh
    fixed
    kernel's
    patch's
    59355
    49 3
    ");
}

/// A module that patches vmlinux and ext4, as Kbuild links it.
fn linked_module() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let glue = folder.path().join("glue.c");
    let source = "extern void a(void) __asm__(\"__suture_u0_0\");\n\
                  extern void b(void) __asm__(\"__suture_u1_0\");\n\
                  void *functions[] = { a, b };\n";
    std::fs::write(&glue, source).unwrap();
    let paths = ["glue.o", "u0.o", "u1.o", "module.ko"].map(|name| folder.path().join(name));
    std::fs::write(&paths[0], compile(&glue)).unwrap();
    std::fs::write(&paths[1], extracted("one-function", "vmlinux", "u0")).unwrap();
    std::fs::write(&paths[2], extracted("third-module", "ext4", "u1")).unwrap();
    let [glue, vmlinux, ext4, module] = &paths;
    run(Command::new("ld")
        .arg("-r")
        .args([glue, vmlinux, ext4])
        .arg("-o")
        .arg(module));
    std::fs::read(module).unwrap()
}

/// Livepatch symbols and relocation sections of a module.
fn livepatch_parts(module: &[u8]) -> String {
    let header = FileHeader64::<LE>::parse(module).unwrap();
    let sections = header.sections(LE, module).unwrap();
    let symtab = sections
        .symbols(LE, module, object::elf::SHT_SYMTAB)
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let symbol = |index: usize| symtab.symbol(object::SymbolIndex(index)).unwrap();
    let name = |index: usize| text(symbol(index).name(LE, symtab.strings()).unwrap());
    let mut lines = Vec::new();
    for index in 1..symtab.len() {
        if name(index).starts_with(".klp.") {
            lines.push(format!(
                "{} {:#x}",
                name(index),
                symbol(index).st_shndx.get(LE).0
            ));
        }
    }
    lines.sort();
    for section in sections.iter() {
        let Some((entries, link)) = section.rela(LE, module).unwrap() else {
            continue;
        };
        let title = text(sections.section_name(LE, section).unwrap());
        let target = sections.section(object::SectionIndex(section.sh_info.get(LE) as usize));
        let target = text(sections.section_name(LE, target.unwrap()).unwrap());
        assert_eq!(link.0, symtab.section().0);
        let flags = section.sh_flags.get(LE).0;
        let mut symbols: Vec<String> = entries
            .iter()
            .map(|entry| name((entry.r_info.get(LE) >> 32) as usize))
            .collect();
        symbols.retain(|name| name.starts_with(".klp."));
        if title.starts_with(".klp") || !symbols.is_empty() {
            lines.push(format!(
                "{title} {flags:#x} for {target}: {}",
                symbols.join(" ")
            ));
        }
    }
    lines.join("\n")
}

#[test]
fn post_link_moves_livepatch_relocations_to_their_object() {
    assert_snapshot!(livepatch_parts(&post_link(&linked_module()).unwrap()), @r"
    .klp.sym.ext4.hidden,0 0xff20
    .klp.sym.ext4.hook,0 0xff20
    .klp.sym.jbd2.journal_stop,0 0xff20
    .klp.sym.vmlinux.hidden,0 0xff20
    .klp.sym.vmlinux.hits,2 0xff20
    .klp.rela.ext4..text.fixed 0x100042 for .text.fixed: .klp.sym.jbd2.journal_stop,0 .klp.sym.ext4.hidden,0 .klp.sym.ext4.hook,0
    .klp.rela.vmlinux..text.fixed 0x100042 for .text.fixed: .klp.sym.vmlinux.hidden,0 .klp.sym.vmlinux.hits,2
    ");
}

#[test]
fn post_link_is_deterministic_and_done_once() {
    let module = linked_module();
    let first = post_link(&module).unwrap();
    assert_eq!(first, post_link(&module).unwrap());
    assert_eq!(first, post_link(&first).unwrap());
}

#[test]
fn damaged_objects_are_errors_and_never_panics() {
    let (old, new) = objects("special-sections");
    let kernel = Kernel(ObjectName::vmlinux());
    let mut rejected = 0;
    for step in 0..new.len() {
        let mut damaged = new.clone();
        damaged[step] = damaged[step].wrapping_mul(3) ^ 0xa5;
        let _ = post_link(&damaged);
        let outcome = extract(&old, &damaged, &kernel.0, "u0", &kernel);
        rejected += usize::from(!matches!(outcome, Ok(Extraction::Patch(_))));
    }
    assert!(rejected > new.len() / 10, "{rejected}");
    for length in 0..new.len() {
        assert!(
            extract(&old, &new[..length], &kernel.0, "u0", &kernel).is_err(),
            "{length}"
        );
    }
}

#[test]
fn what_is_no_object_for_x86_64_is_an_error() {
    let (old, mut new) = objects("same-source");
    new[18] = 183;
    let error = suture_differ::compare(&old, &new).unwrap_err();
    assert_snapshot!(error, @"expected a relocatable x86-64 object (e_type 1, e_machine 62), found e_type 1, e_machine 183");
    let error = suture_differ::compare(b"no object", &old).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("the object is not a readable"),
        "{error}"
    );
}

/// More sections than a symbol's 16 bits can name, as the assembler writes them.
#[test]
fn an_object_with_too_many_sections_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let sections = (0..66_000).map(|n| format!(".section .text.f{n},\"ax\"\nf{n}: ret\n"));
    let path = folder.path().join("many.s");
    std::fs::write(&path, sections.collect::<String>()).unwrap();
    run(Command::new("as")
        .arg(&path)
        .arg("-o")
        .arg(folder.path().join("many.o")));
    let object = std::fs::read(folder.path().join("many.o")).unwrap();
    let error = suture_differ::compare(&object, &object).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("sections do not fit into an object; split the patch"),
        "{error}"
    );
}
