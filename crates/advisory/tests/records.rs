//! Real records of the CVE program, from file to the gate's answer.

use proptest::prelude::*;
use suture_advisory::{
    ClaimSource, CvssVersion, GateRefusal, MAX_RECORD_BYTES, Record, RecordError, Severity,
    SeverityClaim, Status, VersionEnd,
};

/// The kernel's CNA rated it High.
const SECCOMP: &str = include_str!("data/CVE-2026-89603.json");
/// Nobody rated it.
const PHONET: &str = include_str!("data/CVE-2026-90327.json");
/// The CNA rated it Medium, and CISA added words without a score.
const SCTP: &str = include_str!("data/CVE-2024-0639.json");
/// Only CISA rated it.
const UVC: &str = include_str!("data/CVE-2024-53104.json");
/// No title, no rating, an older format.
const QDISC: &str = include_str!("data/CVE-2023-0590.json");

fn record(text: &str) -> Record {
    Record::parse(text.as_bytes()).unwrap()
}

#[test]
fn a_record_is_read_with_everything_that_a_patch_needs() {
    let record = record(SECCOMP);
    assert_eq!(record.id.as_str(), "CVE-2026-89603");
    assert_eq!(
        record.title,
        "entry: Fix seccomp bypass after ptrace with TSYNC"
    );
    assert!(
        record
            .description
            .starts_with("In the Linux kernel, the following vulnerability")
    );
    assert_eq!(record.assigner, "Linux");
    assert_eq!(record.program_files(), ["include/linux/entry-common.h"]);
    assert_eq!(record.references.len(), 3);
    let stable = &record.affected[1];
    assert_eq!(
        (stable.default_status, stable.versions.len()),
        (Status::Affected, 5)
    );
    assert_eq!(stable.versions[0].end, VersionEnd::Single);
    assert_eq!(
        stable.versions[2].end,
        VersionEnd::LessThanOrEqual("6.18.*".to_owned())
    );
    assert_eq!(record.affected[0].versions[0].version_type, "git");
    let [claim] = record.claims.as_slice() else {
        panic!("{:?}", record.claims)
    };
    assert_eq!(
        (claim.source, claim.version),
        (ClaimSource::Cna, CvssVersion::V3_1)
    );
    assert_eq!(claim.claim.to_string(), "High (8.4) by Linux");
    assert!(record.disagreements().is_empty());
}

#[test]
fn a_record_without_a_title_is_named_by_its_description() {
    let record = record(QDISC);
    assert!(
        record
            .title
            .starts_with("A use-after-free flaw was found in qdisc_graft")
    );
    assert_eq!(record.title.chars().count(), 120);
    assert_eq!(record.assigner, "redhat");
}

#[test]
fn a_high_rating_of_the_cna_passes() {
    let decision = record(SECCOMP).gate(None).unwrap();
    assert_eq!(decision.decisive.to_string(), "High (8.4) by Linux");
    assert_eq!(decision.claims, std::slice::from_ref(&decision.decisive));
}

#[test]
fn a_medium_rating_waits_for_the_regular_update() {
    let refusal = record(SCTP).gate(None).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "CVE-2024-0639 is Medium (5.5) by redhat: only High and Critical fixes go into a live \
         patch, this one waits for the regular kernel update"
    );
}

#[test]
fn without_a_rating_of_the_cna_the_adp_decides() {
    let decision = record(&UVC.replacen("\"kev\"", "\"seen\"", 1))
        .gate(None)
        .unwrap();
    assert_eq!(decision.decisive.to_string(), "High (7.8) by CISA-ADP");
}

#[test]
fn a_hole_that_is_exploited_is_critical_whatever_its_score() {
    let uvc = record(UVC);
    let since = uvc.exploited.as_ref().and_then(|exploited| exploited.since);
    assert_eq!(since, Some("2025-02-05".parse().unwrap()));
    let decision = uvc.gate(None).unwrap();
    let claims: Vec<_> = decision.claims.iter().map(ToString::to_string).collect();
    assert_eq!(claims, ["High (7.8) by CISA-ADP", "Critical by CISA KEV"]);
    assert_eq!(decision.decisive.to_string(), "Critical by CISA KEV");
    let vendor = SeverityClaim::rated("example vendor", Severity::Low);
    assert!(
        uvc.gate(Some(vendor)).is_err(),
        "the vendor's word is first"
    );
}

