//! Names of advisories and of live patch versions.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use suture_kernel::{InvalidName, text_type};

/// A CVE identifier, `CVE-YYYY-NNNN` with four or more digits at the end
/// (source: the CVE record format, `cveId`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CveId(String);

impl CveId {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CveId {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let upper = text.to_ascii_uppercase();
        let digits = |part: &str, least: usize, most: usize| {
            (least..=most).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
        };
        let valid = upper
            .strip_prefix("CVE-")
            .and_then(|rest| rest.split_once('-'))
            .is_some_and(|(year, number)| digits(year, 4, 4) && digits(number, 4, 19));
        if valid {
            Ok(Self(upper))
        } else {
            Err(InvalidName::new(
                "CVE identifier",
                text,
                "expected a form like `CVE-2026-89603`",
            ))
        }
    }
}

text_type!(CveId);

/// Version `N.M` of a live patch. N is the advisory batch, counted over all kernels; M is its
/// rebuild. Later versions contain all fixes of earlier ones and replace them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PatchVersion {
    batch: NonZeroU32,
    rebuild: NonZeroU32,
}

impl PatchVersion {
    pub fn new(batch: NonZeroU32, rebuild: NonZeroU32) -> Self {
        Self { batch, rebuild }
    }

    /// N, the advisory batch.
    pub fn batch(self) -> u32 {
        self.batch.get()
    }

    /// M, the rebuild.
    pub fn rebuild(self) -> u32 {
        self.rebuild.get()
    }

    /// The kernel's name of the module, and so of its folder in `/sys/kernel/livepatch`:
    /// `suture_104_1`.
    pub fn module_name(self) -> String {
        format!("suture_{}_{}", self.batch, self.rebuild)
    }

    /// The version that a module's name tells, if it is one of ours.
    pub fn from_module_name(name: &str) -> Option<Self> {
        let (batch, rebuild) = name.strip_prefix("suture_")?.split_once('_')?;
        format!("{batch}.{rebuild}").parse().ok()
    }
}

impl FromStr for PatchVersion {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let number = |part: &str| {
            let canonical = !part.starts_with(['0', '+']);
            canonical.then(|| part.parse::<NonZeroU32>().ok()).flatten()
        };
        text.split_once('.')
            .and_then(|(batch, rebuild)| Some(Self::new(number(batch)?, number(rebuild)?)))
            .ok_or_else(|| {
                InvalidName::new(
                    "patch version",
                    text,
                    "expected two numbers from 1, like `104.1`",
                )
            })
    }
}

impl fmt::Display for PatchVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.batch, self.rebuild)
    }
}

impl TryFrom<String> for PatchVersion {
    type Error = InvalidName;
    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<PatchVersion> for String {
    fn from(version: PatchVersion) -> String {
        version.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_by_number_and_not_by_text() {
        let [old, new] = ["99.2", "104.1"].map(|text| text.parse::<PatchVersion>().unwrap());
        assert!(old < new);
        assert_eq!(new.module_name(), "suture_104_1");
        assert_eq!(PatchVersion::from_module_name("suture_104_1"), Some(new));
        assert_eq!(PatchVersion::from_module_name("kpatch_104_1"), None);
        for bad in ["", "1", "1.", "0.1", "01.1", "1.1.1", "+1.1", "1.-1"] {
            assert!(bad.parse::<PatchVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cve_ids_are_upper_case_and_bounded() {
        assert_eq!(
            "cve-2026-89603".parse::<CveId>().unwrap().as_str(),
            "CVE-2026-89603"
        );
        for bad in ["CVE-26-1234", "CVE-2026-123", "2026-89603", "CVE-2026-12a4"] {
            assert!(bad.parse::<CveId>().is_err(), "{bad}");
        }
    }
}
