//! When a restart into a newer kernel is the way. Pure.
//!
//! A live patch closes holes in the running kernel; the distribution's own update brings the rest.
//! So a machine says when a newer kernel waits for a restart, and when one can be installed.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use suture_kernel::KernelRelease;

use crate::coverage;

/// A kernel that can be, or is, installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KernelPackage {
    pub release: KernelRelease,
    /// Of the package, e.g. `6.1.190-1`; none where only the kernel's file is known.
    pub version: Option<String>,
}

/// Kernels that are newer than the running one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct RegularUpdate {
    /// Installed, and started by the next restart.
    pub installed: Option<KernelPackage>,
    /// Offered by the package lists on this machine's disk, and newer than what is installed.
    pub offered: Option<KernelPackage>,
}

impl RegularUpdate {
    /// `installed` and `offered` in any order. What counts is of the running kernel's flavour;
    /// what is offered also of its series, because no plain upgrade leads from one to another.
    pub fn of(
        running: &KernelPackage,
        installed: &[KernelPackage],
        offered: &[KernelPackage],
    ) -> Self {
        let same_flavour = |it: &&KernelPackage| {
            coverage::series_and_flavour(&it.release).1
                == coverage::series_and_flavour(&running.release).1
        };
        let same_series = |it: &&KernelPackage| {
            coverage::series_and_flavour(&it.release)
                == coverage::series_and_flavour(&running.release)
        };
        let newest = |kernels: Vec<&KernelPackage>, than: &KernelPackage| {
            let newer = kernels.into_iter().filter(|it| is_newer(it, than));
            newer.max_by(|one, other| compare(one, other)).cloned()
        };
        let installed = newest(installed.iter().filter(same_flavour).collect(), running);
        let present = installed.as_ref().unwrap_or(running);
        let offered = newest(offered.iter().filter(same_series).collect(), present);
        Self { installed, offered }
    }
}

/// By releases, whose ABI number counts up, and for the same release by package versions.
fn compare(one: &KernelPackage, other: &KernelPackage) -> Ordering {
    let releases = compare_versions(one.release.as_str(), other.release.as_str());
    releases.then_with(|| match (&one.version, &other.version) {
        (Some(one), Some(other)) => compare_versions(one, other),
        _ => Ordering::Equal,
    })
}

fn is_newer(one: &KernelPackage, than: &KernelPackage) -> bool {
    compare(one, than) == Ordering::Greater
}

/// As Debian's packages are ordered (source: deb-version(7), "Sorting algorithm").
pub fn compare_versions(one: &str, other: &str) -> Ordering {
    let (one, other) = (parts(one), parts(other));
    one.0
        .cmp(&other.0)
        .then_with(|| compare_part(one.1, other.1))
        .then_with(|| compare_part(one.2, other.2))
}

/// Epoch, upstream version and revision.
fn parts(version: &str) -> (u64, &str, &str) {
    let (epoch, rest) = match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    };
    match rest.rsplit_once('-') {
        Some((upstream, revision)) => (epoch, upstream, revision),
        None => (epoch, rest, ""),
    }
}

/// Parts without digits and numbers by turns.
fn compare_part(mut one: &str, mut other: &str) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let (text, rest) = split(one, |it| !it.is_ascii_digit());
        let (other_text, other_rest) = split(other, |it| !it.is_ascii_digit());
        let texts = compare_texts(text, other_text);
        (one, other) = (rest, other_rest);
        let (number, rest) = split(one, |it| it.is_ascii_digit());
        let (other_number, other_rest) = split(other, |it| it.is_ascii_digit());
        let numbers = compare_numbers(number, other_number);
        (one, other) = (rest, other_rest);
        let order = texts.then(numbers);
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|it| !belongs(it)).unwrap_or(text.len());
    text.split_at(end)
}

/// `~` before the end, the end before letters, letters before everything else.
fn compare_texts(one: &str, other: &str) -> Ordering {
    let rank = |text: &str, at: usize| match text.as_bytes().get(at) {
        Some(b'~') => -1,
        None => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(sign) => i32::from(*sign) + 256,
    };
    let longest = one.len().max(other.len());
    (0..longest)
        .map(|at| rank(one, at).cmp(&rank(other, at)))
        .find(|order| *order != Ordering::Equal)
        .unwrap_or(Ordering::Equal)
}

