//! `suture judge`

use std::path::PathBuf;
use std::process::ExitCode;

use suture_differ::Outcome;
use suture_factory::{Log, judge};
use suture_kernel::KernelRelease;

use super::output;
use crate::progress::Steps;

/// Tells function by function what a fix changes, what could hold its transition open, what is
/// refused and how to change it. Nothing is linked or signed, and no advisory is needed. Exit
/// status 0 a patch, 1 an error, 2 a fix that can't be patched, 3 no functional change.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Diff against the kernel's source; several apply in the given order.
    #[arg(value_name = "FIX", required = true)]
    fixes: Vec<PathBuf>,
    /// Kernel release to judge it for, as `uname -r` prints it.
    #[arg(long, value_name = "RELEASE")]
    kernel: KernelRelease,
    /// Unit to compile besides the edited ones, for a fix in a header.
    #[arg(long = "unit", value_name = "FILE")]
    units: Vec<String>,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: super::CacheArgs,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let verdict = judge(
        &args.kernel,
        &args.fixes,
        &args.units,
        &args.cache.folder(),
        &Log::none(),
        &Steps::new(),
    )?;
    let text = if args.json {
        serde_json::to_string_pretty(&verdict)? + "\n"
    } else {
        verdict.to_string()
    };
    output::print(&text)?;
    Ok(ExitCode::from(match verdict.outcome {
        Outcome::Patch => 0,
        Outcome::Refused => 2,
        Outcome::NoChange => 3,
    }))
}
