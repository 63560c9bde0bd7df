//! The words of the status document that integrations parse (field names and values as known
//! from `canonical-livepatch status`).

use suture_advisory::PatchVersion;

use super::{CheckReport, Coverage, PatchState, StatusReport};

/// `CheckState`.
pub fn check_state(check: &CheckReport) -> &'static str {
    match check {
        CheckReport::Never => "needs-check",
        CheckReport::Succeeded { .. } => "checked",
        CheckReport::Failed { .. } => "check-failed",
    }
}

/// `State`.
pub fn state(report: &StatusReport) -> &'static str {
    match &report.patch {
        PatchState::NotChecked => "unknown",
        PatchState::NothingToApply | PatchState::HeldBack | PatchState::Withdrawn { .. } => {
            "nothing-to-apply"
        }
        PatchState::NotCovered if report.coverage == Coverage::Ended => "kernel-upgrade-required",
        PatchState::NotCovered
        | PatchState::NotBuiltYet
        | PatchState::Deferred { .. }
        | PatchState::Pending { .. } => "unapplied",
        PatchState::Applying { .. } | PatchState::Reversing { .. } => "applying",
        PatchState::Applied { version } if in_trouble(report, *version) => "applied-with-bug",
        PatchState::Applied { .. } => "applied",
        PatchState::Failed { .. } | PatchState::Quarantined { .. } => "apply-failed",
    }
}

/// Whether the kernel reported an oops or a warning that names this version.
fn in_trouble(report: &StatusReport, version: PatchVersion) -> bool {
    let names = |trouble: &super::TroubleReport| trouble.names_patch == Some(version);
    report.trouble.iter().any(names)
}

/// `Version`: what is in force, or in transition; else empty.
pub fn version(patch: &PatchState) -> Option<PatchVersion> {
    match patch {
        PatchState::Applying { version, .. } | PatchState::Reversing { version, .. } => {
            Some(*version)
        }
        other => other.in_force(),
    }
}

/// `Supported`.
pub fn supported(coverage: Coverage) -> &'static str {
    match coverage {
        Coverage::Unknown => "unknown",
        // The series is; the patch state says that there is nothing for this kernel.
        Coverage::Covered | Coverage::NotBuiltYet => "supported",
        Coverage::Ended => "kernel-upgrade-required",
        Coverage::NotCovered | Coverage::NoLivepatch => "unsupported",
    }
}

/// Why the wanted patch is not in force, if that is no matter of time.
pub fn failure(patch: &PatchState) -> Option<&str> {
    match patch {
        PatchState::Failed { reason, .. } | PatchState::Quarantined { reason, .. } => Some(reason),
        PatchState::NotChecked
        | PatchState::NothingToApply
        | PatchState::NotCovered
        | PatchState::NotBuiltYet
        | PatchState::HeldBack
        | PatchState::Withdrawn { .. }
        | PatchState::Pending { .. }
        | PatchState::Deferred { .. }
        | PatchState::Applying { .. }
        | PatchState::Reversing { .. }
        | PatchState::Applied { .. } => None,
    }
}

/// `HeldBack`: why a covered machine has nothing new to apply, where "none needed" is not why.
pub fn held_back(report: &StatusReport) -> Option<String> {
    if let Some(held) = &report.rollout.held {
        return Some(held.clone());
    }
    match &report.patch {
        PatchState::HeldBack => Some("its rollout has not come to this machine yet".to_owned()),
        PatchState::Withdrawn { version, reason } => {
            Some(format!("{version} was withdrawn: {reason}"))
        }
        PatchState::NotBuiltYet => Some("it is not built for this kernel yet".to_owned()),
        PatchState::Deferred { wanted, reason, .. } => Some(format!("{wanted} waits: {reason}")),
        PatchState::NotChecked
        | PatchState::NothingToApply
        | PatchState::NotCovered
        | PatchState::Pending { .. }
        | PatchState::Applying { .. }
        | PatchState::Reversing { .. }
        | PatchState::Applied { .. }
        | PatchState::Failed { .. }
        | PatchState::Quarantined { .. } => None,
    }
}

/// `19h19m56s`.
pub fn duration(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}
