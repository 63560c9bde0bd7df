//! CVSS vectors and what they say. The arithmetic is the `cvss` crate's.

use std::fmt;

use ::cvss::Cvss;

/// A version of the Common Vulnerability Scoring System.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CvssVersion {
    /// Kept for the record; it knows no Critical, so it never decides.
    V2_0,
    V3_0,
    V3_1,
    V4_0,
}

impl CvssVersion {
    /// The version that a vector's own text names; version 2 has no prefix.
    pub fn of_vector(vector: &str) -> Option<Self> {
        match vector.parse().ok()? {
            Cvss::CvssV20(_) => Some(Self::V2_0),
            Cvss::CvssV30(_) => Some(Self::V3_0),
            Cvss::CvssV31(_) => Some(Self::V3_1),
            Cvss::CvssV40(_) => Some(Self::V4_0),
            _ => None,
        }
    }
}

impl fmt::Display for CvssVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V2_0 => "2.0",
            Self::V3_0 => "3.0",
            Self::V3_1 => "3.1",
            Self::V4_0 => "4.0",
        })
    }
}

/// Longest vector looked at; a full one of version 4.0 has some 200 characters.
const MAX_VECTOR_BYTES: usize = 512;

/// The score of a vector of version 3.0, 3.1 or 4.0, with one decimal.
pub(crate) fn score(vector: &str) -> Option<f64> {
    if vector.len() > MAX_VECTOR_BYTES {
        return None;
    }
    let parsed: Cvss = vector.parse().ok()?;
    match parsed {
        Cvss::CvssV20(_) => None,
        _ => Some((parsed.score() * 10.0).round() / 10.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of FIRST's "CVSS v3.1: Examples" and "CVSS v4.0: Examples".
    #[test]
    fn scores_are_those_of_first() {
        for (vector, expected) in [
            ("CVSS:3.1/AV:N/AC:L/PR:L/UI:N/S:C/C:L/I:L/A:N", 6.4),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N", 7.5),
            ("CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N", 6.1),
            (
                "CVSS:4.0/AV:N/AC:L/AT:P/PR:N/UI:P/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N",
                7.7,
            ),
            ("CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:C/C:H/I:H/A:N", 8.4),
        ] {
            assert_eq!(score(vector), Some(expected), "{vector}");
        }
        assert_eq!(
            CvssVersion::of_vector("AV:N/AC:L/Au:N/C:N/I:N/A:P"),
            Some(CvssVersion::V2_0)
        );
        for none in [
            "",
            "/",
            "CVSS:9.9/AV:N",
            "AV:N/AC:L/Au:N/C:N/I:N/A:P",
            &"A".repeat(9999),
        ] {
            assert_eq!(score(none), None, "{none:.80}");
        }
    }
}
