//! Sends the advisories of a build through the severity gate.

use std::collections::HashSet;

use suture_advisory::{CveId, Record, SeverityClaim};
use suture_protocol::Fix;

use crate::error::Refusal;

/// Characters of a description that a manifest keeps.
const DESCRIPTION_CHARS: usize = 2_000;

/// What the manifest says of each hole, or every reason why the fix waits for the regular
/// kernel update. `ratings` are the vendor's own.
pub(crate) fn gate(
    advisories: &[(Record, String)],
    ratings: &[(CveId, SeverityClaim)],
) -> Result<Vec<Fix>, Vec<Refusal>> {
    let (mut fixes, mut refusals, mut seen) = (Vec::new(), Vec::new(), HashSet::new());
    if advisories.is_empty() {
        refusals.push(Refusal::NoAdvisory);
    }
    for (record, _) in advisories {
        if !seen.insert(&record.id) {
            refusals.push(Refusal::AdvisoryTwice {
                cve: record.id.clone(),
            });
            continue;
        }
        let rating = ratings
            .iter()
            .find(|(cve, _)| *cve == record.id)
            .map(|(_, claim)| claim);
        match record.gate(rating.cloned()) {
            Ok(decision) => fixes.push(Fix {
                cve: record.id.clone(),
                title: record.title.clone(),
                description: record.description.chars().take(DESCRIPTION_CHARS).collect(),
                claims: decision.claims,
                decisive: decision.decisive,
            }),
            Err(refusal) => refusals.push(Refusal::Severity(refusal.to_string())),
        }
    }
    for (cve, _) in ratings.iter().filter(|(cve, _)| !seen.contains(cve)) {
        refusals.push(Refusal::RatingOfNothing { cve: cve.clone() });
    }
    if refusals.is_empty() {
        Ok(fixes)
    } else {
        Err(refusals)
    }
}

#[cfg(test)]
mod tests {
    use suture_advisory::Severity;

    use super::*;

    fn record(cve: &str, metrics: &str) -> (Record, String) {
        let text = format!(
            r#"{{"dataType":"CVE_RECORD","dataVersion":"5.2",
            "cveMetadata":{{"cveId":"{cve}","state":"PUBLISHED","assignerOrgId":"416baaa9-dc9f-4396-8d5f-8c081fb06d67","assignerShortName":"Linux"}},
            "containers":{{"cna":{{"providerMetadata":{{"orgId":"416baaa9-dc9f-4396-8d5f-8c081fb06d67","shortName":"Linux"}},
            "title":"a hole","descriptions":[{{"lang":"en","value":"about it"}}],"affected":[],"references":[]{metrics}}}}}}}"#
        );
        (Record::parse(text.as_bytes()).unwrap(), text)
    }

    const MEDIUM: &str = r#","metrics":[{"cvssV3_1":{"version":"3.1","vectorString":"CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:N/I:N/A:H","baseScore":5.5,"baseSeverity":"MEDIUM"}}]"#;

    #[test]
    fn all_refusals_come_at_once() {
        let advisories = [record("CVE-2026-0001", MEDIUM), record("CVE-2026-0002", "")];
        let refusals = gate(&advisories, &[]).unwrap_err();
        assert_eq!(refusals.len(), 2);
        assert!(
            refusals[0].to_string().contains("CVE-2026-0001 is Medium"),
            "{}",
            refusals[0]
        );
    }

    #[test]
    fn a_vendor_rates_one_hole_and_not_the_others() {
        let advisories = [record("CVE-2026-0001", MEDIUM), record("CVE-2026-0002", "")];
        let cve: CveId = "CVE-2026-0002".parse().unwrap();
        let rating = (cve, SeverityClaim::rated("the vendor", Severity::High));
        let fixes = gate(&advisories[1..], std::slice::from_ref(&rating)).unwrap();
        assert_eq!(fixes[0].decisive.author, "the vendor");
        assert_eq!(
            gate(&advisories, std::slice::from_ref(&rating))
                .unwrap_err()
                .len(),
            1
        );
        assert!(gate(&advisories[..0], &[rating]).unwrap_err().len() == 2);
    }

    #[test]
    fn one_advisory_counts_once() {
        let advisories = [record("CVE-2026-0002", ""), record("CVE-2026-0002", "")];
        let cve: CveId = "CVE-2026-0002".parse().unwrap();
        let rating = (cve, SeverityClaim::rated("the vendor", Severity::High));
        assert!(matches!(
            gate(&advisories, &[rating]).unwrap_err()[..],
            [Refusal::AdvisoryTwice { .. }]
        ));
    }
}
