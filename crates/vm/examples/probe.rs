//! Boots a kernel and runs a probe in it several times, as root or as another user.

use std::env::temp_dir;
use std::path::Path;

use anyhow::{Context as _, Result};
use suture_vm::probe::{Verdict, compile};
use suture_vm::{FileSource, GuestKernel, Vm};

const USAGE: &str = "usage: probe VMLINUZ lib/modules/RELEASE PROBE.c RUNS UID [MODULE...]";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context(USAGE);
    let kernel = GuestKernel::new(next()?, next()?);
    let program = compile(Path::new(&next()?), &temp_dir().join("suture-probes"))?;
    let (runs, uid): (u32, u32) = (next()?.parse()?, next()?.parse()?);
    let mut builder = Vm::builder(kernel).file("/probe", FileSource::Path(program), 0o755);
    for module in arguments {
        builder = builder.module(&module);
    }
    let vm = builder.boot()?;
    let mut open = 0;
    for _ in 0..runs {
        let output = vm.command(&["/probe"]).uid(uid).run()?;
        open += u32::from(Verdict::of(&output) == Verdict::Open);
        print!("{}{}", output.stdout, output.stderr);
    }
    println!("{}: open in {open} of {runs} runs", vm.kernel_release());
    vm.shutdown()?;
    Ok(())
}
