//! What each state looks like in each format.

use insta::assert_snapshot;

use super::*;
use crate::livepatch_sysfs::Task;
use crate::testing::{report, time, version};

fn applied() -> StatusReport {
    report(PatchState::Applied {
        version: version("104.1"),
    })
}

/// The lines in which the states differ.
fn lines(report: &StatusReport) -> String {
    let json: serde_json::Value = serde_json::from_str(&json(report).unwrap()).unwrap();
    let status = &json["Status"][0];
    let livepatch = &status["Livepatch"];
    let text = human(report, false);
    let shown = text.lines().filter(|line| {
        [
            "server check-in",
            "kernel state",
            "patch ",
            "  hint",
            "quarantined",
        ]
        .iter()
        .any(|start| line.starts_with(start))
    });
    let words = ["CheckState", "State", "Version"].map(|key| livepatch[key].to_string());
    let supported = &status["Supported"];
    format!(
        "{}\n{} {supported}",
        shown.collect::<Vec<_>>().join("\n"),
        words.join(" ")
    )
}

#[test]
fn an_applied_patch_in_every_format() {
    assert_snapshot!(human(&applied(), false), @"");
    assert_snapshot!(human(&applied(), true), @"");
    assert_snapshot!(json(&applied()).unwrap(), @"");
    assert_snapshot!(yaml(&applied()).unwrap(), @"");
}

#[test]
fn nothing_to_apply() {
    assert_snapshot!(lines(&report(PatchState::NothingToApply)), @"");
}

#[test]
fn not_checked_yet() {
    let mut report = report(PatchState::NotChecked);
    report.check = CheckReport::Never;
    report.coverage = Coverage::Unknown;
    assert_snapshot!(lines(&report), @"");
    assert!(human(&report, false).starts_with("last check: never\n"));
}

#[test]
fn not_covered() {
    let mut report = report(PatchState::NotCovered);
    report.coverage = Coverage::NotCovered;
    assert_snapshot!(lines(&report), @"");
    report.coverage = Coverage::Ended;
    assert_snapshot!(lines(&report), @"");
}

#[test]
fn in_transition() {
    let (version, in_force) = (version("104.1"), None);
    let mut report = report(PatchState::Applying {
        version,
        in_force,
        stalled: true,
    });
    report.unpatched_tasks = vec![Task {
        id: 812,
        name: "kworker/3:1".to_owned(),
    }];
    assert_snapshot!(lines(&report), @"");
    let verbose = human(&report, true);
    assert!(verbose.contains("tasks that still run the old code:\n  812 (kworker/3:1)"));
    assert!(
        yaml(&report)
            .unwrap()
            .contains("* CVE-2026-89603 (unpatched)")
    );
}

#[test]
fn failed_with_an_older_version_in_force() {
    assert_snapshot!(lines(&report(PatchState::Failed {
        wanted: version("104.1"),
        in_force: Some(version("103.2")),
        reason: "the kernel refused the module `suture_104_1`: Key was rejected by service".into(),
        hint: Some("enrol the certificate".into()),
    })), @"");
}

#[test]
fn a_failed_check_says_nothing_of_the_patch() {
    let mut report = applied();
    report.check = CheckReport::Failed {
        at: time(50),
        message: "cannot reach `https://livepatch.example.com/`: timeout: connect".to_owned(),
        last_success: Some(time(-7200)),
    };
    assert_snapshot!(lines(&report), @"");
    assert!(human(&report, false).starts_with("last check: 2 hours ago\n"));
}

#[test]
fn quarantined() {
    let reason = "the machine went down within 5 minutes after it was applied".to_owned();
    let wanted = version("104.1");
    let patch = PatchState::Quarantined {
        wanted,
        in_force: None,
        reason: reason.clone(),
    };
    let mut report = report(patch);
    report.quarantine = vec![QuarantineReport {
        version: wanted,
        reason,
        at: time(-60),
    }];
    assert_snapshot!(lines(&report), @"");
}
