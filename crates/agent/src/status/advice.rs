//! When a restart is the way, in a sentence: for `kernel-upgrade-required` and for logins.

use super::{Coverage, PatchState, StatusReport};

/// Why the kernel should be upgraded and the machine restarted; none: it need not.
pub fn restart_advice(report: &StatusReport) -> Option<String> {
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
        assert_eq!(restart_advice(&report), None);
        report.coverage = Coverage::NotCovered;
        assert_eq!(restart_advice(&report), None);
        report.coverage = Coverage::Ended;
        assert_eq!(
            restart_advice(&report).as_deref(),
            Some(
                "Live patches for the running kernel 6.1.0-53-amd64 have ended: upgrade the \
                 kernel and restart the machine.\n"
            )
        );
        report.enrolment = None;
        assert_eq!(restart_advice(&report), None);
    }
}
