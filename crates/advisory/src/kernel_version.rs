//! Versions of the upstream kernel, as records, tags and packages write them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use suture_kernel::InvalidName;

/// Most numbers of a version: `2.6.32.71` has four.
const MAX_NUMBERS: usize = 4;

/// An upstream version: `6.1.187`, `2.6.28`, `7.3-rc1`. `6.1` and `6.1.0` are the same.
#[derive(Debug, Clone)]
pub struct KernelVersion {
    /// One to four numbers, as written.
    numbers: Vec<u32>,
    /// N of `-rcN`; a release candidate comes before its release.
    candidate: Option<u32>,
}

impl KernelVersion {
    /// The upstream version that a distribution's package was made from: `6.1.187` of
    /// `6.1.187-1`, `1:6.1.187+1` and `6.12.117+deb13-1`; `7.3-rc1` of `7.3~rc1-1~exp1`
    /// (source: Debian Policy 5.6.12, `[epoch:]upstream[-revision]`).
    pub fn of_package(version: &str) -> Result<Self, InvalidName> {
        let upstream = version.split_once(':').map_or(version, |(_, rest)| rest);
        let upstream = upstream
            .rsplit_once('-')
            .map_or(upstream, |(upstream, _)| upstream);
        let upstream = upstream.split('+').next().unwrap_or(upstream);
        upstream.replace("~rc", "-rc").parse()
    }

    /// Whether the version belongs to a series: `6.1.187` to `6.1`.
    pub fn is_of_series(&self, series: &Self) -> bool {
        (0..series.numbers.len()).all(|place| self.number(place) == series.number(place))
    }

    fn number(&self, place: usize) -> u32 {
        self.numbers.get(place).copied().unwrap_or(0)
    }
}

impl FromStr for KernelVersion {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        parse(text.strip_prefix('v').unwrap_or(text)).ok_or_else(|| {
            InvalidName::new(
                "kernel version",
                text,
                "expected a form like `6.1.187` or `7.3-rc1`",
            )
        })
    }
}

fn parse(text: &str) -> Option<KernelVersion> {
    let (release, candidate) = match text.split_once("-rc") {
        Some((release, candidate)) => (release, Some(number(candidate)?)),
        None => (text, None),
    };
    let numbers = release.split('.').map(number).collect::<Option<Vec<_>>>()?;
    (numbers.len() <= MAX_NUMBERS).then_some(KernelVersion { numbers, candidate })
}

/// Digits only: no sign, no space, nothing that is empty.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

impl Ord for KernelVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let candidate = |version: &Self| version.candidate.unwrap_or(u32::MAX);
        (0..MAX_NUMBERS)
            .map(|place| self.number(place).cmp(&other.number(place)))
            .find(|order| order.is_ne())
            .unwrap_or_else(|| candidate(self).cmp(&candidate(other)))
    }
}

impl PartialOrd for KernelVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for KernelVersion {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for KernelVersion {}

impl fmt::Display for KernelVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers: Vec<String> = self.numbers.iter().map(u32::to_string).collect();
        formatter.write_str(&numbers.join("."))?;
        match self.candidate {
            Some(candidate) => write!(formatter, "-rc{candidate}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> KernelVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions_are_ordered_as_they_were_released() {
        let order = [
            "0",
            "2.6.12",
            "2.6.32",
            "2.6.32.71",
            "4.4",
            "4.19.324",
            "5.9",
            "6.1-rc8",
            "6.1",
            "6.1.9",
            "6.1.187",
            "7.3-rc1",
            "7.3-rc10",
            "7.3",
        ];
        for pair in order.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
        assert_eq!(version("6.1"), version("v6.1.0"));
        assert_eq!(version("7.3-rc1").to_string(), "7.3-rc1");
    }

    #[test]
    fn a_package_tells_its_upstream_version() {
        for (package, upstream) in [
            ("6.1.187-1", "6.1.187"),
            ("1:6.1.187-1", "6.1.187"),
            ("6.1.187+1", "6.1.187"),
            ("6.12.117-1~bpo12+1", "6.12.117"),
            ("7.3~rc1-1~exp1", "7.3-rc1"),
            ("6.12.117+deb13-1", "6.12.117"),
        ] {
            let found = KernelVersion::of_package(package).unwrap().to_string();
            assert_eq!(found, upstream, "{package}");
        }
        assert!(KernelVersion::of_package("bookworm").is_err());
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for bad in [
            "",
            ".",
            "6.",
            "6..1",
            "n/a",
            "6.1.*",
            "*",
            "-1",
            "+6.1",
            "6.1-rc",
            "6.1.2.3.4",
            "6.1 ",
            "99999999999",
            "02a47617cdce440f60c71a51f3a93f9f5fcc5a7a",
            "Linux kernel 6.1-rc2",
        ] {
            assert!(bad.parse::<KernelVersion>().is_err(), "{bad}");
        }
    }
}
