//! `suture advisory`

mod collection;
mod decide;
mod import;
mod kernel;
mod list;
mod show;

use clap::{Subcommand, ValueEnum};

use super::output::print;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Take CVE records (JSON 5) into a collection: files, folders, bulk archives.
    Import(import::Args),
    /// List a kernel's holes: open, patched, refused, not applicable, unrated.
    List(list::Args),
    /// Show a record: every claim with its author, source and time, and what counts.
    Show(show::Args),
    /// Note why a hole of a kernel gets no live patch; `list` shows it as refused.
    Refuse(decide::RefuseArgs),
    /// Take a refusal back.
    Reopen(decide::ReopenArgs),
}

/// How a command answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    #[default]
    Text,
    Json,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Import(args) => import::run(&args),
        Command::List(args) => list::run(&args).await,
        Command::Show(args) => show::run(&args),
        Command::Refuse(args) => decide::refuse(args),
        Command::Reopen(args) => decide::reopen(&args),
    }
}

/// Prints an answer as JSON, for programs.
fn print_json(answer: &impl serde::Serialize) -> anyhow::Result<()> {
    print(&format!("{}\n", serde_json::to_string_pretty(answer)?))
}
