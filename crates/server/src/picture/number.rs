//! Numbers as people read them. They take values and references alike, as templates have the
//! latter.

use std::borrow::Borrow;

use jiff::Timestamp;

/// 119988 as `119,988`.
pub fn count(number: impl Borrow<u64>) -> String {
    let digits = number.borrow().to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// 119988 as `120k`, for narrow places.
pub fn compact(number: u64) -> String {
    let scaled = |unit: f64, sign: &str| {
        let value = number as f64 / unit;
        if value < 9.95 {
            format!("{value:.1}{sign}").replace(".0", "")
        } else {
            format!("{value:.0}{sign}")
        }
    };
    match number {
        0..10_000 => count(number),
        10_000..999_500 => scaled(1e3, "k"),
        _ => scaled(1e6, "M"),
    }
}

/// With about three digits that say something.
pub fn real(number: impl Borrow<f64>) -> String {
    let number = *number.borrow();
    match number.abs() {
        0.0 => "0".to_owned(),
        size if !(1e-4..1e9).contains(&size) => format!("{number:.1e}"),
        size if size < 0.01 => format!("{number:.4}"),
        size if size < 0.1 => format!("{number:.3}"),
        size if size < 10.0 => format!("{number:.2}"),
        size if size < 100.0 => format!("{number:.1}"),
        _ => count(number.round() as u64),
    }
}

/// Evidence: how far beyond a million it is means nothing to people.
pub fn evidence(value: impl Borrow<f64>) -> String {
    let value = *value.borrow();
    if value > 1e6 {
        "over 1 million".to_owned()
    } else {
        real(value)
    }
}

/// A round number beside an axis: `0.1`, `100`, `10k`, `1e6`.
pub fn tick_words(tick: impl Borrow<f64>) -> String {
    let tick = *tick.borrow();
    match tick {
        tick if !(1e-3..1e6).contains(&tick) => format!("{tick:.0e}"),
        tick if tick >= 1000.0 => compact(tick.round() as u64),
        // Without the last digits of what a power of ten is in binary.
        tick => ((tick * 1e6).round() / 1e6).to_string(),
    }
}

/// 0.0125 as `1.25 %`.
pub fn percent(share: impl Borrow<f64>) -> String {
    let text = format!("{:.3}", share.borrow() * 100.0);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} %")
}

/// Seconds as `90 min` or `2 h`.
pub fn span(secs: u64) -> String {
    match secs {
        0..120 => format!("{secs} s"),
        120..7200 if !secs.is_multiple_of(3600) => format!("{} min", secs / 60),
        3600..172_800 => format!("{} h", trim(secs as f64 / 3600.0)),
        _ => format!("{} d", trim(secs as f64 / 86_400.0)),
    }
}

fn trim(number: f64) -> String {
    format!("{number:.1}").trim_end_matches(".0").to_owned()
}

/// `24 Nov, 03:38 UTC`.
pub fn time(at: impl Borrow<Timestamp>) -> String {
    at.borrow().strftime("%-d %b, %H:%M UTC").to_string()
}

/// How long before `now` it was, as `5 min ago`.
pub fn ago(at: impl Borrow<Timestamp>, now: impl Borrow<Timestamp>) -> String {
    let secs = now.borrow().duration_since(*at.borrow()).as_secs().max(0);
    match u64::try_from(secs).unwrap_or(0) {
        0..5 => "just now".to_owned(),
        secs => format!("{} ago", span(secs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_round_as_people_do() {
        let counts = [0_u64, 999, 1000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        let compacts = [9999, 12_000, 119_988, 999_600, 1_000_000, 2_500_000].map(compact);
        assert_eq!(compacts, ["9,999", "12k", "120k", "1M", "1M", "2.5M"]);
        let reals = [0.0, 1e-6, 0.0123, 0.42, 3.1449, 42.0, 1234.5].map(real);
        assert_eq!(
            reals,
            ["0", "1.0e-6", "0.012", "0.42", "3.14", "42.0", "1,235"]
        );
        assert_eq!(
            [0.0001, 0.0125, 0.3, 1.0].map(percent),
            ["0.01 %", "1.25 %", "30 %", "100 %"]
        );
        let spans = [30, 90, 1800, 3600, 5400, 7200, 86_400, 9000, 259_200].map(span);
        assert_eq!(
            spans,
            [
                "30 s", "90 s", "30 min", "1 h", "90 min", "2 h", "24 h", "2.5 h", "3 d"
            ]
        );
    }
}
