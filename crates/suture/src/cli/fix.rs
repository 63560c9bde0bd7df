//! `suture fix`

use std::path::PathBuf;

use suture_factory::archive::{Archive, Package};
use suture_factory::{Log, source_difference};

use super::output::{print, write_file};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Source package.
    #[arg(long, default_value = "linux-source-6.1")]
    package: String,
    /// Version that lacks the fix: the one that the kernel to patch was built from.
    #[arg(long, value_name = "VERSION")]
    from: String,
    /// Version that has the fix.
    #[arg(long, value_name = "VERSION")]
    to: String,
    /// Files that the fix changes, relative to the kernel tree.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<String>,
    /// Where to write the diff [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    cache: super::CacheArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let log = Log::none();
    let archive = Archive::new(&args.cache.folder(), log.clone());
    let package = |version: &String| Package {
        name: args.package.clone(),
        version: version.clone(),
    };
    let (from, to) = (package(&args.from), package(&args.to));
    let diff = source_difference(&archive, &from, &to, &args.files, &log)?;
    match &args.output {
        Some(path) => write_file(path, diff.as_bytes()),
        None => print(&diff),
    }
}
