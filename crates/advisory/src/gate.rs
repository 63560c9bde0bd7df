//! The severity gate: which fixes go into a live patch.
//!
//! Only High and Critical do; the rest waits for the regular kernel update. Records often carry
//! several claims, by several authors, and they need not agree. Which one counts is a written
//! rule and not a choice made anew each time:
//!
//! 1. The vendor's own rating, if the vendor gives one. It is explicit, carries the vendor's
//!    name, and may go either way.
//! 2. Else Critical, if CISA lists the hole as exploited. A score estimates what could happen;
//!    the catalogue tells what did.
//! 3. Else the CNA's claim: who assigned the identifier knows the code best (for Linux mostly
//!    the kernel's own CNA). Of several, the one with the highest CVSS version, and of those
//!    with the same version the gravest.
//! 4. Else the claim of an ADP (for Linux mostly `CISA-ADP`), chosen the same way.
//! 5. Else nobody rated the hole, and it is refused until a vendor does.
//!
//! Claims in CVSS 2.0 never decide: that version knows no Critical and scores differently.
//! Every claim is listed in the decision and travels in the manifest, also those that did not
//! count.

use thiserror::Error;

use crate::claim::{ClaimSource, Disagreement, RecordClaim};
use crate::exploited::Exploited;
use crate::names::CveId;
use crate::record::Record;
use crate::severity::SeverityClaim;

/// The gate's yes: the claim that counted, and all others.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub decisive: SeverityClaim,
    /// Every claim in the order of the record, the vendor's own last.
    pub claims: Vec<SeverityClaim>,
    /// Claims whose written score is not what their vector says; for people to see.
    pub disagreements: Vec<Disagreement>,
}

/// The gate's no. It names the advisory, the severity, its author and what to do.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum GateRefusal {
    #[error(
        "{cve} is {decisive}: only High and Critical fixes go into a live patch, \
         this one waits for the regular kernel update"
    )]
    NotGrave {
        cve: CveId,
        decisive: SeverityClaim,
        claims: Vec<SeverityClaim>,
    },
    #[error(
        "no one has rated {cve}: only High and Critical fixes go into a live patch; \
         a vendor can rate it with `--severity {cve}=high`, or what it is"
    )]
    Unrated {
        cve: CveId,
        claims: Vec<SeverityClaim>,
    },
}

impl Record {
    /// Sends the record through the severity gate; `vendor` is the vendor's own rating, if any.
    pub fn gate(&self, vendor: Option<SeverityClaim>) -> Result<Decision, GateRefusal> {
        gate(&self.id, &self.claims, self.exploited.as_ref(), vendor)
    }
}

/// Applies this module's rule to the claims of one advisory.
pub fn gate(
    cve: &CveId,
    claims: &[RecordClaim],
    exploited: Option<&Exploited>,
    vendor: Option<SeverityClaim>,
) -> Result<Decision, GateRefusal> {
    let disagreements = claims
        .iter()
        .filter_map(RecordClaim::disagreement)
        .collect();
    let exploited = exploited.map(Exploited::claim);
    let decisive = vendor.clone().or(exploited.clone()).or_else(|| {
        let of_record = gravest(claims, ClaimSource::Cna).or(gravest(claims, ClaimSource::Adp));
        of_record.map(|claim| claim.claim.clone())
    });
    let claims = claims
        .iter()
        .map(|claim| claim.claim.clone())
        .chain(exploited)
        .chain(vendor)
        .collect();
    match decisive {
        None => Err(GateRefusal::Unrated {
            cve: cve.clone(),
            claims,
        }),
        Some(decisive) if decisive.severity.passes_gate() => Ok(Decision {
            decisive,
            claims,
            disagreements,
        }),
        Some(decisive) => Err(GateRefusal::NotGrave {
            cve: cve.clone(),
            decisive,
            claims,
        }),
    }
}

/// The claim of one kind of container that counts: highest version first, then gravest.
fn gravest(claims: &[RecordClaim], source: ClaimSource) -> Option<&RecordClaim> {
    let score = |claim: &RecordClaim| claim.claim.score.unwrap_or_default();
    claims
        .iter()
        .filter(|claim| claim.source == source && claim.may_decide())
        .max_by(|left, right| {
            (left.version, left.claim.severity)
                .cmp(&(right.version, right.claim.severity))
                .then(score(left).total_cmp(&score(right)))
        })
}
