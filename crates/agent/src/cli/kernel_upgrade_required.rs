//! `livepatch kernel-upgrade-required`, for the message of the day: a login must never wait for
//! it, nor see its troubles.

use std::time::Duration;

use super::print;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::paths::Paths;
use crate::socket::{self, Answer, Request};
use crate::status;

/// Longer than this no login is held up.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Tell it by the exit code too: 6 when the kernel has to be upgraded.
    #[arg(long)]
    exit_code: bool,
}

pub fn run(paths: &Paths, args: &Args) -> Result<ExitCode, Failure> {
    if let Ok(Answer::Status { report }) = socket::call(&paths.socket(), &Request::Status, PATIENCE)
        && let Some(text) = status::restart_advice(&report)
    {
        print(&text)?;
        if args.exit_code {
            return Ok(ExitCode::UpgradeRequired);
        }
    }
    Ok(ExitCode::Success)
}
