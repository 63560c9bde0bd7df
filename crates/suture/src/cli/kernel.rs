//! `suture kernel`

use std::path::PathBuf;

use clap::Subcommand;
use suture_factory::{Log, add_kernel};

use super::output::print;
use crate::progress::Steps;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take in a kernel that was built in a folder and is in no archive.
    Add(AddArgs),
}

/// The folder is a kernel tree in which `make bzImage modules` ran. Its image, modules, exports and
/// source are copied into the cache; from then on other commands know the kernel by its release.
#[derive(Debug, clap::Args)]
pub struct AddArgs {
    /// The kernel tree, with what was built in it.
    #[arg(long, value_name = "FOLDER")]
    tree: PathBuf,
    /// Release of the distribution that has the compiler which built it, e.g. bullseye [default:
    /// the compiler is on this machine].
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
    #[command(flatten)]
    cache: super::CacheArgs,
}

pub fn run(command: &Command) -> anyhow::Result<()> {
    let Command::Add(args) = command;
    let kernel = add_kernel(
        &args.tree,
        args.suite.as_deref(),
        &args.cache.folder(),
        &Log::none(),
        &Steps::new(),
    )?;
    print(&format!("{kernel}\n"))
}
