//! `suture advisory show`

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::json;
use suture_advisory::{
    ClaimSource, CveId, GateRefusal, Record, RecordClaim, Status, VersionEnd, VersionRange,
};

use super::collection::Collection;
use super::{Format, print_json};
use crate::cli::output::print;

#[derive(Debug, clap::Args)]
pub struct Args {
    cve: CveId,
    /// Folder of the collection.
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let (cve, from) = (&args.cve, args.from.display());
    let bytes = Collection::open(&args.from)?.read(cve)?;
    let bytes = bytes.with_context(|| format!("`{from}` has no record of {cve}"))?;
    let record = Record::parse(&bytes)?;
    match args.format {
        Format::Text => print(&text(&record)),
        Format::Json => print_json(&json(&record)),
    }
}

/// What the severity gate says.
fn verdict(record: &Record) -> String {
    match record.gate(None) {
        Ok(decision) => format!("{}: goes into a live patch", decision.decisive),
        Err(GateRefusal::NotGrave { decisive, .. }) => {
            format!("{decisive}: waits for the regular kernel update")
        }
        Err(GateRefusal::Unrated { .. }) => "nobody has rated it: refused until you do".to_owned(),
    }
}

fn text(record: &Record) -> String {
    let mut text = format!("{}  {}\n", record.id, record.title);
    if let Some(updated) = record.updated {
        let _ = writeln!(text, "assigned by {}, changed {updated}", record.assigner);
    }
    let _ = writeln!(text, "severity    {}", verdict(record));
    for claim in &record.claims {
        let _ = writeln!(text, "  claim     {}", claim_line(claim));
    }
    if let Some(exploited) = &record.exploited {
        let since = exploited.since.map(|day| format!(" since {day}"));
        let _ = writeln!(text, "  exploited by CISA KEV{}", since.unwrap_or_default());
    }
    for disagreement in record.disagreements() {
        let _ = writeln!(text, "  differs   {disagreement}");
    }
    for file in record.program_files() {
        let _ = writeln!(text, "file        {file}");
    }
    for block in record.affected.iter().filter(|block| block.is_kernel()) {
        let versions = block
            .versions
            .iter()
            .filter(|one| one.version_type != "git");
        for range in versions {
            let _ = writeln!(text, "version     {}", range_line(range));
        }
    }
    for reference in &record.references {
        let _ = writeln!(text, "reference   {}", plain(reference));
    }
    text + "\n" + &record.description + "\n"
}

fn claim_line(claim: &RecordClaim) -> String {
    let source = match claim.source {
        ClaimSource::Cna => "CNA",
        ClaimSource::Adp => "ADP",
    };
    let vector = claim.claim.vector.as_deref().unwrap_or("no vector");
    let at = claim.at.map(|at| format!(", {at}")).unwrap_or_default();
    let version = claim.version;
    format!(
        "{} ({source}, CVSS {version}{at}) {}",
        claim.claim,
        plain(vector)
    )
}

fn range_line(range: &VersionRange) -> String {
    let end = match &range.end {
        VersionEnd::Single => String::new(),
        VersionEnd::LessThan(end) => format!(" and on, before {end}"),
        VersionEnd::LessThanOrEqual(end) if end == "*" => " and on".to_owned(),
        VersionEnd::LessThanOrEqual(end) => format!(" and on, up to {end}"),
    };
    let status = match range.status {
        Status::Affected => "affected",
        Status::Unaffected => "unaffected",
        Status::Unknown => "unknown",
    };
    plain(&format!("{}{end}: {status}", range.version))
}

/// Without characters that a terminal would obey.
fn plain(text: &str) -> String {
    text.chars()
        .map(|one| if one.is_control() { ' ' } else { one })
        .collect()
}

fn json(record: &Record) -> serde_json::Value {
    let claims = record.claims.iter().map(|claim| {
        json!({
            "source": claim.source, "cvss": claim.version.to_string(), "at": claim.at,
            "claim": claim.claim, "stated_score": claim.stated_score,
            "stated_severity": claim.stated_severity,
        })
    });
    let differing = record.disagreements();
    json!({
        "cve": record.id, "title": record.title, "assigner": record.assigner,
        "updated": record.updated, "verdict": verdict(record),
        "decisive": record.gate(None).map_or_else(
            |refusal| match refusal {
                GateRefusal::NotGrave { decisive, .. } => Some(decisive),
                GateRefusal::Unrated { .. } => None,
            },
            |decision| Some(decision.decisive),
        ),
        "claims": claims.collect::<Vec<_>>(), "exploited": record.exploited,
        "disagreements": differing.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "files": record.program_files(), "references": record.references,
        "description": record.description,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_shown_with_every_claim_and_what_counts() {
        let uvc = include_str!("../../../../advisory/tests/data/CVE-2024-53104.json");
        let shown = text(&Record::parse(uvc.as_bytes()).unwrap());
        for line in [
            "severity    Critical by CISA KEV: goes into a live patch\n",
            "  claim     High (7.8) by CISA-ADP (ADP, CVSS 3.1, 2025-10-21T22:55:34.852Z) CVSS:3.1/",
            "  exploited by CISA KEV since 2025-02-05\n",
            "file        drivers/media/usb/uvc/uvc_driver.c\n",
            "version     6.1.117 and on, up to 6.1.*: unaffected\n",
        ] {
            assert!(shown.contains(line), "{line}\n{shown}");
        }
    }

    #[test]
    fn what_nobody_rated_is_said_to_be_so() {
        let phonet = include_str!("../../../../../advisories/CVE-2026-90327.json");
        let record = Record::parse(phonet.as_bytes()).unwrap();
        assert_eq!(json(&record)["decisive"], serde_json::Value::Null);
        assert!(text(&record).contains("nobody has rated it"));
    }
}
