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
    assert_snapshot!(human(&applied(), false), @r#"
    last check: 52 seconds ago
    kernel: 6.1.0-53-amd64
    server check-in: succeeded
    kernel state: ✓ covered by live patches
    patch state: ✓ all applied
    patch version: 104.1
    tier: free
    machine id: 5f2b6c0e9d8a47c1b3e4f5061728394a
    "#);
    assert_snapshot!(human(&applied(), true), @r#"
    last check: 52 seconds ago
    kernel: 6.1.0-53-amd64
    server check-in: succeeded
    kernel state: ✓ covered by live patches
    patch state: ✓ all applied
    patch version: 104.1
    tier: free
    machine id: 5f2b6c0e9d8a47c1b3e4f5061728394a
    client version: 0.1.0
    architecture: amd64
    cpu model: QEMU Virtual CPU version 2.5+
    kernel build id: abababababababababababababababababababab
    boot time: 2026-11-22T16:40:56Z
    uptime: 19h19m56s
    server: https://livepatch.example.com/
    fixes:
      * CVE-2026-89603: netfilter: nf_tables: use after free
        A set element outlives its set.
    "#);
    assert_snapshot!(json(&applied()).unwrap(), @r#"
    {
      "Client-Version": "0.1.0",
      "Machine-Id": "5f2b6c0e9d8a47c1b3e4f5061728394a",
      "Architecture": "amd64",
      "CPU-Model": "QEMU Virtual CPU version 2.5+",
      "Last-Check": "2026-11-23T12:00:00Z",
      "Boot-Time": "2026-11-22T16:40:56Z",
      "Uptime": "69596",
      "Status": [
        {
          "Kernel": "6.1.0-53-amd64",
          "BuildId": "abababababababababababababababababababab",
          "Running": true,
          "Livepatch": {
            "CheckState": "checked",
            "State": "applied",
            "Version": "104.1",
            "Fixes": [
              {
                "Name": "cve-2026-89603",
                "Description": "A set element outlives its set.",
                "Bug": "",
                "Patched": true
              }
            ]
          },
          "Supported": "supported",
          "UpgradeRequiredDate": null
        }
      ],
      "tier": "free"
    }
    "#);
    assert_snapshot!(yaml(&applied()).unwrap(), @r#"
    client-version: "0.1.0"
    machine-id: 5f2b6c0e9d8a47c1b3e4f5061728394a
    architecture: amd64
    cpu-model: QEMU Virtual CPU version 2.5+
    last-check: "2026-11-23T12:00:00Z"
    boot-time: "2026-11-22T16:40:56Z"
    uptime: 19h19m56s
    status:
    - kernel: 6.1.0-53-amd64
      running: true
      livepatch:
        checkState: checked
        patchState: applied
        version: "104.1"
        fixes: |
          * CVE-2026-89603
      supported: supported
      upgradeRequiredDate: null
    tier: free
    "#);
}

#[test]
fn nothing_to_apply() {
    assert_snapshot!(lines(&report(PatchState::NothingToApply)), @r#"
    server check-in: succeeded
    kernel state: ✓ covered by live patches
    patch state: ✓ none needed for this kernel now
    "checked" "nothing-to-apply" "" "supported"
    "#);
}

#[test]
fn not_checked_yet() {
    let mut report = report(PatchState::NotChecked);
    report.check = CheckReport::Never;
    report.coverage = Coverage::Unknown;
    assert_snapshot!(lines(&report), @r#"
    server check-in: pending
    kernel state: ✗ not known yet, the server was not asked for this kernel
    patch state: ⧗ not known yet
    "needs-check" "unknown" "" "unknown"
    "#);
    assert!(human(&report, false).starts_with("last check: never\n"));
}

#[test]
fn not_covered() {
    let mut report = report(PatchState::NotCovered);
    report.coverage = Coverage::NotCovered;
    assert_snapshot!(lines(&report), @r#"
    server check-in: succeeded
    kernel state: ✗ not covered, no live patches are made for this kernel
    patch state: ✗ none is made for this kernel
    "checked" "unapplied" "" "unsupported"
    "#);
    report.coverage = Coverage::Ended;
    assert_snapshot!(lines(&report), @r#"
    server check-in: succeeded
    kernel state: ✗ no longer covered, upgrade the kernel and restart
    patch state: ✗ none is made for this kernel
    "checked" "kernel-upgrade-required" "" "kernel-upgrade-required"
    "#);
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
    assert_snapshot!(lines(&report), @r#"
    server check-in: succeeded
    kernel state: ✓ covered by live patches
    patch state: ⧗ applying 104.1, some tasks still run the old code
    "checked" "applying" "104.1" "supported"
    "#);
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
    })), @r#"
    server check-in: succeeded
    kernel state: ✓ covered by live patches
    patch state: ✗ 104.1 not applied: the kernel refused the module `suture_104_1`: Key was rejected by service
      hint: enrol the certificate
    patch version: 103.2
    "checked" "apply-failed" "103.2" "supported"
    "#);
}

#[test]
fn a_failed_check_says_nothing_of_the_patch() {
    let mut report = applied();
    report.check = CheckReport::Failed {
        at: time(50),
        message: "cannot reach `https://livepatch.example.com/`: timeout: connect".to_owned(),
        last_success: Some(time(-7200)),
    };
    assert_snapshot!(lines(&report), @r#"
    server check-in: failed: cannot reach `https://livepatch.example.com/`: timeout: connect
    kernel state: ✓ covered by live patches
    patch state: ✓ all applied
    patch version: 104.1
    "check-failed" "applied" "104.1" "supported"
    "#);
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
    assert_snapshot!(lines(&report), @r#"
    server check-in: succeeded
    kernel state: ✓ covered by live patches
    patch state: ✗ 104.1 is not applied again: the machine went down within 5 minutes after it was applied
      hint: wait for its replacement, or try it once more with `livepatch refresh --retry-quarantined`
    "checked" "apply-failed" "" "supported"
    "#);
}

#[test]
fn held_back() {
    let mut report = report(PatchState::HeldBack);
    report.rollout.coming = Some(version("104.1"));
    assert_snapshot!(lines(&report), @r#"
    server check-in: succeeded
    kernel state: ✓ covered by live patches
    patch state: ⧗ held back: its rollout has not come to this machine yet
    "checked" "nothing-to-apply" "" "supported"
    "#);
    assert!(
        json(&report)
            .unwrap()
            .contains("\"HeldBack\": \"its rollout has not come")
    );
    assert!(
        yaml(&report)
            .unwrap()
            .contains("heldBack: its rollout has not come")
    );
}

#[test]
fn withdrawn_and_lost_over_a_restart() {
    assert_snapshot!(lines(&report(PatchState::Withdrawn {
        version: version("104.1"),
        reason: "it broke nft".to_owned(),
    })), @r#"
    server check-in: succeeded
    kernel state: ✓ covered by live patches
    patch state: ⧗ 104.1 was withdrawn and is not applied again: it broke nft
      hint: wait for its replacement
    "checked" "nothing-to-apply" "" "supported"
    "#);
}

#[test]
fn a_machine_in_a_rollout_in_every_format() {
    let mut report = applied();
    report.fixes.clear();
    report.rollout = RolloutReport {
        early_group: Some(version("104.1")),
        coming: Some(version("105.1")),
        withdrawn: Some(WithdrawalReport {
            version: version("104.1"),
            reason: "it broke nft".to_owned(),
        }),
    };
    let text = human(&report, false);
    let shown: Vec<_> = text.lines().skip(4).take(6).collect();
    assert_snapshot!(shown.join("\n"), @r"
    patch state: ✓ all applied
    patch version: 104.1
    withdrawn: 104.1: it broke nft
      it stays in force until a later version replaces it
    early group: this machine is in that of 104.1
    coming: 105.1 is being rolled out, this machine's turn comes
    ");
    let verbose = human(&report, true);
    assert!(verbose.contains("drawn anew for each patch"), "{verbose}");
    let json: serde_json::Value = serde_json::from_str(&json(&report).unwrap()).unwrap();
    assert_eq!(
        json["Status"][0]["Livepatch"],
        serde_json::json!({
            "CheckState": "checked",
            "State": "applied",
            "Version": "104.1",
            "EarlyGroup": "104.1",
            "Coming": "105.1",
            "Withdrawn": { "Version": "104.1", "Reason": "it broke nft" },
            "Fixes": [],
        })
    );
    let yaml = yaml(&report).unwrap();
    let shown: Vec<_> = yaml.lines().skip(10).take(9).collect();
    assert_eq!(
        shown.join("\n"),
        "  livepatch:\n    checkState: checked\n    patchState: applied\n    version: \"104.1\"\n    \
         earlyGroup: \"104.1\"\n    coming: \"105.1\"\n    withdrawn:\n      version: \"104.1\"\n      \
         reason: it broke nft"
    );
}