/// Numbers of any length.
fn compare_numbers(one: &str, other: &str) -> Ordering {
    let (one, other) = (one.trim_start_matches('0'), other.trim_start_matches('0'));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    fn kernel(release: &str, version: &str) -> KernelPackage {
        KernelPackage {
            release: release.parse().unwrap(),
            version: (!version.is_empty()).then(|| version.to_owned()),
        }
    }

    fn running() -> KernelPackage {
        kernel("6.1.0-53-amd64", "6.1.187-1")
    }

    fn update(installed: &[KernelPackage], offered: &[KernelPackage]) -> (String, String) {
        let update = RegularUpdate::of(&running(), installed, offered);
        let name = |it: Option<KernelPackage>| {
            it.map_or(String::new(), |it| {
                format!("{} {}", it.release.as_str(), it.version.unwrap_or_default())
            })
        };
        (name(update.installed), name(update.offered))
    }

    #[test]
    fn the_running_kernel_is_no_news() {
        let same = [running(), kernel("6.1.0-9-amd64", "6.1.27-1")];
        assert_eq!(update(&same, &same), (String::new(), String::new()));
        // From /boot alone no version is known.
        let file = [kernel("6.1.0-53-amd64", "")];
        assert_eq!(update(&file, &[]).0, "");
    }

    #[test]
    fn a_kernel_that_waits_for_a_restart_is_told_apart_from_one_on_offer() {
        let installed = [running(), kernel("6.1.0-55-amd64", "6.1.190-1")];
        let offered = [kernel("6.1.0-55-amd64", "6.1.190-1")];
        let told = update(&installed, &offered);
        assert_eq!(told, ("6.1.0-55-amd64 6.1.190-1".to_owned(), String::new()));
        let told = update(&[running()], &offered);
        assert_eq!(told, (String::new(), "6.1.0-55-amd64 6.1.190-1".to_owned()));
    }

    #[test]
    fn the_same_release_built_anew_is_newer() {
        let anew = [kernel("6.1.0-53-amd64", "6.1.187-2")];
        assert_eq!(update(&anew, &[]).0, "6.1.0-53-amd64 6.1.187-2");
    }

    #[test]
    fn other_flavours_and_series_are_not_offered() {
        let others = [
            kernel("6.1.0-55-cloud-amd64", "6.1.190-1"),
            kernel("6.1.0-55-rt-amd64", "6.1.190-1"),
        ];
        assert_eq!(update(&others, &others), (String::new(), String::new()));
        // A backport is nobody's plain upgrade, but where it is installed it starts next.
        let backport = [kernel("6.12.9+deb12-amd64", "6.12.9-1~bpo12+1")];
        let told = update(&backport, &backport);
        assert_eq!(told.0, "6.12.9+deb12-amd64 6.12.9-1~bpo12+1");
        assert_eq!(told.1, "");
    }

    fn dpkg_says(one: &str, relation: &str, other: &str) -> bool {
        let status = Command::new("dpkg")
            .args(["--compare-versions", one, relation, other])
            .status();
        status.unwrap().success()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        /// dpkg itself is asked.
        #[test]
        fn versions_are_ordered_as_dpkg_orders_them(
            one in "([0-2]:)?[0-9][0-9a-c.+~]{0,8}(-[0-9a-c.+~]{1,4})?",
            other in "([0-2]:)?[0-9][0-9a-c.+~]{0,8}(-[0-9a-c.+~]{1,4})?",
        ) {
            let relation = match compare_versions(&one, &other) {
                Ordering::Less => "lt",
                Ordering::Equal => "eq",
                Ordering::Greater => "gt",
            };
            prop_assert!(dpkg_says(&one, relation, &other), "{one} {relation} {other}");
        }
    }

    #[test]
    fn known_pairs_are_ordered() {
        for (less, more) in [
            ("6.1.187-1", "6.1.187-2"),
            ("6.1.9-1", "6.1.10-1"),
            ("6.12.9-1~bpo12+1", "6.12.9-1"),
            ("1.0~rc1", "1.0"),
            ("9", "1:0"),
            ("6.1.0-9-amd64", "6.1.0-53-amd64"),
        ] {
            assert_eq!(
                compare_versions(less, more),
                Ordering::Less,
                "{less} {more}"
            );
            assert_eq!(compare_versions(more, less), Ordering::Greater);
        }
    }
}
