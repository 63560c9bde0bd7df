//! Times as CVE records write them.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// Longest text looked at; `2026-09-17T16:08:42.017123+00:00` has 32 characters.
const MAX_LENGTH: usize = 40;

/// A time with its zone, or without one, which then is UTC (source: the CVE record format,
/// `timestamp`).
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    if text.len() > MAX_LENGTH {
        return None;
    }
    text.parse::<Timestamp>().ok().or_else(|| {
        let civil: DateTime = text.parse().ok()?;
        TimeZone::UTC.to_timestamp(civil).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_write_times_with_and_without_a_zone() {
        let at = |text: &str| parse(text).map(|time| time.to_string());
        assert_eq!(
            at("2026-09-17T16:08:42.017Z").as_deref(),
            Some("2026-09-17T16:08:42.017Z")
        );
        assert_eq!(
            at("2024-01-11T19:06:27.652362").as_deref(),
            Some("2024-01-11T19:06:27.652362Z")
        );
        assert_eq!(
            at("2025-01-01T02:00:00+02:00").as_deref(),
            Some("2025-01-01T00:00:00Z")
        );
        for none in ["", "yesterday", "2026-13-01T00:00:00Z", &"9".repeat(9999)] {
            assert_eq!(parse(none), None, "{none:.40}");
        }
    }
}
