//! What a distribution says it fixed: the changelog of a kernel's own package.
//!
//! Distributions carry fixes that the record of a hole knows nothing of, so its ranges call
//! their kernels affected for ever.

use std::collections::BTreeMap;

use crate::names::CveId;

/// Largest changelog read, 64 MiB; that of Debian's kernel of twenty years has some 10 MiB.
pub const MAX_CHANGELOG_BYTES: usize = 64 << 20;

/// Which version of the package fixed which hole.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Changelog(BTreeMap<CveId, String>);

impl Changelog {
    /// Reads a changelog in Debian's format (source: deb-changelog(5)), newest entry first. An
    /// item that takes something back names holes that are open again, so it counts as nothing
    /// and so does every older one about the same hole.
    pub fn parse(text: &str) -> Self {
        let (mut fixed, mut reverted) = (BTreeMap::new(), Vec::new());
        for (version, item) in items(text) {
            let takes_back = item.starts_with("Revert ") || item.contains("not fixed");
            for id in ids(&item) {
                if takes_back && !fixed.contains_key(&id) {
                    reverted.push(id);
                } else if !reverted.contains(&id) {
                    // The oldest entry that names it, as later ones may name it again.
                    fixed.insert(id, version.to_owned());
                }
            }
        }
        Self(fixed)
    }

    /// The version that fixed the hole.
    pub fn fixed_in(&self, id: &CveId) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The items (`* …`, `- …`) with the version of their entry, each on one line.
fn items(text: &str) -> Vec<(&str, String)> {
    let (mut found, mut version) = (Vec::<(&str, String)>::new(), "");
    for line in text.lines() {
        let words = line.trim_start();
        if !line.starts_with([' ', '\t']) {
            if let Some(header) = header_version(line) {
                version = header;
            }
        } else if let Some(start) = words
            .strip_prefix("* ")
            .or_else(|| words.strip_prefix("- "))
            .filter(|_| !line.starts_with(" -- "))
        {
            found.push((version, start.to_owned()));
        } else if let Some((_, item)) = found.last_mut().filter(|(of, _)| *of == version) {
            item.push(' ');
            item.push_str(words);
        }
    }
    found
}

/// `6.1.187-1` of `linux (6.1.187-1) bookworm-security; urgency=high`.
fn header_version(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once(" (")?;
    let (version, rest) = rest.split_once(')')?;
    rest.contains(';').then_some(version)
}

/// Every CVE identifier in a text.
fn ids(text: &str) -> Vec<CveId> {
    let starts = text.match_indices("CVE-").map(|(start, _)| &text[start..]);
    starts
        .filter_map(|rest| {
            let end = rest[4..].find(|one: char| !one.is_ascii_digit() && one != '-');
            rest[..end.map_or(rest.len(), |end| end + 4)]
                .trim_end_matches('-')
                .parse()
                .ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
linux (6.1.190-1) bookworm-security; urgency=high

  * New upstream stable update:
    - entry: Fix seccomp bypass after ptrace with
      TSYNC (CVE-2026-89603)
    - Revert \"net: a fix that broke something\" (CVE-2026-11111)
  * Fix two at once (CVE-2026-22222, CVE-2026-33333)

 -- Maintainer <maintainer@example.org>  Mon, 01 Sep 2026 00:00:00 +0000

linux (6.1.187-1) bookworm-security; urgency=high

  * net: a fix that broke something (CVE-2026-11111)
  * An older one (CVE-2026-22222)
";

    #[test]
    fn a_changelog_tells_what_was_fixed_where() {
        let log = Changelog::parse(TEXT);
        let fixed = |id: &str| log.fixed_in(&id.parse().unwrap());
        assert_eq!(fixed("CVE-2026-89603"), Some("6.1.190-1"));
        assert_eq!(fixed("CVE-2026-22222"), Some("6.1.187-1"));
        assert_eq!(fixed("CVE-2026-33333"), Some("6.1.190-1"));
        assert_eq!(fixed("CVE-2026-11111"), None, "it was taken back");
        assert_eq!(log.len(), 3);
    }

    #[test]
    fn odd_text_names_nothing() {
        for odd in [
            "",
            "CVE-",
            "  * CVE-2026-",
            "  * CVE-x",
            "  - \u{e9}CVE-\u{e9}",
        ] {
            assert!(Changelog::parse(odd).is_empty(), "{odd}");
        }
    }
}