#[test]
fn only_cisa_lists_in_its_catalogue() {
    let text = UVC.replacen(
        "\"shortName\": \"CISA-ADP\"",
        "\"shortName\": \"example\"",
        1,
    );
    assert_ne!(text, UVC);
    assert_eq!(record(&text).exploited, None);
}

#[test]
fn a_claim_keeps_its_source_author_and_time() {
    let uvc = record(UVC);
    let [claim] = uvc.claims.as_slice() else {
        panic!("{:?}", uvc.claims)
    };
    assert_eq!(claim.source, ClaimSource::Adp);
    assert_eq!(claim.at, Some("2025-10-21T22:55:34.852Z".parse().unwrap()));
    assert_eq!(
        uvc.updated,
        Some("2026-05-11T20:50:54.836Z".parse().unwrap())
    );
}

#[test]
fn what_nobody_rated_waits_for_a_vendors_rating() {
    for text in [PHONET, QDISC] {
        let record = record(text);
        let refusal = record.gate(None).unwrap_err();
        assert!(
            matches!(refusal, GateRefusal::Unrated { .. }),
            "{refusal:?}"
        );
        let expected = format!("no one has rated {}", record.id);
        assert!(refusal.to_string().starts_with(&expected), "{refusal}");
        let option = format!("`--severity {}=high`", record.id);
        assert!(refusal.to_string().contains(&option), "{refusal}");
    }
    let vendor = SeverityClaim::rated("example vendor", Severity::High);
    let decision = record(PHONET).gate(Some(vendor.clone())).unwrap();
    assert_eq!(
        (decision.decisive, decision.claims),
        (vendor.clone(), vec![vendor])
    );
}

#[test]
fn a_vendors_rating_counts_in_both_directions_beside_the_others() {
    let up = SeverityClaim::rated("example vendor", Severity::Critical);
    let decision = record(SCTP).gate(Some(up.clone())).unwrap();
    assert_eq!(decision.decisive, up);
    assert_eq!(decision.claims.len(), 2, "the CNA's Medium stays visible");
    let down = SeverityClaim::rated("example vendor", Severity::Low);
    let refusal = record(SECCOMP).gate(Some(down)).unwrap_err();
    assert!(
        refusal.to_string().contains("Low by example vendor"),
        "{refusal}"
    );
    let GateRefusal::NotGrave { claims, .. } = refusal else {
        panic!()
    };
    assert_eq!(claims.len(), 2);
}

#[test]
fn the_cna_outranks_an_adp_that_disagrees() {
    // The seccomp record's High, put as an ADP's word beside the SCTP record's Medium.
    let text = SCTP.replacen(
        "\"other\": {\n                            \"type\": \"ssvc\"",
        HIGH_BY_ADP,
        1,
    );
    let record = record(&text);
    assert_eq!(record.claims.len(), 2);
    let refusal = record.gate(None).unwrap_err();
    assert!(
        refusal.to_string().contains("Medium (5.5) by redhat"),
        "{refusal}"
    );
    let GateRefusal::NotGrave { claims, .. } = refusal else {
        panic!()
    };
    assert_eq!(claims[1].to_string(), "High (8.4) by CISA-ADP");
}

