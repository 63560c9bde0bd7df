//! A length of time as a person writes it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;

/// A number with a unit: `90s`, `5m`, `12h`, `3d`, `2w`; a bare `0` is none at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

/// Text that is no length of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("expected a number with a unit, like `90s`, `5m`, `12h`, `3d` or `2w`")]
pub struct NotASpan;

/// Units and their seconds, longest first.
const UNITS: [(char, u64); 5] = [
    ('w', 7 * 86_400),
    ('d', 86_400),
    ('h', 3600),
    ('m', 60),
    ('s', 1),
];

/// A year; longer is more likely an error than a wish.
const LONGEST_SECS: u64 = 365 * 86_400;

impl Span {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    pub fn duration(self) -> Duration {
        self.0
    }

    /// None for `0`.
    pub fn nonzero(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let unit = text.chars().next_back().ok_or(NotASpan)?;
        let number = text.strip_suffix(unit).unwrap_or_default();
        let (_, seconds) = UNITS
            .into_iter()
            .find(|(known, _)| *known == unit)
            .ok_or(NotASpan)?;
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NotASpan);
        }
        let number: u64 = number.parse().map_err(|_| NotASpan)?;
        let seconds = number.checked_mul(seconds).ok_or(NotASpan)?;
        if seconds > LONGEST_SECS {
            return Err(NotASpan);
        }
        Ok(Self::from_secs(seconds))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        if seconds == 0 {
            return formatter.write_str("0");
        }
        let unit = UNITS
            .into_iter()
            .find(|(_, unit)| seconds.is_multiple_of(*unit));
        let (name, unit) = unit.unwrap_or(('s', 1));
        write!(formatter, "{}{name}", seconds / unit)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_with_units_and_nothing_else() {
        let secs = |text: &str| text.parse::<Span>().map(|span| span.duration().as_secs());
        assert_eq!(secs("0"), Ok(0));
        assert_eq!(secs("90s"), Ok(90));
        assert_eq!(secs("5m"), Ok(300));
        assert_eq!(secs("12h"), Ok(43_200));
        assert_eq!(secs("2w"), Ok(1_209_600));
        for wrong in ["", "5", "m", "-5m", "5 m", "5µ", "1.5h", "99999w"] {
            assert_eq!(secs(wrong), Err(NotASpan), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_written(seconds in 0..=LONGEST_SECS) {
            let span = Span::from_secs(seconds);
            prop_assert_eq!(span.to_string().parse(), Ok(span));
        }

        #[test]
        fn any_text_is_read_without_harm(text in ".{0,30}") {
            let _ = text.parse::<Span>();
        }
    }
}
