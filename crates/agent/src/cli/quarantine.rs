//! `livepatch quarantine`.

use suture_advisory::PatchVersion;

use super::{STATUS_PATIENCE, WORK_PATIENCE, print, unexpected};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::paths::Paths;
use crate::socket::{self, Answer, Request};
use crate::status::StatusReport;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the versions that this machine does not load again, and why.
    List,
    /// Let a version be tried again.
    Lift {
        /// The version, e.g. 104.1.
        #[arg(required_unless_present = "all")]
        version: Option<PatchVersion>,
        /// All versions for the running kernel.
        #[arg(long, conflicts_with = "version")]
        all: bool,
    },
}

pub fn run(paths: &Paths, args: &Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::List => list(paths),
        Command::Lift { version, .. } => lift(paths, version),
    }
}

fn list(paths: &Paths) -> Result<ExitCode, Failure> {
    match socket::call(&paths.socket(), &Request::Status, STATUS_PATIENCE)? {
        Answer::Status { report } => {
            print(&table(&report))?;
            Ok(ExitCode::Success)
        }
        _ => Err(unexpected()),
    }
}

fn table(report: &StatusReport) -> String {
    if report.quarantine.is_empty() {
        return format!("Nothing is in quarantine for {}.\n", report.kernel.release);
    }
    let line = |entry: &crate::status::QuarantineReport| {
        format!("{}  since {}: {}\n", entry.version, entry.at, entry.reason)
    };
    report.quarantine.iter().map(line).collect()
}

fn lift(paths: &Paths, version: Option<PatchVersion>) -> Result<ExitCode, Failure> {
    let lift = Request::Lift { version };
    let Answer::Lifted { versions } = socket::call(&paths.socket(), &lift, WORK_PATIENCE)? else {
        return Err(unexpected());
    };
    if versions.is_empty() {
        print("Nothing was in quarantine.\n")?;
    }
    for version in versions {
        print(&format!(
            "{version} is tried again at the next check-in; `livepatch refresh` does it now.\n"
        ))?;
    }
    Ok(ExitCode::Success)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{PatchState, QuarantineReport};
    use crate::testing::{report, time, version};

    #[test]
    fn what_is_held_is_shown_with_its_reason() {
        let mut report = report(PatchState::NothingToApply);
        assert_eq!(
            table(&report),
            "Nothing is in quarantine for 6.1.0-53-amd64.\n"
        );
        report.quarantine = vec![QuarantineReport {
            version: version("104.1"),
            reason: "the machine went down while it was in transition".to_owned(),
            at: time(0),
        }];
        assert_eq!(
            table(&report),
            "104.1  since 2026-11-23T12:00:00Z: the machine went down while it was in transition\n"
        );
    }
}
