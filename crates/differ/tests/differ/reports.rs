//! The report of a comparison: what a person or a program is told.

use insta::assert_snapshot;
use suture_differ::{EntrySizes, Report, report};

use crate::common::objects;

fn report_case(case: &str) -> Report {
    let (old, new) = objects(case);
    let vmlinux = "vmlinux".parse().unwrap();
    report(&old, &new, &vmlinux, &EntrySizes::default()).unwrap()
}

/// The report as text, without numbers that depend on the compiler at hand.
fn text(report: &Report) -> String {
    let lines = report.to_string();
    let lines = lines.lines().map(|line| match line.split_once(" (") {
        Some((start, _)) if line.starts_with("  ") => start,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The report as JSON, without numbers that depend on the compiler at hand.
fn json(report: &Report) -> String {
    let mut value = serde_json::to_value(report).unwrap();
    for list in ["functions", "relocations"] {
        for entry in value[list].as_array_mut().unwrap() {
            for field in ["old_size", "new_size", "offset"] {
                if let Some(number) = entry.get_mut(field) {
                    assert!(number.is_u64());
                    *number = "...".into();
                }
            }
        }
    }
    serde_json::to_string_pretty(&value).unwrap()
}

#[test]
fn what_an_author_ignores_is_left_alone_and_listed() {
    assert_snapshot!(text(&report_case("ignored")), @r"
    a live patch can be made
      changed  fixed
    ignored at the author's word: `probe`, which changed
    ignored at the author's word: section `.rodata.boot_texts`
    1 livepatch relocations
    ");
}

#[test]
fn a_marker_that_means_nothing_is_refused() {
    assert_snapshot!(text(&report_case("ignored-wrongly")), @r"
    the change can't become a live patch
      new      fresh
      changed  fixed
      new      calls
    refused (ignored_nothing): a marker of the fix ignores section `.rodata.nothing`, which no object of the unit has
      instead: correct its name
    refused (ignored_new): a marker of the fix ignores `fresh`, which is new: the running kernel has nothing in its place
      instead: remove the marker
    marked to be ignored, the same: `fresh`
    ignored at the author's word: section `.rodata.nothing`
    ");
}

#[test]
fn a_patch_is_told_in_full() {
    let report = report_case("one-function");
    assert!(report.object.is_some());
    assert_snapshot!(json(&report), @r#"
    {
      "constants": [],
      "functions": [
        {
          "name": "fixed",
          "new_size": "...",
          "old_size": "...",
          "section": ".text.fixed",
          "status": "changed",
          "sympos": 0
        }
      ],
      "ignored": [],
      "left_out": [],
      "outcome": "patch",
      "refusals": [],
      "relocations": [
        {
          "addend": -4,
          "object": "vmlinux",
          "offset": "...",
          "section": ".text.fixed",
          "symbol": "hits",
          "sympos": 1,
          "type": 2
        }
      ],
      "undefined": [
        "__fentry__",
        "exported_log",
        "hidden"
      ]
    }
    "#);
}

#[test]
fn a_refusal_has_a_name_a_place_and_advice() {
    let report = report_case("changed-size");
    assert_snapshot!(json(&report), @r#"
    {
      "constants": [],
      "functions": [
        {
          "name": "user",
          "new_size": "...",
          "old_size": "...",
          "section": ".text.user",
          "status": "changed"
        }
      ],
      "ignored": [],
      "left_out": [],
      "outcome": "refused",
      "refusals": [
        {
          "advice": "keep its layout and attach new fields with a shadow variable",
          "name": "data_size",
          "reason": "`slots` is 32 bytes in the running kernel and 64 in the fix",
          "section": ".bss.slots",
          "symbol": "slots"
        }
      ],
      "relocations": [],
      "undefined": []
    }
    "#);
}

#[test]
fn constants_that_go_along_are_listed() {
    assert_snapshot!(text(&report_case("constant-of-readers")), @r"
    a live patch can be made
      changed  parse
      changed  weigh
      changed  sum
    goes along: the constant `rules`, with all functions that read it
    goes along: the constant `weights`, with all functions that read it
    0 livepatch relocations
    ");
}

#[test]
fn what_a_patch_goes_without_is_listed() {
    assert_snapshot!(text(&report_case("export")), @r"
    a live patch can be made
      changed  fixed
    left out: the export of `fixed`: no module of this kernel uses it, and the patch needs none
    0 livepatch relocations
    ");
}

#[test]
fn equal_sources_are_no_change() {
    assert_snapshot!(text(&report_case("same-source")), @"no functional change");
}
