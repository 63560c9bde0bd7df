//! What records say of versions, against kernels that exist.

use proptest::prelude::*;
use serde_json::{Value, json};
use suture_advisory::{KernelVersion, Record, VersionAnswer};

/// Came in 2.6.28; fixed in 6.1.188, 6.12.110, …, mainline 7.3-rc1.
const PHONET: &str = include_str!("data/CVE-2026-90327.json");
/// Came in 5.9; the record knows no fix for 6.1.
const SECCOMP: &str = include_str!("data/CVE-2026-89603.json");
/// Red Hat's: upstream before 6.5-rc1, beside blocks about its own products.
const SCTP: &str = include_str!("data/CVE-2024-0639.json");
/// `Linux kernel 6.1-rc2`, in words.
const QDISC: &str = include_str!("data/CVE-2023-0590.json");

fn record(text: &str) -> Record {
    Record::parse(text.as_bytes()).unwrap()
}

fn answer(record: &Record, version: &str) -> String {
    match record.applies_to(&version.parse().unwrap()) {
        VersionAnswer::Affected => "affected".to_owned(),
        VersionAnswer::Unaffected { because } => because,
        VersionAnswer::Unknown { because } => format!("unknown: {because}"),
    }
}

/// The phonet record with other version blocks.
fn with_blocks(blocks: Value) -> Record {
    let mut document: Value = serde_json::from_str(PHONET).unwrap();
    document["containers"]["cna"]["affected"] = blocks;
    record(&document.to_string())
}

fn block(default: &str, versions: Value) -> Value {
    json!({ "vendor": "Linux", "product": "Linux", "defaultStatus": default, "versions": versions })
}

fn git(first: &str, fixed: &str) -> Value {
    json!({ "version": first, "lessThan": fixed, "status": "affected", "versionType": "git" })
}

#[test]
fn a_stable_kernel_has_the_hole_until_its_series_got_the_fix() {
    let phonet = record(PHONET);
    for (version, expected) in [
        ("2.6.27", "the hole came in 2.6.28"),
        ("2.6.28", "affected"),
        ("4.19.325", "affected"),
        ("6.1", "affected"),
        ("6.1.187", "affected"),
        ("6.1.188", "fixed in 6.1.188"),
        ("6.1.192", "fixed in 6.1.188"),
        ("6.2", "affected"),
        ("6.12.109", "affected"),
        ("6.12.117", "fixed in 6.12.110"),
        ("7.2.5", "affected"),
        ("7.3-rc1", "fixed in 7.3-rc1"),
        ("8.0", "fixed in 7.3-rc1"),
    ] {
        assert_eq!(answer(&phonet, version), expected, "{version}");
    }
}

#[test]
fn debians_packages_are_compared_by_the_upstream_version_in_them() {
    let phonet = record(PHONET);
    for (package, affected) in [
        ("6.1.187-1", true),
        ("6.1.190-1", false),
        ("6.1.192-2", false),
    ] {
        let version = KernelVersion::of_package(package).unwrap();
        let answer = phonet.applies_to(&version);
        assert_eq!(answer == VersionAnswer::Affected, affected, "{package}");
    }
}

#[test]
fn a_series_that_the_record_knows_no_fix_for_stays_affected() {
    assert_eq!(answer(&record(SECCOMP), "6.1.192"), "affected");
    assert_eq!(answer(&record(SECCOMP), "5.8.18"), "the hole came in 5.9");
}

#[test]
fn blocks_about_a_distributions_products_say_nothing_of_upstream() {
    let sctp = record(SCTP);
    assert_eq!(answer(&sctp, "6.1.10"), "affected");
    assert_eq!(answer(&sctp, "6.5-rc1"), "fixed in 6.5-rc1");
    assert_eq!(answer(&sctp, "6.12"), "fixed in 6.5-rc1");
}

#[test]
fn versions_in_words_and_commits_alone_cannot_be_compared() {
    for record in [
        record(QDISC),
        with_blocks(json!([block("unaffected", json!([git("a", "b")]))])),
        with_blocks(json!([])),
        with_blocks(json!([block("affected", json!([]))])),
        with_blocks(json!([block(
            "odd",
            json!([{ "version": "6.2", "status": "odd" }])
        )])),
    ] {
        let answer = answer(&record, "6.1.187");
        assert!(
            answer.starts_with("unknown: the record names no version"),
            "{answer}"
        );
    }
}

