//! Rates of harm: exposed machines beside those that they are compared with, each with its
//! interval.

use super::number::{percent, real, tick_words};
use super::scale::LogScale;
use super::svg::{Anchor, Svg};
use crate::view::{HarmRow, Rate, RateUnit};

const WIDTH: f64 = 460.0;
const LEFT: f64 = 8.0;
const RIGHT: f64 = 452.0;
/// Of one kind of harm.
const ROW: f64 = 50.0;
/// Of an axis with its words.
const AXIS: f64 = 42.0;

/// Machine-hours in a day of a thousand machines.
pub const PER_THOUSAND_A_DAY: f64 = 24_000.0;

/// Evidence from which on a kind of harm is marked.
const MARKED: f64 = 4.0;

pub fn rates(harms: &[HarmRow]) -> String {
    let group = |unit: RateUnit| {
        let rows = harms.iter().filter(move |row| row.unit == unit);
        rows.collect::<Vec<&HarmRow>>()
    };
    let groups = [RateUnit::PerMachineHour, RateUnit::Share].map(|unit| (unit, group(unit)));
    let height = harms.len() as f64 * ROW + groups.len() as f64 * AXIS;
    let mut svg = Svg::new("rates", WIDTH, height, "Rates of harm", &description(harms));
    let mut y = 0.0;
    for (unit, rows) in groups {
        let scale = scale(unit, &rows);
        for row in rows {
            harm(&mut svg, row, &scale, y);
            y += ROW;
        }
        axis(&mut svg, unit, &scale, y);
        y += AXIS;
    }
    svg.finish()
}

fn description(harms: &[HarmRow]) -> String {
    let words = |row: &HarmRow| {
        format!(
            "{}: {} exposed, {} to be expected",
            row.words(),
            row.exposed_fell,
            real(row.expected)
        )
    };
    harms.iter().map(words).collect::<Vec<_>>().join("; ")
}

/// Bounds of what is drawn: each count that is not zero, and the upper ends of the others.
fn scale(unit: RateUnit, rows: &[&HarmRow]) -> LogScale {
    let rates = rows
        .iter()
        .flat_map(|row| [row.exposed, row.control])
        .flatten();
    let values = rates
        .flat_map(|rate| [rate.value, rate.interval.low, rate.interval.high])
        .chain(rows.iter().filter_map(|row| row.tolerated))
        .filter(|value| *value > 0.0);
    let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
    for value in values {
        low = low.min(value);
        high = high.max(value);
    }
    if high == 0.0 {
        (low, high) = (1e-6, 1.0);
    }
    let high = match unit {
        RateUnit::PerMachineHour => high * 1.5,
        RateUnit::Share => (high * 1.5).min(1.0),
    };
    // Whiskers that end in nothing would stretch the axis without end.
    LogScale::new((low / 1.5).max(high * 1e-7), high, LEFT, RIGHT)
}

fn harm(svg: &mut Svg, row: &HarmRow, scale: &LogScale, y: f64) {
    let marked = if row.evidence >= MARKED {
        " marked"
    } else {
        ""
    };
    svg.text(
        &format!("label{marked}"),
        (LEFT, y + 14.0),
        Anchor::Start,
        row.words(),
    );
    svg.text(
        &format!("label{marked}"),
        (RIGHT, y + 14.0),
        Anchor::End,
        verdict(row),
    );
    if let Some(rate) = &row.control {
        whisker(svg, "control", rate, scale, y + 37.0);
    }
    if let Some(tolerated) = row.tolerated {
        let x = scale.place(tolerated);
        svg.line("tolerated", (x, y + 20.0), (x, y + 44.0));
    }
    if let Some(rate) = &row.exposed {
        whisker(svg, &format!("treated{marked}"), rate, scale, y + 26.0);
    }
}

fn verdict(row: &HarmRow) -> String {
    if row.exposed.is_none() {
        return "nothing seen yet".to_owned();
    }
    if row.exposed_fell == 0 {
        return "none".to_owned();
    }
    format!(
        "{} (expected {})",
        super::number::count(row.exposed_fell),
        real(row.expected)
    )
}

/// The interval as a bar, the rate as a dot; an interval that begins at nothing is open there.
fn whisker(svg: &mut Svg, class: &str, rate: &Rate, scale: &LogScale, y: f64) {
    let (low, high) = (
        scale.place(rate.interval.low),
        scale.place(rate.interval.high),
    );
    svg.line(class, (low, y), (high, y));
    svg.line(class, (high, y - 4.0), (high, y + 4.0));
    if rate.interval.low > 0.0 {
        svg.line(class, (low, y - 4.0), (low, y + 4.0));
    }
    if rate.value > 0.0 {
        svg.circle(class, (scale.place(rate.value), y), 4.5);
    }
}

fn axis(svg: &mut Svg, unit: RateUnit, scale: &LogScale, y: f64) {
    svg.line("axis", (LEFT, y), (RIGHT, y));
    // Ticks are round in the unit that is shown.
    let factor = match unit {
        RateUnit::PerMachineHour => PER_THOUSAND_A_DAY,
        RateUnit::Share => 1.0,
    };
    let shown = scale.times(factor);
    for tick in shown.ticks(5) {
        let x = shown.place(tick);
        svg.line("axis", (x, y), (x, y + 4.0));
        let anchor = match x {
            x if x < LEFT + 20.0 => Anchor::Start,
            x if x > RIGHT - 20.0 => Anchor::End,
            _ => Anchor::Middle,
        };
        let words = match unit {
            RateUnit::PerMachineHour => tick_words(tick),
            RateUnit::Share => percent(tick).replace(' ', ""),
        };
        svg.text("tick", (x, y + 16.0), anchor, words);
    }
    let words = match unit {
        RateUnit::PerMachineHour => "a day, per 1,000 machines",
        RateUnit::Share => "of all tries to apply it",
    };
    svg.text(
        "tick",
        ((LEFT + RIGHT) / 2.0, y + 32.0),
        Anchor::Middle,
        words,
    );
}
