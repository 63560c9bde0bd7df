//! `suture kernels`

use suture_factory::archive::Archive;
use suture_factory::{Log, stock_releases};

use super::output::print;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Source series.
    #[arg(default_value = "6.1")]
    series: String,
    #[command(flatten)]
    cache: super::CacheArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let archive = Archive::new(&args.cache.folder(), Log::none());
    let releases = stock_releases(&archive, &args.series)?;
    anyhow::ensure!(
        !releases.is_empty(),
        "the package archive offers no stock kernel of series {}; run `apt-get update`",
        args.series
    );
    let sources = archive.versions(&format!("linux-source-{}", args.series))?;
    for (release, version) in releases {
        let source = if sources.contains(&version) {
            "source available"
        } else {
            "no source"
        };
        print(&format!("{release}\t{version}\t{source}\n"))?;
    }
    Ok(())
}
