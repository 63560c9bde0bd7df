//! Boots a kernel and runs one line of shell in it.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context as _, Result};
use suture_vm::{GuestKernel, Vm};

const USAGE: &str = "usage: boot VMLINUZ lib/modules/RELEASE COMMAND [MODULE...]";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context(USAGE);
    let kernel = GuestKernel::new(PathBuf::from(next()?), PathBuf::from(next()?));
    let command = next()?;
    let mut builder = Vm::builder(kernel);
    if std::env::var_os("QUIET").is_none() {
        builder = builder.console_to(|line| eprintln!("  {line}"));
    }
    for module in arguments {
        builder = builder.module(&module);
    }
    let start = Instant::now();
    let vm = builder.boot()?;
    eprintln!("answers after {:.1?}", start.elapsed());
    let start = Instant::now();
    let output = vm.shell(&command)?;
    eprintln!("status {} after {:.1?}", output.status, start.elapsed());
    print!("{}", output.stdout);
    eprint!("{}", output.stderr);
    vm.shutdown()?;
    std::process::exit(output.status);
}
