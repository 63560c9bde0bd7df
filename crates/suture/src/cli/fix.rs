//! `suture fix`

mod git_commit;

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
    #[arg(long, value_name = "VERSION", required_unless_present = "git")]
    from: Option<String>,
    /// Version that has the fix.
    #[arg(long, value_name = "VERSION", required_unless_present = "git")]
    to: Option<String>,
    /// Take the fix from a local git tree instead of two source packages.
    #[arg(long, value_name = "TREE", requires = "commit", conflicts_with_all = ["from", "to", "package"])]
    git: Option<PathBuf>,
    /// The commit that is the fix, by any name that git takes.
    #[arg(long, value_name = "REVISION", requires = "git")]
    commit: Option<String>,
    /// Files that the fix changes, relative to the kernel tree; of a commit, all if none is named.
    #[arg(required_unless_present = "git", value_name = "FILE")]
    files: Vec<String>,
    /// Where to write the diff [default: standard output].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    cache: super::CacheArgs,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let diff = match (&args.git, &args.commit) {
        (Some(tree), Some(commit)) => git_commit::diff(tree, commit, &args.files)?,
        _ => package_difference(args)?,
    };
    match &args.output {
        Some(path) => write_file(path, diff.as_bytes()),
        None => print(&diff),
    }
}

fn package_difference(args: &Args) -> anyhow::Result<String> {
    let log = Log::none();
    let package = |version: &Option<String>| Package {
        name: args.package.clone(),
        // The command line has one wherever there is no `--git`.
        version: version.clone().unwrap_or_default(),
    };
    let (from, to) = (package(&args.from), package(&args.to));
    let cache = args.cache.folder();
    let has_both = |archive: &Archive| Ok(archive.offers(&from)? && archive.offers(&to)?);
    // If no release has both, the machine's own says which one is missing.
    let archive = Archive::find(&cache, &log, has_both)?;
    let archive = archive.unwrap_or_else(|| Archive::new(&cache, log.clone()));
    Ok(source_difference(&archive, &from, &to, &args.files, &log)?)
}
