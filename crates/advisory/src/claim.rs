//! The claims of a CVE record, as its authors wrote them and as their vectors say.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::cvss::{self, CvssVersion};
use crate::exploited::Exploited;
use crate::severity::{Severity, SeverityClaim};

/// Differences below this come from decimal fractions in binary.
const SAME_SCORE: f64 = 0.05;

/// In which container of a record a claim stands (source: the CVE record format, `containers`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimSource {
    /// The CVE Numbering Authority that assigned the identifier; for Linux mostly `Linux`.
    Cna,
    /// An Authorized Data Publisher that added to the record, e.g. `CISA-ADP`.
    Adp,
}

/// One CVSS object of a record.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordClaim {
    pub source: ClaimSource,
    pub version: CvssVersion,
    /// With the score that the vector gives, where there is a vector that can be read.
    pub claim: SeverityClaim,
    /// When the claim's container last changed.
    pub at: Option<Timestamp>,
    /// The score that is written beside the vector.
    pub stated_score: Option<f64>,
    /// The severity that is written beside the vector.
    pub stated_severity: Option<Severity>,
}

/// A claim whose written score or severity is not what its vector says. The vector counts.
#[derive(Debug, Clone, PartialEq)]
pub struct Disagreement {
    pub author: String,
    pub vector: String,
    pub stated_score: Option<f64>,
    pub stated_severity: Option<Severity>,
    pub score: f64,
    pub severity: Severity,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            author,
            vector,
            score,
            severity,
            ..
        } = self;
        write!(formatter, "{author} writes ")?;
        match (self.stated_score, self.stated_severity) {
            (Some(stated), Some(word)) => write!(formatter, "{stated:.1} {word}")?,
            (Some(stated), None) => write!(formatter, "{stated:.1}")?,
            (None, Some(word)) => write!(formatter, "{word}")?,
            (None, None) => write!(formatter, "nothing")?,
        }
        write!(
            formatter,
            ", but `{vector}` gives {score:.1} {severity}; the vector counts"
        )
    }
}

impl RecordClaim {
    /// What is written beside the vector, if it differs from what the vector gives.
    pub fn disagreement(&self) -> Option<Disagreement> {
        let (vector, score) = (self.claim.vector.as_deref()?, self.claim.score?);
        cvss::score(vector)?;
        let other_score = self
            .stated_score
            .is_some_and(|stated| (stated - score).abs() >= SAME_SCORE);
        let other_word = self
            .stated_severity
            .is_some_and(|word| word != self.claim.severity);
        (other_score || other_word).then(|| Disagreement {
            author: self.claim.author.clone(),
            vector: vector.to_owned(),
            stated_score: self.stated_score,
            stated_severity: self.stated_severity,
            score,
            severity: self.claim.severity,
        })
    }

    /// Whether the claim may decide at the severity gate.
    pub fn may_decide(&self) -> bool {
        self.version != CvssVersion::V2_0
    }
}

/// A `cvssVx_y` object (source: FIRST's JSON schemas for CVSS).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CvssObject {
    vector_string: Option<String>,
    base_score: Option<f64>,
    base_severity: Option<String>,
}

/// An entry of `metrics`. Other formats (`other`) are words without a common scale; of them only
/// the listing in CISA's catalogue of known exploited vulnerabilities is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Metric {
    #[serde(rename = "cvssV4_0")]
    v4_0: Option<CvssObject>,
    #[serde(rename = "cvssV3_1")]
    v3_1: Option<CvssObject>,
    #[serde(rename = "cvssV3_0")]
    v3_0: Option<CvssObject>,
    #[serde(rename = "cvssV2_0")]
    v2_0: Option<CvssObject>,
    other: Option<Other>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Other {
    #[serde(rename = "type")]
    kind: String,
    /// Anything, by the kind.
    content: serde_json::Value,
}

impl Metric {
    /// The claims of one entry; one without score, vector and word claims nothing.
    pub(crate) fn claims(
        &self,
        source: ClaimSource,
        author: &str,
        at: Option<Timestamp>,
    ) -> Vec<RecordClaim> {
        [
            (CvssVersion::V4_0, &self.v4_0),
            (CvssVersion::V3_1, &self.v3_1),
            (CvssVersion::V3_0, &self.v3_0),
            (CvssVersion::V2_0, &self.v2_0),
        ]
        .into_iter()
        .filter_map(|(version, object)| claim(version, object.clone()?, source, author, at))
        .collect()
    }

    /// The entry that CISA adds for a hole of its catalogue: `{"type": "kev", "content":
    /// {"dateAdded": "2025-02-05", …}}`.
    pub(crate) fn listed_in_kev(&self) -> Option<Exploited> {
        let other = self.other.as_ref().filter(|other| other.kind == "kev")?;
        let since = other
            .content
            .get("dateAdded")
            .and_then(|date| date.as_str());
        Some(Exploited::listed(since))
    }
}

fn claim(
    version: CvssVersion,
    object: CvssObject,
    source: ClaimSource,
    author: &str,
    at: Option<Timestamp>,
) -> Option<RecordClaim> {
    let stated_severity = object.base_severity.and_then(|word| word.parse().ok());
    let stated_score = object
        .base_score
        .filter(|score| Severity::from_score(*score).is_some());
    let computed = object.vector_string.as_deref().and_then(cvss::score);
    let score = computed.or(stated_score);
    let severity = score.and_then(Severity::from_score).or(stated_severity)?;
    let claim = SeverityClaim {
        severity,
        score,
        vector: object.vector_string,
        author: author.to_owned(),
    };
    Some(RecordClaim {
        source,
        version,
        claim,
        at,
        stated_score,
        stated_severity,
    })
}
