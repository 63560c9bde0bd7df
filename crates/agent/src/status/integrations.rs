//! What programs that others wrote expect of `canonical-livepatch status`. Each rule names the
//! program and the file that reads the status so.

use std::collections::BTreeMap;

use serde_json::Value;

use super::*;
use crate::testing::{report, time, version};

/// `State` (Ubuntu Pro client, `uaclient/livepatch.py` and its tests; Landscape's API reference).
const STATES: [&str; 8] = [
    "unapplied",
    "applying",
    "applied",
    "nothing-to-apply",
    "applied-with-bug",
    "apply-failed",
    "kernel-upgrade-required",
    "unknown",
];
const CHECK_STATES: [&str; 3] = ["needs-check", "checked", "check-failed"];
/// `Supported` (Ubuntu Pro client, `_convert_str_to_livepatch_support_status`); any other word
/// is no answer to it.
const SUPPORTED: [&str; 5] = [
    "supported",
    "kernel-upgrade-required",
    "kernel-end-of-life",
    "unsupported",
    "unknown",
];

/// A machine in every state, with every coverage and kind of check-in.
fn machines() -> Vec<StatusReport> {
    let (old, new) = (version("104.1"), version("104.2"));
    // What a server or the kernel says may have several lines, and lines without a colon.
    let reason = "it did not work\nat all\n\nreally".to_owned();
    let in_force = Some(old);
    let patches = [
        PatchState::NotChecked,
        PatchState::NothingToApply,
        PatchState::NotCovered,
        PatchState::NotBuiltYet,
        PatchState::HeldBack,
        PatchState::Withdrawn {
            version: old,
            reason: reason.clone(),
        },
        PatchState::Pending {
            wanted: new,
            in_force,
        },
        PatchState::Applying {
            version: new,
            in_force,
            stalled: true,
        },
        PatchState::Reversing {
            version: new,
            in_force,
        },
        PatchState::Applied { version: old },
        PatchState::Deferred {
            wanted: new,
            in_force,
            reason: reason.clone(),
        },
        PatchState::Failed {
            wanted: new,
            in_force,
            reason: reason.clone(),
            hint: Some(reason.clone()),
        },
        PatchState::Quarantined {
            wanted: new,
            in_force,
            reason: reason.clone(),
        },
    ];
    let coverages = [
        Coverage::Unknown,
        Coverage::Covered,
        Coverage::NotCovered,
        Coverage::Ended,
        Coverage::NotBuiltYet,
        Coverage::NoLivepatch,
    ];
    let checks = [
        CheckReport::Never,
        CheckReport::Succeeded { at: time(0) },
        CheckReport::Failed {
            at: time(0),
            message: reason,
            last_success: None,
        },
    ];
    let mut machines = Vec::new();
    for patch in patches {
        for coverage in coverages {
            for check in &checks {
                let mut machine = report(patch.clone());
                machine.coverage = coverage;
                machine.check = check.clone();
                machine.transition = Some(TransitionReport {
                    open_secs: 400,
                    reverse_in_secs: Some(3200),
                });
                machine.rollout = RolloutReport {
                    early_group: in_force,
                    coming: Some(new),
                    held: None,
                    channel: None,
                    withdrawn: Some(WithdrawalReport {
                        version: old,
                        reason: "a mistake\nof ours".to_owned(),
                    }),
                };
                machines.push(machine);
            }
        }
    }
    machines
}

fn status_of(machine: &StatusReport) -> Value {
    let document: Value = serde_json::from_str(&json(machine).unwrap()).unwrap();
    document["Status"][0].clone()
}

/// Ubuntu Pro client, the `DataObject`s of `uaclient/livepatch.py`: a field of another type makes
/// it drop the whole status; it takes the first entry of `Status` for the running kernel.
#[test]
fn the_pro_client_finds_its_fields_with_its_types_and_words() {
    for machine in machines() {
        let status = status_of(&machine);
        let livepatch = &status["Livepatch"];
        assert_eq!(status["Kernel"], "6.1.0-53-amd64");
        assert_eq!(status["Running"], true);
        let word = |value: &Value, known: &[&str]| {
            let word = value.as_str().unwrap();
            assert!(known.contains(&word), "`{word}` is none of {known:?}");
        };
        word(&status["Supported"], &SUPPORTED);
        word(&livepatch["State"], &STATES);
        word(&livepatch["CheckState"], &CHECK_STATES);
        assert!(livepatch["Version"].is_string());
        for fix in livepatch["Fixes"].as_array().unwrap() {
            // `pro fix` compares with the name of the CVE in lower case.
            let name = fix["Name"].as_str().unwrap();
            assert_eq!(name, name.to_lowercase());
            assert!(fix["Patched"].is_boolean());
        }
        let date = &status["UpgradeRequiredDate"];
        assert!(date.is_null() || date.is_string());
    }
}

/// Ubuntu Pro client, `u.pro.security.status.reboot_required`: with one of these states and a
/// supported kernel it tells its user that a restart can wait.
#[test]
fn nobody_is_told_that_a_restart_can_wait_while_a_fix_is_missing() {
    for machine in machines() {
        let status = status_of(&machine);
        let state = &status["Livepatch"]["State"];
        let can_wait = (state == "applied" || state == "nothing-to-apply")
            && status["Supported"] == "supported";
        let missing = matches!(
            machine.patch,
            PatchState::NotChecked
                | PatchState::NotCovered
                | PatchState::NotBuiltYet
                | PatchState::Pending { .. }
                | PatchState::Failed { .. }
                | PatchState::Quarantined { .. }
                | PatchState::Deferred { .. }
        );
        assert!(!(can_wait && missing), "{:?}", machine.patch);
    }
}

/// Landscape's client, `landscape/client/manager/livepatch.py`: each line of the human status is
/// taken apart at its first colon, and a line without one stops the whole report.
#[test]
fn landscape_takes_every_line_apart_at_its_colon() {
    for machine in machines() {
        let text = human(&machine, false);
        let mut entries = BTreeMap::new();
        for line in text.trim().split('\n') {
            let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("{text}"));
            entries.insert(key, value.trim());
        }
        for key in ["last check", "kernel", "server check-in", "kernel state"] {
            assert!(entries.contains_key(key), "{key} in {text}");
        }
    }
}
