//! `suture prove`

use suture_factory::prove;
use suture_kernel::KernelRelease;

use crate::progress::Steps;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kernel release, as `uname -r` prints it.
    #[arg(long, value_name = "RELEASE")]
    kernel: KernelRelease,
    /// Units of the kernel's source, e.g. kernel/entry/common.c.
    #[arg(required = true, value_name = "FILE")]
    units: Vec<String>,
    #[command(flatten)]
    cache: super::CacheArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    for unit in prove(
        &args.kernel,
        &args.units,
        &args.cache.folder(),
        &Steps::new(),
    )? {
        let equal = unit.compared - unit.unequal.len();
        println!(
            "{} of {} functions of {} equal what {} shipped",
            equal, unit.compared, unit.source, unit.object
        );
        for (function, why) in unit.unequal {
            println!("  {function}: {why}");
        }
    }
    Ok(())
}
