//! What a subscription costs, in words.

use std::fmt;

use serde::Deserialize;

/// A price as Stripe has it (source: Stripe's API, "The Price object").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Price {
    /// In the currency's smallest unit, e.g. cents.
    unit_amount: u64,
    /// Three letters, lower case (source: ISO 4217).
    currency: String,
    recurring: Recurring,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Recurring {
    /// `day`, `week`, `month` or `year`.
    interval: String,
    #[serde(default = "one")]
    interval_count: u64,
}

fn one() -> u64 {
    1
}

/// Currencies whose smallest unit is the currency itself, and those with three digits behind the
/// point (source: Stripe, "Supported currencies").
const NO_DIGITS: [&str; 16] = [
    "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "ugx", "vnd", "vuv",
    "xaf", "xof", "xpf",
];
const THREE_DIGITS: [&str; 5] = ["bhd", "jod", "kwd", "omr", "tnd"];

impl Price {
    fn amount(&self) -> String {
        let digits = match self.currency.as_str() {
            currency if NO_DIGITS.contains(&currency) => 0,
            currency if THREE_DIGITS.contains(&currency) => 3,
            _ => 2,
        };
        let unit = 10_u64.pow(digits);
        let (whole, rest) = (self.unit_amount / unit, self.unit_amount % unit);
        if rest == 0 {
            return whole.to_string();
        }
        format!("{whole}.{rest:0width$}", width = digits as usize)
    }
}

/// E.g. `$12 a month`, `€1.50 a year`, `12 CHF every 3 months`.
impl fmt::Display for Price {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amount = self.amount();
        match self.currency.as_str() {
            "usd" => write!(formatter, "${amount}")?,
            "eur" => write!(formatter, "€{amount}")?,
            "gbp" => write!(formatter, "£{amount}")?,
            other => write!(formatter, "{amount} {}", other.to_uppercase())?,
        }
        let Recurring {
            interval,
            interval_count,
        } = &self.recurring;
        match interval_count {
            1 => write!(formatter, " a {interval}"),
            count => write!(formatter, " every {count} {interval}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(amount: u64, currency: &str, interval: &str, count: u64) -> String {
        let price = json!({
            "id": "price_1", "unit_amount": amount, "currency": currency,
            "recurring": { "interval": interval, "interval_count": count, "meter": null },
        });
        serde_json::from_value::<Price>(price).unwrap().to_string()
    }

    #[test]
    fn a_price_is_told_in_words() {
        assert_eq!(words(1200, "usd", "month", 1), "$12 a month");
        assert_eq!(words(150, "eur", "year", 1), "€1.50 a year");
        assert_eq!(words(1205, "chf", "month", 3), "12.05 CHF every 3 months");
        assert_eq!(words(1800, "jpy", "month", 1), "1800 JPY a month");
        assert_eq!(words(1500, "kwd", "month", 1), "1.500 KWD a month");
    }
}
