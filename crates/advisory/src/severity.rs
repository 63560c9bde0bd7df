//! Severities, and who claims them.

use std::fmt;

use serde::{Deserialize, Serialize};

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
