//! Which holes a kernel has: real records against the facts of real kernels.

use std::collections::BTreeSet;

use jiff::Timestamp;
use suture_advisory::{
    Changelog, Compiled, ExploitedCatalogue, Hole, HoleList, KernelFacts, KernelVersion, Record,
    RefusedFix, RefusedFixes, State, assess,
};

/// High by the kernel's CNA; built into every kernel; the record knows no fix for 6.1.
const SECCOMP: &str = include_str!("data/CVE-2026-89603.json");
/// Rated by nobody; in a module of Debian's kernels; fixed in 6.1.188.
const PHONET: &str = include_str!("data/CVE-2026-90327.json");
/// Medium; names no files.
const SCTP: &str = include_str!("data/CVE-2024-0639.json");
/// Exploited; long fixed in 6.1.
const UVC: &str = include_str!("data/CVE-2024-53104.json");
/// Rated by nobody, its version in words.
const QDISC: &str = include_str!("data/CVE-2023-0590.json");

/// What Debian's configuration makes of the files that these records name.
fn debian(file: &str) -> Compiled {
    match file {
        "net/phonet/pep.c" => Compiled::Module("pn_pep".to_owned()),
        "drivers/media/usb/uvc/uvc_driver.c" => Compiled::Module("uvcvideo".to_owned()),
        _ => Compiled::Unknown,
    }
}

fn kernel(release: &str, package: &str) -> KernelFacts<'static> {
    KernelFacts {
        release: release.parse().unwrap(),
        version: KernelVersion::of_package(package).unwrap(),
        compiled: &debian,
        changelog: Changelog::default(),
        patched: None,
        refused: RefusedFixes::default(),
        exploited: ExploitedCatalogue::default(),
    }
}

fn unfixed() -> KernelFacts<'static> {
    kernel("6.1.0-53-amd64", "6.1.187-1")
}

fn hole(text: &str, kernel: &KernelFacts<'_>) -> Hole {
    assess(&Record::parse(text.as_bytes()).unwrap(), kernel)
}

fn state(text: &str, kernel: &KernelFacts<'_>) -> String {
    hole(text, kernel).state.to_string()
}

#[test]
fn a_kernels_list_puts_what_wants_work_first() {
    let kernel = unfixed();
    let holes = [UVC, SCTP, QDISC, PHONET, SECCOMP].map(|text| hole(text, &kernel));
    let list = HoleList::new(&kernel, holes.to_vec());
    let lines: Vec<String> = list
        .holes
        .iter()
        .map(|hole| format!("{} {}", hole.cve, hole.state))
        .collect();
    assert_eq!(
        lines,
        [
            "CVE-2026-89603 open",
            "CVE-2023-0590 unrated",
            "CVE-2026-90327 unrated",
            "CVE-2024-0639 waits for the regular kernel update",
            "CVE-2024-53104 not applicable: fixed in 6.1.117",
        ]
    );
    assert_eq!(list.counts["unrated"], 2);
    assert_eq!(list.upstream, "6.1.187");
}

#[test]
fn a_published_patch_closes_what_it_names_and_nothing_else() {
    let mut kernel = unfixed();
    let fixes = BTreeSet::from(["CVE-2026-89603".parse().unwrap()]);
    kernel.patched = Some(("104.1".parse().unwrap(), fixes));
    assert_eq!(state(SECCOMP, &kernel), "patched by 104.1");
    assert_eq!(state(PHONET, &kernel), "unrated");
}

#[test]
fn the_distributions_own_word_is_heard_where_the_record_knows_no_fix() {
    let mut fixed = kernel("6.1.0-54-amd64", "6.1.190-1");
    assert_eq!(state(SECCOMP, &fixed), "open");
    fixed.changelog = Changelog::parse(
        "linux (6.1.190-1) bookworm-security; urgency=high\n\n  * entry: Fix seccomp bypass after \
         ptrace with TSYNC\n    (CVE-2026-89603)\n",
    );
    assert_eq!(
        state(SECCOMP, &fixed),
        "not applicable: the kernel's own package fixed it in 6.1.190-1"
    );
}

#[test]
fn code_that_is_not_compiled_has_no_holes() {
    let mut kernel = unfixed();
    kernel.compiled = &|_| Compiled::NotCompiled;
    assert_eq!(
        state(PHONET, &kernel),
        "not applicable: this configuration compiles none of its files"
    );
    assert_eq!(
        state(QDISC, &kernel),
        "unrated",
        "a record without files is not settled by them"
    );
}

#[test]
fn a_refusal_of_this_kernel_is_shown_with_its_reason() {
    let mut kernel = unfixed();
    let mut refuse = |release: &str, reason: &str| {
        kernel.refused.note(RefusedFix {
            cve: "CVE-2026-89603".parse().unwrap(),
            kernel: release.parse().unwrap(),
            reason: reason.to_owned(),
            at: Timestamp::UNIX_EPOCH,
        });
    };
    refuse("6.1.0-50-amd64", "another kernel's");
    refuse(
        "6.1.0-53-amd64",
        "the function runs before ftrace can reach it",
    );
    assert_eq!(
        state(SECCOMP, &kernel),
        "refused: the function runs before ftrace can reach it"
    );
}

#[test]
fn doubt_is_told_and_does_not_hide_a_hole() {
    let hole = hole(QDISC, &unfixed());
    assert_eq!(hole.state, State::Unrated);
    assert_eq!(
        hole.notes,
        ["counted as there: the record names no version that can be compared"]
    );
}

#[test]
fn claims_that_differ_are_shown_beside_the_one_that_counts() {
    let text = UVC.replacen("\"version\": \"6.1.117\"", "\"version\": \"6.1.217\"", 1);
    let hole = hole(&text, &unfixed());
    assert_eq!(hole.state, State::Open);
    assert_eq!(
        hole.notes,
        ["claims differ: Critical by CISA KEV counts, High (7.8) by CISA-ADP"]
    );
}

#[test]
fn the_catalogue_of_exploited_holes_makes_a_medium_one_open() {
    let mut kernel = kernel("6.1.0-1-amd64", "6.1.4-1");
    assert_eq!(state(SCTP, &kernel), "waits for the regular kernel update");
    let text = r#"{"vulnerabilities": [{"cveID": "CVE-2024-0639", "dateAdded": "2026-01-01"}]}"#;
    kernel.exploited = ExploitedCatalogue::parse(text.as_bytes()).unwrap();
    assert_eq!(state(SCTP, &kernel), "open");
}

#[test]
fn a_list_is_data_for_programs_too() {
    let kernel = unfixed();
    let list = HoleList::new(&kernel, vec![hole(PHONET, &kernel), hole(SECCOMP, &kernel)]);
    let json = serde_json::to_value(&list).unwrap();
    assert_eq!(json["kernel"], "6.1.0-53-amd64");
    assert_eq!(json["counts"]["open"], 1);
    let seccomp = &json["holes"][0];
    assert_eq!(seccomp["state"]["state"], "open");
    assert_eq!(seccomp["rating"]["decisive"]["score"], 8.4);
    assert_eq!(json["holes"][1]["reach"]["modules"][0], "pn_pep");
}