const HIGH_BY_ADP: &str = r#""cvssV3_1": {
    "version": "3.1", "vectorString": "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:N",
    "baseScore": 8.4, "baseSeverity": "HIGH"
}, "other": { "type": "ssvc""#;

#[test]
fn of_one_authors_claims_the_newest_version_counts() {
    let low_in_4_0 = r#""cvssV4_0": { "version": "4.0", "baseScore": 1.0, "baseSeverity": "LOW",
        "vectorString": "CVSS:4.0/AV:P/AC:H/AT:P/PR:H/UI:A/VC:L/VI:N/VA:N/SC:N/SI:N/SA:N" },
        "cvssV2_0": { "version": "2.0", "baseScore": 10.0,
        "vectorString": "AV:N/AC:L/Au:N/C:C/I:C/A:C" }, "cvssV3_1": {"#;
    let record = record(&SECCOMP.replacen("\"cvssV3_1\": {", low_in_4_0, 1));
    let versions: Vec<_> = record.claims.iter().map(|claim| claim.version).collect();
    assert_eq!(
        versions,
        [CvssVersion::V4_0, CvssVersion::V3_1, CvssVersion::V2_0]
    );
    let refusal = record.gate(None).unwrap_err();
    assert!(refusal.to_string().contains("is Low"), "{refusal}");
}

#[test]
fn a_rating_in_cvss_2_alone_never_decides() {
    let v2 = SECCOMP.replacen("cvssV3_1", "cvssV2_0", 1).replacen(
        "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:N",
        "AV:N/AC:L/Au:N/C:C/I:C/A:C",
        1,
    );
    let refusal = record(&v2).gate(None).unwrap_err();
    let GateRefusal::Unrated { claims, .. } = refusal else {
        panic!("{refusal}")
    };
    assert_eq!(claims.len(), 1, "it is kept all the same");
}

#[test]
fn where_number_and_vector_differ_the_vector_counts_and_both_are_shown() {
    let inflated = SCTP.replacen("\"baseScore\": 5.5", "\"baseScore\": 9.8", 1);
    let inflated = inflated.replacen("\"MEDIUM\"", "\"CRITICAL\"", 1);
    let record = record(&inflated);
    assert!(matches!(
        record.gate(None),
        Err(GateRefusal::NotGrave { .. })
    ));
    let [difference] = record.disagreements().try_into().unwrap();
    assert_eq!(
        difference.to_string(),
        "redhat writes 9.8 Critical, but `CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:N/I:N/A:H` gives \
         5.5 Medium; the vector counts"
    );
    let deflated = SECCOMP.replacen("\"baseScore\": 8.4", "\"baseScore\": 2.0", 1);
    let decision = Record::parse(deflated.as_bytes())
        .unwrap()
        .gate(None)
        .unwrap();
    assert_eq!(
        (decision.decisive.score, decision.disagreements.len()),
        (Some(8.4), 1)
    );
}

#[test]
fn a_withdrawn_or_empty_identifier_is_said_to_be_one() {
    for state in ["REJECTED", "RESERVED"] {
        let text = SECCOMP.replacen("\"PUBLISHED\"", &format!("\"{state}\""), 1);
        let error = Record::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, RecordError::NotPublished { .. }));
        assert!(
            error
                .to_string()
                .starts_with(&format!("CVE-2026-89603 is {state}")),
            "{error}"
        );
    }
}

#[test]
fn what_is_no_record_is_refused_by_name() {
    let cases = [
        (
            SECCOMP.replacen("CVE_RECORD", "OSV", 1),
            "`dataType` is `OSV`",
        ),
        (
            SECCOMP.replacen("\"5.2\"", "\"4.0\"", 1),
            "`dataVersion` is `4.0`",
        ),
        (
            SECCOMP.replacen("\"cna\"", "\"cnb\"", 1),
            "CVE-2026-89603 has no CNA container",
        ),
        (String::new(), "not a CVE record"),
        ("[]".to_owned(), "not a CVE record"),
        (" ".repeat(MAX_RECORD_BYTES + 1), "too large"),
        ("[".repeat(100_000), "not a CVE record"),
    ];
    for (text, expected) in cases {
        let error = Record::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn text_of_a_record_cannot_steer_a_terminal() {
    let text = SECCOMP
        .replacen("\"title\": \"entry:", "\"title\": \"\\u001b[2J\\nentry:", 1)
        .replacen("In the Linux kernel,", "In the\\u009b Linux kernel,", 1);
    let record = record(&text);
    assert_eq!(
        record.title,
        "[2J entry: Fix seccomp bypass after ptrace with TSYNC"
    );
    assert!(record.description.starts_with("In the  Linux kernel, "));
    assert!(record.description.contains("resolved:\n\nentry:"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        let _ = Record::parse(&bytes);
    }

    /// A real record with bytes overwritten reaches much deeper than noise does.
    #[test]
    fn no_damage_makes_parser_or_gate_panic(
        damage in proptest::collection::vec((0..SCTP.len(), any::<u8>()), 1..8),
    ) {
        let mut bytes = SCTP.as_bytes().to_vec();
        for (place, byte) in damage {
            bytes[place] = byte;
        }
        if let Ok(record) = Record::parse(&bytes) {
            let _ = record.gate(None);
            prop_assert!(record.disagreements().iter().all(|one| !one.to_string().is_empty()));
        }
    }

    #[test]
    fn no_vector_makes_the_scoring_panic(vector in "(CVSS:[0-9.]{1,4}/)?([A-Z]{1,3}:[A-Z]{1,2}/?){0,20}") {
        if let Ok(claim) = SeverityClaim::from_vector("anyone", &vector) {
            prop_assert!(claim.score.is_some_and(|score| (0.0..=10.0).contains(&score)));
        }
    }
}
