//! `suture differ`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use suture_differ::{EntrySizes, Outcome, Report};
use suture_kernel::ObjectName;

use super::output;

/// What was asked, without the kernel's part: exit status 0 a patch, 1 an error, 2 a change that
/// can't be patched, 3 no functional change.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The unit as the running kernel has it, compiled with one section per function and datum.
    #[arg(value_name = "ORIG.o")]
    original: PathBuf,
    /// The unit with the fix.
    #[arg(value_name = "PATCHED.o")]
    patched: PathBuf,
    /// What the unit belongs to: `vmlinux` or a module.
    #[arg(long, value_name = "NAME", default_value = "vmlinux")]
    object: ObjectName,
    /// Sizes of the kernel's table entries, as lines like JUMP_STRUCT_SIZE=16 [default: measured].
    #[arg(long, value_name = "FILE")]
    entry_sizes: Option<PathBuf>,
    /// Where to write the extracted object, if a patch can be made.
    #[arg(short, long, value_name = "OUT.o")]
    output: Option<PathBuf>,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (original, patched) = (
        super::read_input(&args.original)?,
        super::read_input(&args.patched)?,
    );
    let sizes = args.entry_sizes.as_deref().map(entry_sizes).transpose()?;
    let sizes = sizes.unwrap_or_default();
    let report = suture_differ::report(&original, &patched, &args.object, &sizes)
        .with_context(|| format!("cannot compare `{}`", args.patched.display()))?;
    if let (Some(path), Some(object)) = (&args.output, &report.object) {
        output::write_file(path, object)?;
    }
    output::print(&text(&report, args.json)?)?;
    Ok(status(report.outcome))
}

fn entry_sizes(path: &Path) -> anyhow::Result<EntrySizes> {
    EntrySizes::from_list(&super::read_input_text(path)?)
        .with_context(|| format!("cannot use `{}`", path.display()))
}

fn text(report: &Report, json: bool) -> anyhow::Result<String> {
    if json {
        return Ok(serde_json::to_string_pretty(report)? + "\n");
    }
    Ok(report.to_string())
}

fn status(outcome: Outcome) -> ExitCode {
    ExitCode::from(match outcome {
        Outcome::Patch => 0,
        Outcome::Refused => 2,
        Outcome::NoChange => 3,
    })
}
