//! `livepatch refresh`.

use super::{WORK_PATIENCE, print, show, unexpected};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::paths::Paths;
use crate::socket::{self, Answer, Request};
use crate::status::{PatchState, StatusReport};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Try versions again that this machine holds in quarantine, because it went down while
    /// they were applied.
    #[arg(long)]
    retry_quarantined: bool,
}

pub fn run(paths: &Paths, args: &Args) -> Result<ExitCode, Failure> {
    let request = Request::Refresh {
        retry_quarantined: args.retry_quarantined,
    };
    let answer = socket::call(&paths.socket(), &request, WORK_PATIENCE)?;
    tell(answer, "refresh")
}

/// What a command changed.
pub(super) fn tell(answer: Answer, command: &str) -> Result<ExitCode, Failure> {
    let Answer::Refreshed {
        before,
        after,
        problems,
    } = answer
    else {
        return Err(unexpected());
    };
    print(&format!(
        "Before {command}:\n\n{}\nAfter {command}:\n\n{}",
        three(&before),
        three(&after)
    ))?;
    Ok(show(&problems))
}

/// The three lines that integrations know.
fn three(report: &StatusReport) -> String {
    let fully = matches!(
        report.patch,
        PatchState::Applied { .. } | PatchState::NothingToApply
    );
    let version = report
        .patch
        .in_force()
        .map(|version| version.to_string())
        .unwrap_or_default();
    let kernel = &report.kernel.release;
    format!("kernel: {kernel}\nfully-patched: {fully}\nversion: \"{version}\"\n")
}
