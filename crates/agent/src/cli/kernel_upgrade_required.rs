//! `livepatch kernel-upgrade-required`, for the message of the day: a login must never wait for
//! it, nor see its troubles.

use std::time::Duration;

use super::print;
use crate::exit_code::ExitCode;
use crate::failure::Failure;
use crate::paths::Paths;
use crate::socket::{self, Answer, Request};
use crate::status::{Coverage, PatchState, StatusReport};

/// Longer than this no login is held up.
const PATIENCE: Duration = Duration::from_secs(2);

pub fn run(paths: &Paths) -> Result<ExitCode, Failure> {
    if let Ok(Answer::Status { report }) = socket::call(&paths.socket(), &Request::Status, PATIENCE)
        && let Some(text) = required(&report)
    {
        print(&text)?;
    }
    Ok(ExitCode::Success)
}

fn required(report: &StatusReport) -> Option<String> {
    report.enrolment.as_ref()?;
    let kernel = &report.kernel.release;
    let advice = "upgrade the kernel and restart the machine";
    match &report.patch {
        _ if report.coverage == Coverage::Ended => Some(format!(
            "Live patches for the running kernel {kernel} have ended: {advice}.\n"
        )),
        PatchState::Quarantined { wanted, .. } => Some(format!(
            "Live patch {wanted} cannot be applied to the running kernel {kernel}: {advice}.\n"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{report, version};

    #[test]
    fn it_speaks_only_when_a_restart_is_the_way() {
        let mut report = report(PatchState::Applied {
            version: version("104.1"),
        });
        assert_eq!(required(&report), None);
        report.coverage = Coverage::NotCovered;
        assert_eq!(required(&report), None);
        report.coverage = Coverage::Ended;
        assert_eq!(
            required(&report).as_deref(),
            Some(
                "Live patches for the running kernel 6.1.0-53-amd64 have ended: upgrade the \
                 kernel and restart the machine.\n"
            )
        );
        report.enrolment = None;
        assert_eq!(required(&report), None);
    }
}
