//! `livepatch status`.

use clap::ValueEnum;

use super::{STATUS_PATIENCE, print, print_error, unexpected};
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::paths::Paths;
use crate::socket::{self, Answer, Request};
use crate::status::{self, StatusReport};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// How the status is written.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    /// Show every hole that is closed, and the machine's facts.
    #[arg(long, short)]
    verbose: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    #[value(alias = "humane")]
    Human,
    Json,
    Yaml,
}

pub fn run(paths: &Paths, args: &Args) -> Result<ExitCode, Failure> {
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
    Ok(ExitCode::Success)
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
        text.push_str(&format!("Live patch {version} is still in force.\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{report, version};

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
        Live patch 104.1 is still in force.
        ");
    }
}
