//! When a restart is the way, in a sentence: for `kernel-upgrade-required` and for logins.

use jiff::civil::Date;
use jiff::tz::Offset;

use super::{Coverage, PatchState, StatusReport};
use crate::regular_update::KernelPackage;

/// Why the kernel should be upgraded and the machine restarted; none: it need not.
pub fn restart_advice(report: &StatusReport) -> Option<String> {
    report.enrolment.as_ref()?;
    let kernel = &report.kernel.release;
    let advice = "upgrade the kernel and restart the machine";
    match &report.patch {
        _ if let Some(day) = ended(report) => Some(format!(
            "Live patches for the running kernel {kernel} ended on {day}: {advice}.\n"
        )),
        _ if report.coverage == Coverage::Ended => Some(format!(
            "Live patches for the running kernel {kernel} have ended: {advice}.\n"
        )),
        PatchState::Quarantined { wanted, .. } => Some(format!(
            "Live patch {wanted} cannot be applied to the running kernel {kernel}: {advice}.\n"
        )),
        _ => None,
    }
}

/// The last day of coverage, if it is over.
fn ended(report: &StatusReport) -> Option<Date> {
    let today = Offset::UTC.to_datetime(report.now).date();
    report.notice.covered_until.filter(|until| *until < today)
}

/// The day before which a restart should come.
fn deadline(report: &StatusReport) -> String {
    match report.notice.covered_until {
        Some(day) => format!(", before {day}"),
        None => String::new(),
    }
}

/// Holes that wait for the regular kernel update; without a full stop.
pub fn not_live_patched(report: &StatusReport) -> Option<String> {
    let holes = &report.notice.not_live_patched;
    let (cve, reason) = holes.first()?;
    let more = match holes.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    Some(format!(
        "{cve} ({reason}){more}; the kernel update closes it, restart at your convenience{}",
        deadline(report)
    ))
}

/// Whether live patches cannot protect the running kernel any longer.
pub fn needs_upgrade(report: &StatusReport) -> bool {
    restart_advice(report).is_some()
}

/// The kernel that a restart, or an upgrade and a restart, would bring; without a full stop.
pub fn regular_update(report: &StatusReport) -> Option<String> {
    let update = &report.regular_update;
    let name = |kernel: &KernelPackage| match &kernel.version {
        Some(version) => format!("{} ({version})", kernel.release.as_str()),
        None => kernel.release.as_str().to_owned(),
    };
    match (&update.installed, &update.offered) {
        (Some(kernel), _) => Some(format!(
            "kernel {} is installed, restart at your convenience{}",
            name(kernel),
            deadline(report)
        )),
        (None, Some(kernel)) => Some(format!(
            "kernel {} can be installed, upgrade and restart at your convenience{}",
            name(kernel),
            deadline(report)
        )),
        (None, None) => {
            let day = report.notice.covered_until?;
            Some(format!("live patches for this kernel are made until {day}"))
        }
    }
}

/// What a login is told: that a restart is needed, or else that a newer kernel waits for one.
/// What can only be installed is for the package manager to tell.
pub fn login_message(report: &StatusReport) -> Option<String> {
    if let Some(advice) = restart_advice(report) {
        return Some(advice);
    }
    report.enrolment.as_ref()?;
    if let Some(text) = not_live_patched(report) {
        return Some(format!("Not live patched: {text}.\n"));
    }
    report.regular_update.installed.as_ref()?;
    let update = regular_update(report)?;
    let held = match report.patch.in_force() {
        Some(version) => format!("; until then live patch {version} protects this one"),
        None => String::new(),
    };
    let mut text = format!("Newer {update}{held}.\n");
    // One line of a terminal or two, whatever a package calls itself.
    text.truncate(text.floor_char_boundary(1000));
    Some(text)
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

    #[test]
    fn the_vendors_word_names_the_day_and_the_holes() {
        let mut report = report(PatchState::Applied {
            version: version("104.1"),
        });
        report.notice.covered_until = Some("2026-12-31".parse().unwrap());
        assert_eq!(
            regular_update(&report).as_deref(),
            Some("live patches for this kernel are made until 2026-12-31")
        );
        assert_eq!(login_message(&report), None);
        report.notice.not_live_patched = vec![
            (
                "CVE-2026-89603".to_owned(),
                "it changes a structure".to_owned(),
            ),
            ("CVE-2026-90327".to_owned(), "it is in assembler".to_owned()),
        ];
        assert_eq!(
            login_message(&report).as_deref(),
            Some(
                "Not live patched: CVE-2026-89603 (it changes a structure), and 1 more; the kernel \
                 update closes it, restart at your convenience, before 2026-12-31.\n"
            )
        );
        assert_eq!(restart_advice(&report), None);
        report.notice.covered_until = Some("2026-11-22".parse().unwrap());
        assert_eq!(
            restart_advice(&report).as_deref(),
            Some(
                "Live patches for the running kernel 6.1.0-53-amd64 ended on 2026-11-22: upgrade \
                 the kernel and restart the machine.\n"
            )
        );
    }

    #[test]
    fn a_newer_kernel_is_told_at_logins_once_a_restart_brings_it() {
        let mut report = report(PatchState::Applied {
            version: version("104.1"),
        });
        assert_eq!(login_message(&report), None);
        let newer = KernelPackage {
            release: "6.1.0-55-amd64".parse().unwrap(),
            version: Some("6.1.190-1".to_owned()),
        };
        report.regular_update.offered = Some(newer.clone());
        assert_eq!(login_message(&report), None);
        assert_eq!(
            regular_update(&report).as_deref(),
            Some(
                "kernel 6.1.0-55-amd64 (6.1.190-1) can be installed, upgrade and restart at your \
                 convenience"
            )
        );
        report.regular_update.installed = Some(newer);
        assert_eq!(
            login_message(&report).as_deref(),
            Some(
                "Newer kernel 6.1.0-55-amd64 (6.1.190-1) is installed, restart at your \
                 convenience; until then live patch 104.1 protects this one.\n"
            )
        );
        assert!(!needs_upgrade(&report), "a restart can wait");
        report.coverage = Coverage::Ended;
        assert!(login_message(&report).unwrap().contains("have ended"));
        assert!(needs_upgrade(&report));
    }
}
