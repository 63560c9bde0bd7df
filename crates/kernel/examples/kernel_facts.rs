//! Prints what a kernel image says about itself, with its symbols as in `/proc/kallsyms`:
//!
//! ```text
//! cargo run -p suture-kernel --example kernel_facts -- /boot/vmlinuz-6.1.0-53-amd64
//! ```
//!
//! With modules behind the image, also prints what they are and which symbol of theirs is which.

use std::error::Error;
use std::io::{BufWriter, Write, stdout};
use std::{env, fs};

use suture_kernel::Architecture;
use suture_kernel::image;
use suture_kernel::kallsyms::Kallsyms;
use suture_kernel::modinfo::Modinfo;
use suture_kernel::module::{ModuleSymbols, SymbolKind};
use suture_kernel::signature;
use suture_kernel::vmlinux::Vmlinux;

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = env::args_os().skip(1);
    let kernel = paths
        .next()
        .ok_or("usage: kernel_facts VMLINUZ [MODULE]...")?;
    let vmlinux = image::vmlinux(&fs::read(kernel)?)?;
    let vmlinux = Vmlinux::parse(&vmlinux)?;
    eprintln!("{}", vmlinux.banner()?);
    eprintln!("{}", vmlinux.kernel_build(Architecture::Amd64)?);

    let mut out = BufWriter::new(stdout().lock());
    for symbol in Kallsyms::recover(&vmlinux)?.symbols() {
        writeln!(
            out,
            "{:016x} {} {}",
            symbol.address,
            char::from(symbol.kind),
            symbol.name
        )?;
    }
    for path in paths {
        print_module(&mut out, &fs::read(path)?)?;
    }
    Ok(out.flush()?)
}

fn print_module(out: &mut impl Write, file: &[u8]) -> Result<(), Box<dyn Error>> {
    let module = image::decompress_module(file)?;
    let (content, signature) = signature::split(&module)?;
    let info = Modinfo::of_module(content)?;
    writeln!(
        out,
        "\n{} for {}",
        info.name()?,
        info.vermagic().unwrap_or("any kernel")
    )?;
    writeln!(
        out,
        "depends on {:?}, signed: {}",
        info.depends()?,
        signature.is_some()
    )?;
    let symbols = ModuleSymbols::parse(content)?;
    for symbol in symbols
        .symbols()
        .iter()
        .filter(|symbol| symbol.kind == SymbolKind::Function)
    {
        let section = symbols
            .section_of(symbol)
            .map_or("", |section| section.name);
        let sympos = symbols.sympos(symbol.index);
        writeln!(
            out,
            "{section}+{:#x} {} {sympos:?}",
            symbol.value, symbol.name
        )?;
    }
    Ok(())
}