/// The block about a backport as the kernel's CNA writes it now.
#[test]
fn a_backport_of_the_hole_counts_in_its_series() {
    let fixed = json!({ "version": "5.10.209", "lessThanOrEqual": "5.10.*",
        "status": "unaffected", "versionType": "semver" });
    let before = json!({ "version": "0", "lessThan": "5.12", "status": "unaffected",
        "versionType": "semver" });
    let backport = json!({ "version": "5.10.37", "lessThan": "5.10.209", "status": "affected",
        "versionType": "semver" });
    let blocks = |named: bool| {
        let ways_in = [git("aa", "bb"), git("cc", "dd"), backport.clone()];
        let ways_in = &ways_in[..if named { 3 } else { 2 }];
        with_blocks(json!([
            block("unaffected", json!(ways_in)),
            block("affected", json!([before, fixed])),
        ]))
    };
    let newer = blocks(true);
    assert_eq!(answer(&newer, "5.10.36"), "the hole came in 5.12");
    assert_eq!(answer(&newer, "5.10.100"), "affected");
    assert_eq!(answer(&newer, "5.10.209"), "the hole came in 5.12");
    assert_eq!(answer(&newer, "5.12"), "affected");
    let older = blocks(false);
    let unknown = "unknown: several commits brought the hole, and the record doesn't say to where";
    assert_eq!(answer(&older, "5.10.100"), unknown);
}

#[test]
fn where_statements_disagree_affected_counts() {
    let both = with_blocks(json!([
        block(
            "unaffected",
            json!([{ "version": "6.1", "lessThan": "6.2", "status": "affected",
            "versionType": "semver" }])
        ),
        block(
            "affected",
            json!([{ "version": "0", "lessThan": "7.0", "status": "unaffected",
            "versionType": "semver" }])
        ),
    ]));
    assert_eq!(answer(&both, "6.1.187"), "affected");
    let doubt = with_blocks(json!([block(
        "unaffected",
        json!([
            { "version": "6.1", "lessThan": "6.2", "status": "unknown", "versionType": "semver" },
            { "version": "0", "lessThan": "7.0", "status": "unaffected", "versionType": "semver" },
        ])
    )]));
    assert!(answer(&doubt, "6.1.187").starts_with("unknown"));
}

fn versions() -> impl Strategy<Value = String> {
    (2_u32..8, 0_u32..20, 0_u32..300).prop_map(|(a, b, c)| format!("{a}.{b}.{c}"))
}

proptest! {
    /// What the kernel's CNA means: from `first` on, but for the fixed part of each series and
    /// for everything from the mainline fix on.
    #[test]
    fn the_two_blocks_mean_what_they_say(
        first in (2_u32..8, 0_u32..20),
        fixes in proptest::collection::btree_map((2_u32..8, 0_u32..20), 1_u32..300, 0..6),
        mainline in (2_u32..8, 0_u32..20),
        asked in (2_u32..8, 0_u32..20, 0_u32..300),
    ) {
        let series = |(major, minor): (u32, u32)| format!("{major}.{minor}");
        let mut versions = vec![
            json!({ "version": series(first), "status": "affected" }),
            json!({ "version": "0", "lessThan": series(first), "status": "unaffected",
                "versionType": "semver" }),
            json!({ "version": series(mainline), "lessThanOrEqual": "*", "status": "unaffected",
                "versionType": "original_commit_for_fix" }),
        ];
        versions.extend(fixes.iter().map(|(of, patch)| json!({
            "version": format!("{}.{patch}", series(*of)),
            "lessThanOrEqual": format!("{}.*", series(*of)),
            "status": "unaffected", "versionType": "semver",
        })));
        let record = with_blocks(json!([block("affected", json!(versions))]));
        let (major, minor, patch) = asked;
        let it = (major, minor);
        let exactly_first = it == first && patch == 0;
        let fixed = it >= mainline || fixes.get(&it).is_some_and(|from| patch >= *from);
        let expected = exactly_first || (it >= first && !fixed);
        let answer = record.applies_to(&format!("{major}.{minor}.{patch}").parse().unwrap());
        prop_assert_eq!(answer == VersionAnswer::Affected, expected);
    }

    #[test]
    fn versions_are_read_back_and_ordered_totally(a in versions(), b in versions()) {
        let [left, right]: [KernelVersion; 2] = [a.parse().unwrap(), b.parse().unwrap()];
        prop_assert_eq!(left.to_string(), a);
        prop_assert_eq!(left.cmp(&right), right.cmp(&left).reverse());
        prop_assert_eq!(left == right, left.to_string() == right.to_string());
    }

    #[test]
    fn no_text_makes_versions_panic(text in "\\PC{0,40}", range in "[0-9.*rc-]{0,12}") {
        let _ = text.parse::<KernelVersion>();
        let _ = KernelVersion::of_package(&text);
        let odd = with_blocks(json!([block("affected", json!([
            { "version": text, "lessThanOrEqual": range, "status": "unaffected" },
            { "version": range, "lessThan": text, "status": "affected", "versionType": "git" },
        ]))]));
        let _ = odd.applies_to(&"6.1.187".parse().unwrap());
    }
}
