//! `suture advisory refuse` and `reopen`

use std::path::PathBuf;

use suture_advisory::{CveId, RefusedFix};
use suture_kernel::KernelRelease;

use super::collection::Collection;
use crate::cli::output::print;

#[derive(Debug, clap::Args)]
pub struct RefuseArgs {
    cve: CveId,
    /// Kernel release that gets no live patch for it, as `uname -r` prints it.
    #[arg(long, value_name = "RELEASE")]
    kernel: KernelRelease,
    /// Why, in the words of the factory's refusal or your own.
    #[arg(long)]
    reason: String,
    /// Folder of the collection.
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct ReopenArgs {
    cve: CveId,
    /// Kernel release.
    #[arg(long, value_name = "RELEASE")]
    kernel: KernelRelease,
    /// Folder of the collection.
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
}

pub fn refuse(args: RefuseArgs) -> anyhow::Result<()> {
    let collection = Collection::open(&args.from)?;
    let mut refused = collection.refused()?;
    let told = format!("{} is refused for {}\n", args.cve, args.kernel);
    refused.note(RefusedFix {
        cve: args.cve,
        kernel: args.kernel,
        reason: args.reason,
        at: crate::clock::now(),
    });
    collection.write_refused(&refused)?;
    print(&told)
}

pub fn reopen(args: &ReopenArgs) -> anyhow::Result<()> {
    let collection = Collection::open(&args.from)?;
    let mut refused = collection.refused()?;
    let ReopenArgs { cve, kernel, .. } = args;
    anyhow::ensure!(
        refused.take_back(cve, kernel),
        "{cve} is not refused for {kernel}"
    );
    collection.write_refused(&refused)?;
    print(&format!("{cve} is open again for {kernel}\n"))
}
