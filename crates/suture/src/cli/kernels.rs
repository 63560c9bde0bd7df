//! `suture kernels`

use suture_factory::archive::Archive;
use suture_factory::{Log, StockKernel, stock_kernels};

use super::output::print;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Series, e.g. 6.12 [default: all].
    series: Option<String>,
    #[command(flatten)]
    cache: super::CacheArgs,
}

/// One line for each kernel: release, version, whether its source is there, and the release of
/// the distribution that it is of.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut found = false;
    for archive in Archive::all(&args.cache.folder(), &Log::none())? {
        let suite = archive
            .suite()
            .map_or("this machine's release", |suite| suite.name());
        let kernels = match stock_kernels(&archive, args.series.as_deref()) {
            Ok(kernels) => kernels,
            // A mirror need not have every release.
            Err(error) if archive.suite().is_some() => {
                eprintln!("note: {suite} is left out: {error}");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        for kernel in kernels {
            found = true;
            print(&line(&kernel, suite))?;
        }
    }
    anyhow::ensure!(
        found,
        "the package archive offers no such stock kernel; run `apt-get update`"
    );
    Ok(())
}

fn line(kernel: &StockKernel, suite: &str) -> String {
    let StockKernel {
        release,
        version,
        has_source,
    } = kernel;
    let source = if *has_source {
        "source available"
    } else {
        "no source"
    };
    format!("{release}\t{version}\t{source}\t{suite}\n")
}
