//! A module is tried on its kernel before it is signed; what was not tried is not published.

use suture_protocol::SmokeEvidence;

use crate::site::Site;

#[test]
fn a_module_that_fails_its_smoke_test_is_not_signed() -> anyhow::Result<()> {
    let site = Site::new()?;
    site.edit_source(
        "fs/proc/meminfo.c",
        "si_meminfo(&i);",
        "WARN_ON(1);\n\tsi_meminfo(&i);",
        "warns.diff",
    )?;
    let fix = ["--fix", "warns.diff", "--advisory", "seccomp.json"];
    let failed = site.build_tested("1.1", "patch", &fix).unwrap_err();
    assert!(failed.stderr.contains("is not signed"), "{failed}");
    assert!(failed.stderr.contains("meminfo_proc_show"), "{failed}");
    assert!(!site.vendor.path("patch").exists(), "nothing to publish");

    let evidence = std::fs::read(site.vendor.path("patch.smoke.json"))?;
    let evidence: SmokeEvidence = serde_json::from_slice(&evidence)?;
    assert!(!evidence.passed());
    let log = evidence.kernel_log.join("\n");
    assert!(log.contains("WARNING: CPU:"), "{log}");
    let functions = evidence.objects.iter().flat_map(|object| &object.functions);
    assert_eq!(functions.collect::<Vec<_>>(), ["meminfo_proc_show"]);
    Ok(())
}

#[test]
fn only_what_was_tried_is_published() -> anyhow::Result<()> {
    let site = Site::new()?;
    site.build_seccomp("1.1", "untested")?;
    let refused = site.vendor.publish("untested").unwrap_err();
    let stderr = &refused.stderr;
    assert!(
        stderr.contains("this story is of something else"),
        "{refused}"
    );
    assert!(stderr.contains("--untested"), "{refused}");

    // Evidence that somebody adds to it is not the evidence that the manifest names.
    let manifest_path = site.vendor.path("untested/manifest.json");
    let mut manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(&manifest_path)?)?;
    let nothing = serde_json::json!({ "sha256": "0".repeat(64), "length": 2 });
    manifest["smoke_test"] = serde_json::json!({ "outcome": "passed", "evidence": nothing });
    std::fs::write(&manifest_path, serde_json::to_vec(&manifest)?)?;
    site.vendor.write("untested/smoke.json", b"{}")?;
    let refused = site.vendor.publish("untested").unwrap_err();
    assert!(
        refused.stderr.contains("smoke.json` is not the file"),
        "{refused}"
    );
    Ok(())
}
