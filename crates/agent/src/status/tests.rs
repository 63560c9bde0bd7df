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
            "transition",
            "  note: it is taken back",
            "mode",
            "kernel trouble",
            "kernels with",
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
    stage: starting
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
      "Schema-Version": 1,
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
      "tier": "free",
      "Stage": "starting"
    }
    "#);
    assert_snapshot!(yaml(&applied()).unwrap(), @r#"
    schema-version: 1
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
    stage: starting
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
        functions: vec!["nft_set_destroy".to_owned()],
        state: "D (disk sleep)".to_owned(),
    }];
    report.transition = Some(TransitionReport {
        open_secs: 320,
        reverse_in_secs: Some(3280),
    });
    assert_snapshot!(lines(&report), @r#"
    server check-in: succeeded
    kernel state: ✓ covered by live patches
    patch state: ⧗ applying 104.1, some tasks still run the old code
    transition: open for 5m20s, held by task 812 (kworker/3:1), D (disk sleep), in nft_set_destroy
      note: it is taken back in 54m40s, and tried again later
    "checked" "applying" "104.1" "supported"
    "#);
    let verbose = human(&report, true);
    assert!(verbose.contains(
        "tasks that hold the transition open:\n  812 (kworker/3:1), D (disk sleep), in nft_set_destroy"
    ));
    let json: serde_json::Value = serde_json::from_str(&json(&report).unwrap()).unwrap();
    assert_eq!(
        json["Status"][0]["Livepatch"]["Transition"],
        serde_json::json!({
            "OpenSeconds": 320,
            "ReverseInSeconds": 3280,
            "Tasks": [{
                "Id": 812,
                "Name": "kworker/3:1",
                "State": "D (disk sleep)",
                "Functions": ["nft_set_destroy"],
            }],
        })
    );
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
      hint: wait for its replacement, or lift it with `livepatch quarantine lift 104.1`
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
fn held_by_the_plan_or_by_a_policy() {
    let held = "the group `slow` is pinned to 104.1; 105.1 would be next";
    let mut report = report(PatchState::HeldBack);
    report.rollout.held = Some(held.to_owned());
    let text = human(&report, false);
    assert!(
        text.contains("patch state: ⧗ held back: the group `slow` is pinned"),
        "{text}"
    );
    assert_eq!(text.matches("pinned").count(), 1, "it is said once: {text}");

    let mut report = applied();
    report.rollout.held = Some(held.to_owned());
    let text = human(&report, false);
    assert!(text.contains("patch state: ✓ all applied"), "{text}");
    assert!(
        text.contains("\nnothing new comes: the group `slow` is pinned"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&json(&report).unwrap()).unwrap();
    assert_eq!(json["Status"][0]["Livepatch"]["HeldBack"], held);
    assert!(yaml(&report).unwrap().contains("heldBack: the group"));
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
        held: None,
        channel: Some("stable".parse().unwrap()),
    };
    let text = human(&report, false);
    let shown: Vec<_> = text.lines().skip(4).take(7).collect();
    assert_snapshot!(shown.join("\n"), @r"
    patch state: ✓ all applied
    patch version: 104.1
    withdrawn: 104.1: it broke nft
      note: it stays in force until a later version replaces it
    early group: this machine is in that of 104.1
    coming: 105.1 is being rolled out, this machine's turn comes
    tier: free, channel stable
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
            "Channel": "stable",
            "Fixes": [],
        })
    );
    let yaml = yaml(&report).unwrap();
    let shown: Vec<_> = yaml.lines().skip(11).take(10).collect();
    assert_eq!(
        shown.join("\n"),
        "  livepatch:\n    checkState: checked\n    patchState: applied\n    version: \"104.1\"\n    \
         earlyGroup: \"104.1\"\n    coming: \"105.1\"\n    withdrawn:\n      version: \"104.1\"\n      \
         reason: it broke nft\n    channel: stable"
    );
}

#[test]
fn taken_back() {
    let (version, in_force) = (version("104.1"), Some(version("103.2")));
    let mut report = report(PatchState::Reversing { version, in_force });
    report.transition = Some(TransitionReport {
        open_secs: 3605,
        reverse_in_secs: None,
    });
    assert_snapshot!(lines(&report), @r#"
    server check-in: succeeded
    kernel state: ✓ covered by live patches
    patch state: ⧗ 104.1 is taken back, its transition did not end
    transition: open for 1h0m5s
    patch version: 103.2
    "checked" "applying" "104.1" "supported"
    "#);
}

#[test]
fn not_built_yet() {
    let mut report = report(PatchState::NotBuiltYet);
    report.coverage = Coverage::NotBuiltYet;
    report.covered_releases = vec!["6.1.0-50-amd64".parse().unwrap()];
    assert_snapshot!(lines(&report), @r#"
    server check-in: succeeded
    kernel state: ⧗ covered, but no live patch is built for this very kernel yet
    patch state: ⧗ not built yet: kernels like this one have patches, this one's comes
    kernels with live patches: 6.1.0-50-amd64
    "checked" "unapplied" "" "supported"
    "#);
}

#[test]
fn held_back_by_the_owner() {
    assert_snapshot!(lines(&report(PatchState::Deferred {
        wanted: version("104.1"),
        in_force: Some(version("103.2")),
        reason: "this machine's `patch-delay` is 1d, so it goes in at 2026-11-24T12:00:00Z".into(),
    })), @r#"
    server check-in: succeeded
    kernel state: ✓ covered by live patches
    patch state: ⧗ 104.1 is held back here: this machine's `patch-delay` is 1d, so it goes in at 2026-11-24T12:00:00Z
    patch version: 103.2
    "checked" "unapplied" "103.2" "supported"
    "#);
}

#[test]
fn trouble_in_patched_code() {
    let mut report = applied();
    report.trouble = vec![
        TroubleReport {
            at: time(10),
            kind: suture_protocol::KernelTrouble::Warning,
            names_patch: None,
            text: "WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2".to_owned(),
        },
        TroubleReport {
            at: time(11),
            kind: suture_protocol::KernelTrouble::Oops,
            names_patch: Some(version("104.1")),
            text: "BUG: kernel NULL pointer dereference, address: 0000000000000018".to_owned(),
        },
    ];
    assert_snapshot!(lines(&report), @r#"
    server check-in: succeeded
    kernel state: ✓ covered by live patches
    patch state: ✓ all applied
    patch version: 104.1
    kernel trouble: oops in patched code of 104.1 at 2026-11-23T12:00:11Z: BUG: kernel NULL pointer dereference, address: 0000000000000018
    "checked" "applied-with-bug" "104.1" "supported"
    "#);
    assert!(human(&report, true).contains("kernel trouble: warning at 2026-11-23T12:00:10Z"));
}

#[test]
fn a_brake_is_on() {
    let mut report = applied();
    report.brake = crate::mode::Brake {
        mode: crate::mode::Mode::Stop,
        origin: Some(crate::mode::Origin::File("/etc/livepatch/mode".to_owned())),
    };
    assert_snapshot!(lines(&report), @r#"
    server check-in: succeeded
    kernel state: ✓ covered by live patches
    patch state: ✓ all applied
    mode: stop, by the file `/etc/livepatch/mode`
      hint: remove the file `/etc/livepatch/mode`
    patch version: 104.1
    "checked" "applied" "104.1" "supported"
    "#);
    assert!(json(&report).unwrap().contains("\"Mode\": \"stop\""));
}
