//! Commands.

mod admin;
mod build;
mod fix;
mod kernels;
mod module_key;
mod prove;
mod publish;
mod rebuild;
mod repository;
mod serve;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Live patches for Linux kernels: build them, publish them, serve them.
#[derive(Debug, Parser)]
#[command(name = "suture", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the stock kernels that the package archive offers.
    Kernels(kernels::Args),
    /// Make a fix diff from two versions of the kernel's source package.
    Fix(fix::Args),
    /// Make the key that signs modules, and its certificate.
    ModuleKey(module_key::Args),
    /// Build a live patch from a fix.
    Build(build::Args),
    /// Check that units compiled here equal what the distribution shipped.
    Prove(prove::Args),
    /// Build a live patch again from its published source archive.
    Rebuild(rebuild::Args),
    /// Make and maintain the signed repository.
    #[command(subcommand)]
    Repository(repository::Command),
    /// Publish built live patches in the repository.
    Publish(publish::Args),
    /// Run the service for machines and people.
    Serve(serve::Args),
    /// Manage accounts, tokens and machines.
    Admin(admin::Args),
    /// Show the main job on this machine: a real hole in a running kernel is closed.
    Demo(crate::scenario::demo::Args),
}

/// Runs a command.
pub fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Kernels(args) => kernels::run(&args),
        Command::Fix(args) => fix::run(&args),
        Command::ModuleKey(args) => module_key::run(&args),
        Command::Build(args) => build::run(args),
        Command::Prove(args) => prove::run(&args),
        Command::Rebuild(args) => rebuild::run(&args),
        Command::Repository(command) => block_on(repository::run(command)),
        Command::Publish(args) => block_on(publish::run(args)),
        Command::Serve(args) => block_on(serve::run(args)),
        Command::Admin(args) => block_on(admin::run(args)),
        Command::Demo(args) => crate::scenario::demo::run(&args),
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()
        .context("cannot start the runtime")?
        .block_on(work)
}

/// Largest input file of the command line: 64 MiB.
const MAX_INPUT_BYTES: u64 = 64 << 20;

/// Reads a file that a person named, within bounds.
fn read_input(path: &Path) -> anyhow::Result<Vec<u8>> {
    let length = std::fs::metadata(path)
        .with_context(|| format!("cannot read `{}`", path.display()))?
        .len();
    anyhow::ensure!(
        length <= MAX_INPUT_BYTES,
        "`{}` has {length} bytes, more than the {MAX_INPUT_BYTES} that are read",
        path.display()
    );
    std::fs::read(path).with_context(|| format!("cannot read `{}`", path.display()))
}

fn read_input_text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read_input(path)?)
        .with_context(|| format!("`{}` is not text", path.display()))
}

/// Options that several commands share.
#[derive(Debug, clap::Args)]
struct CacheArgs {
    /// Folder for packages, prepared trees and compiled units [default: ~/.cache/suture].
    #[arg(long, env = "SUTURE_CACHE", value_name = "FOLDER")]
    cache: Option<PathBuf>,
}

impl CacheArgs {
    fn folder(&self) -> PathBuf {
        self.cache
            .clone()
            .unwrap_or_else(suture_factory::default_cache)
    }
}
