//! Severities, and who claims them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cvss;
use suture_kernel::InvalidName;

/// A qualitative severity (source: FIRST, CVSS v3.1 section 5 and v4.0 section 6: None 0.0,
/// Low 0.1-3.9, Medium 4.0-6.9, High 7.0-8.9, Critical 9.0-10.0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    None,
    Low,
    Medium,
    High,
    Critical,
}

impl Severity {
    /// The severity of a base score; none for what is no score.
    pub fn from_score(score: f64) -> Option<Self> {
        if !(0.0..=10.0).contains(&score) {
            return None;
        }
        // Scores have one decimal; rounding keeps 6.95 of careless arithmetic out of the gaps.
        Some(match (score * 10.0).round() as u32 {
            0 => Self::None,
            1..=39 => Self::Low,
            40..=69 => Self::Medium,
            70..=89 => Self::High,
            _ => Self::Critical,
        })
    }

    /// Whether a fix of this severity goes into a live patch.
    pub fn passes_gate(self) -> bool {
        match self {
            Self::High | Self::Critical => true,
            Self::None | Self::Low | Self::Medium => false,
        }
    }
}

impl FromStr for Severity {
    type Err = InvalidName;

    /// Reads a severity in any case, e.g. `High`, `HIGH`, `high`.
    fn from_str(text: &str) -> Result<Self, InvalidName> {
        match text.to_ascii_lowercase().as_str() {
            "none" => Ok(Self::None),
            "low" => Ok(Self::Low),
            "medium" => Ok(Self::Medium),
            "high" => Ok(Self::High),
            "critical" => Ok(Self::Critical),
            _ => Err(InvalidName::new(
                "severity",
                text,
                "expected none, low, medium, high or critical",
            )),
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "None",
            Self::Low => "Low",
            Self::Medium => "Medium",
            Self::High => "High",
            Self::Critical => "Critical",
        })
    }
}

/// One party's word on how grave a hole is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SeverityClaim {
    pub severity: Severity,
    /// Base score, 0.0 to 10.0; none where the claim is a word only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// CVSS vector as written by its author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<String>,
    /// Who says so: the short name of the CNA or ADP container, or the vendor's own name.
    pub author: String,
}

impl SeverityClaim {
    /// A rating in a word, as a vendor gives it.
    pub fn rated(author: impl Into<String>, severity: Severity) -> Self {
        Self {
            severity,
            score: None,
            vector: None,
            author: author.into(),
        }
    }

    /// A rating by a CVSS vector (3.0, 3.1 or 4.0), as a vendor gives it; the score follows.
    pub fn from_vector(author: impl Into<String>, vector: &str) -> Result<Self, InvalidName> {
        let score = cvss::score(vector).ok_or_else(|| {
            InvalidName::new(
                "CVSS vector",
                vector,
                "expected version 3.0, 3.1 or 4.0, like `CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H`",
            )
        })?;
        let severity = Severity::from_score(score).unwrap_or(Severity::None);
        let vector = Some(vector.to_owned());
        Ok(Self {
            severity,
            score: Some(score),
            vector,
            author: author.into(),
        })
    }
}

/// `High (8.4) by Linux`.
impl fmt::Display for SeverityClaim {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.score {
            Some(score) => write!(
                formatter,
                "{} ({score:.1}) by {}",
                self.severity, self.author
            ),
            None => write!(formatter, "{} by {}", self.severity, self.author),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_has_no_gaps() {
        for (score, severity) in [
            (0.0, Severity::None),
            (0.1, Severity::Low),
            (3.9, Severity::Low),
            (4.0, Severity::Medium),
            (6.9, Severity::Medium),
            (7.0, Severity::High),
            (8.9, Severity::High),
            (9.0, Severity::Critical),
            (10.0, Severity::Critical),
        ] {
            assert_eq!(Severity::from_score(score), Some(severity), "{score}");
        }
        for bad in [-0.1, 10.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Severity::from_score(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_vendor_rates_by_word_or_vector() {
        let word = SeverityClaim::rated("example vendor", "HIGH".parse().unwrap());
        assert_eq!(word.to_string(), "High by example vendor");
        let vector = "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:N";
        let claim = SeverityClaim::from_vector("example vendor", vector).unwrap();
        assert_eq!(claim.to_string(), "High (8.4) by example vendor");
        assert!(SeverityClaim::from_vector("example vendor", "AV:L/AC:L").is_err());
        assert!("grave".parse::<Severity>().is_err());
    }
}
