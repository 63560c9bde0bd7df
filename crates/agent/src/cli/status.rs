//! `livepatch status`.

use std::io::{self, IsTerminal as _};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;

use super::{STATUS_PATIENCE, print, print_error, unexpected};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::mode::Mode;
use crate::paths::Paths;
use crate::socket::{self, Answer, Request};
use crate::status::{self, Coverage, PatchState, StatusReport};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes with --exit-code: 0 all is applied or nothing needed, 1 not \
                        enabled or not known, 3 a patch is on its way or held back, 4 one is not \
                        applied, 5 the kernel is not covered, 6 it has to be upgraded, 7 stopped, \
                        8 not built yet"
)]
pub struct Args {
    /// How the status is written.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Show every hole that is closed, and the machine's facts.
    #[arg(long, short)]
    verbose: bool,
    /// Show it again and again, every so many seconds, until interrupted.
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    watch: Option<u64>,
    /// Tell how the machine stands by the exit code.
    #[arg(long)]
    exit_code: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    #[value(alias = "humane")]
    Human,
    Json,
    Yaml,
}

pub fn run(paths: &Paths, args: &Args) -> Result<ExitCode, Failure> {
    let Some(seconds) = args.watch else {
        return once(paths, args);
    };
    loop {
        if io::stdout().is_terminal() {
            // Clear, and to the upper left (ECMA-48: ED and CUP).
            print("\u{1b}[2J\u{1b}[H")?;
        }
        if let Err(failure) = once(paths, args) {
            print_error(&format!("{failure}\n"));
        }
        thread::sleep(Duration::from_secs(seconds));
    }
}

fn once(paths: &Paths, args: &Args) -> Result<ExitCode, Failure> {
    let Answer::Status { report } =
        socket::call(&paths.socket(), &Request::Status, STATUS_PATIENCE)?
    else {
        return Err(unexpected());
    };
    if report.enrolment.is_none() {
        print_error(&not_enabled(&report));
        return Ok(ExitCode::Failure);
    }
    print(&write(&report, args)?)?;
    Ok(match args.exit_code {
        true => standing(&report),
        false => ExitCode::Success,
    })
}

/// How an enabled machine stands. That the server was not reached is not part of it.
fn standing(report: &StatusReport) -> ExitCode {
    if report.brake.mode == Mode::Stop {
        return ExitCode::Stopped;
    }
    if report.coverage == Coverage::Ended {
        return ExitCode::UpgradeRequired;
    }
    match &report.patch {
        PatchState::Applied { .. } | PatchState::NothingToApply => ExitCode::Success,
        PatchState::NotChecked => ExitCode::Failure,
        PatchState::Pending { .. }
        | PatchState::Applying { .. }
        | PatchState::Reversing { .. }
        | PatchState::HeldBack
        | PatchState::Deferred { .. }
        | PatchState::Withdrawn { .. } => ExitCode::Pending,
        PatchState::Failed { .. } | PatchState::Quarantined { .. } => ExitCode::NotApplied,
        PatchState::NotCovered => ExitCode::NotCovered,
        PatchState::NotBuiltYet => ExitCode::NotBuiltYet,
    }
}

fn write(report: &StatusReport, args: &Args) -> Result<String, Failure> {
    let cannot = |error: String| Failure::new("cannot write the status").because(error);
    match args.format {
        Format::Human => Ok(status::human(report, args.verbose)),
        Format::Json => status::json(report).map_err(|error| cannot(error.to_string())),
        Format::Yaml => status::yaml(report).map_err(|error| cannot(error.to_string())),
    }
}

/// The first words are what integrations look for.
fn not_enabled(report: &StatusReport) -> String {
    let server = match &report.remote_server {
        Some(url) => url.as_str().trim_end_matches('/'),
        None => "your live patching service",
    };
    let mut text = format!(
        "Machine is not enabled. Please run 'sudo livepatch enable' with the\ntoken obtained from \
         {server}.\n"
    );
    if let Some(version) = report.patch.in_force() {
        text.push_str(&format!("Live patch {version} is in force.\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{report, version};

    #[test]
    fn a_script_can_tell_where_a_machine_stands() {
        let code = |patch| standing(&report(patch)).code();
        let version = version("104.1");
        assert_eq!(code(PatchState::Applied { version }), 0);
        assert_eq!(code(PatchState::NothingToApply), 0);
        assert_eq!(code(PatchState::HeldBack), 3);
        assert_eq!(code(PatchState::NotCovered), 5);
        assert_eq!(code(PatchState::NotBuiltYet), 8);
        let mut ended = report(PatchState::Applied { version });
        ended.coverage = Coverage::Ended;
        assert_eq!(standing(&ended).code(), 6);
        ended.brake.mode = Mode::Stop;
        assert_eq!(standing(&ended).code(), 7);
    }

    #[test]
    fn a_machine_that_is_not_enabled_says_what_to_do() {
        let mut report = report(status::PatchState::NotChecked);
        report.enrolment = None;
        report.remote_server = Some("https://livepatch.example.com/".parse().unwrap());
        insta::assert_snapshot!(not_enabled(&report), @r"
        Machine is not enabled. Please run 'sudo livepatch enable' with the
        token obtained from https://livepatch.example.com.
        ");
        report.remote_server = None;
        report.patch = status::PatchState::Applied {
            version: version("104.1"),
        };
        insta::assert_snapshot!(not_enabled(&report), @r"
        Machine is not enabled. Please run 'sudo livepatch enable' with the
        token obtained from your live patching service.
        Live patch 104.1 is in force.
        ");
    }
}
