//! What `suture differ` and `suture judge` say by their exit status, and as JSON.

use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use crate::site::Site;

const PATCH: i32 = 0;
const ERROR: i32 = 1;
const REFUSED: i32 = 2;
const NO_CHANGE: i32 = 3;

/// Runs `suture` in the site's folder: its exit status and what it printed. JSON, where it was
/// asked for and there is an answer.
fn suture(site: &Site, arguments: &[&str]) -> anyhow::Result<(i32, Value, String)> {
    let output = Command::new(site.vendor.program("suture"))
        .args(arguments)
        .current_dir(site.vendor.path(""))
        .output()?;
    let status = output.status.code().context("no signal ends it")?;
    let told = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Ok((status, told, String::from_utf8(output.stderr)?))
}

/// Compiles a source as the factory does.
fn compile(site: &Site, name: &str, source: &str) -> anyhow::Result<()> {
    site.vendor.write(&format!("{name}.c"), source.as_bytes())?;
    let compiled = Command::new("gcc")
        .args([
            "-c",
            "-O2",
            "-pg",
            "-mfentry",
            "-mrecord-mcount",
            "-fno-pie",
        ])
        .args(["-ffunction-sections", "-fdata-sections", "-mcmodel=kernel"])
        .args(["-fcf-protection=none", "-fno-asynchronous-unwind-tables"])
        .args([&format!("{name}.c"), "-o", &format!("{name}.o")])
        .current_dir(site.vendor.path(""))
        .status()?;
    anyhow::ensure!(compiled.success(), "gcc failed");
    Ok(())
}

#[test]
fn the_differ_answers_by_its_exit_status() -> anyhow::Result<()> {
    let site = Site::new()?;
    let source = "int limit = 7;\nint checked(int n) { return n > limit ? -22 : n; }\n";
    compile(&site, "original", source)?;
    compile(&site, "fixed", &source.replace("n > limit", "n >= limit"))?;
    compile(&site, "data", &source.replace("limit = 7", "limit = 8"))?;
    let differ = |patched: &str| suture(&site, &["differ", "original.o", patched, "--json"]);

    let (status, told, _) = differ("fixed.o")?;
    assert_eq!((status, &told["outcome"]), (PATCH, &"patch".into()));
    let function = &told["functions"][0];
    assert_eq!(function["name"], "checked");
    assert_eq!(function["status"], "changed");
    assert_eq!(function["sympos"], 0);
    assert!(function["new_size"].as_u64() > Some(0), "{function}");
    assert_eq!(told["relocations"][0]["symbol"], "limit");

    let (status, told, _) = differ("data.o")?;
    assert_eq!((status, &told["outcome"]), (REFUSED, &"refused".into()));
    let refusal = &told["refusals"][0];
    assert_eq!(refusal["symbol"], "limit");
    assert!(refusal["advice"].is_string(), "{refusal}");

    let (status, told, _) = differ("original.o")?;
    assert_eq!((status, &told["outcome"]), (NO_CHANGE, &"no_change".into()));
    assert_eq!(told["functions"], Value::Array(Vec::new()));

    let (status, told, why) = differ("original.c")?;
    assert_eq!((status, told), (ERROR, Value::Null));
    assert!(why.contains("original.c"), "{why}");
    Ok(())
}

#[test]
fn a_verdict_on_a_fix_is_told_by_the_exit_status() -> anyhow::Result<()> {
    let site = Site::new()?;
    let cmdline = "fs/proc/cmdline.c";
    let edit = |from, to, output| site.edit_source(cmdline, from, to, output);
    edit("seq_putc(m, '\\n');", "seq_putc(m, '\\t');", "patch.diff")?;
    let call = "proc_create_single(\"cmdline\", 0, ";
    edit(call, "proc_create_single(\"cmdline\", 0444, ", "init.diff")?;
    let include = "#include <linux/init.h>";
    edit(include, "/* why */\n#include <linux/init.h>", "same.diff")?;
    let foreign = "--- a/fs/proc/cmdline.c\n+++ b/fs/proc/cmdline.c\n@@ -1 +1 @@\n-no\n+yes\n";
    site.vendor.write("foreign.diff", foreign.as_bytes())?;
    let release = site.picked.release.as_str();
    let judge = |fix: &str| suture(&site, &["judge", fix, "--kernel", release, "--json"]);

    let (status, told, why) = judge("patch.diff")?;
    assert_eq!(
        (status, &told["outcome"]),
        (PATCH, &"patch".into()),
        "{why}"
    );
    assert_eq!(told["kernel"], release);
    assert_eq!(told["objects"][0]["name"], "vmlinux");
    let function = &told["objects"][0]["functions"][0];
    assert_eq!(function["name"], "cmdline_proc_show");
    assert_eq!(function["unit"], cmdline);

    let (status, told, _) = judge("init.diff")?;
    assert_eq!((status, &told["outcome"]), (REFUSED, &"refused".into()));
    let reason = told["refusals"][0]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("proc_cmdline_init"), "{reason}");

    let (status, told, _) = judge("same.diff")?;
    assert_eq!((status, &told["outcome"]), (NO_CHANGE, &"no_change".into()));

    let (status, told, why) = judge("foreign.diff")?;
    assert_eq!((status, told), (ERROR, Value::Null));
    assert!(why.contains("does not apply"), "{why}");
    Ok(())
}
